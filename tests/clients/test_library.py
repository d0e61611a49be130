"""The C++ library's public classes against a real broker of their own, which the tests also stop for a while."""
import os
import pathlib
import subprocess

from conftest import running_server

CHECKS_SECONDS_MAX = 120


def test_the_library_keeps_its_contracts(binary, tmp_path):
    checks = pathlib.Path(binary).parent / "library_checks"
    with running_server(binary, tmp_path) as server:
        environment = {**os.environ, "MILLRACE_BOOTSTRAP": server.address,
                       "MILLRACE_SERVER_PID": str(server.process.pid)}
        done = subprocess.run([checks], env=environment, capture_output=True, text=True, timeout=CHECKS_SECONDS_MAX,
                              check=False)
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
