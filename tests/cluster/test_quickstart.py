"""The commands that the README promises, run as written there."""
import os
import pathlib
import re
import signal
import subprocess

import pytest

from local_cluster import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Nothing takes so long: what does is stuck.
REFUSAL_SECONDS_MAX = 120
QUICKSTART_SECONDS_MAX = 1200


def readme_commands():
    """The lines of the README's shell blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "\n".join(blocks).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


@pytest.fixture()
def quickstart():
    """`deploy/quickstart.sh` as a person runs it, up to the point where it waits for Ctrl-C."""
    process = subprocess.Popen(["deploy/quickstart.sh"], cwd=ROOT, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Stop: Ctrl-C"):
            break
    process.said = "".join(said)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_readme_shows_the_two_commands():
    commands = readme_commands()
    assert "deploy/quickstart.sh" in commands
    assert "deploy/quickstart.sh --once" in commands


def test_once_verifies_every_row_and_builds_nothing_the_second_time():
    for is_second in (False, True):
        done = subprocess.run(["deploy/quickstart.sh", "--once"], cwd=ROOT, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=QUICKSTART_SECONDS_MAX, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "killed broker" in done.stdout
        assert "nothing lost, nothing doubled, all in order per key" in done.stdout
        built = (ROOT / "build/quickstart-build.log").read_text()
        assert not is_second or "ninja: no work to do" in built, built


def test_second_quickstart_is_refused_and_the_first_keeps_its_data(quickstart):
    assert quickstart.poll() is None, quickstart.said
    for arguments in ([], ["--once"], ["--keep"]):
        second = subprocess.run(["deploy/quickstart.sh", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=REFUSAL_SECONDS_MAX, check=False)
        assert second.returncode == 1
        assert "another quick start runs" in second.stderr and str(quickstart.pid) in second.stderr
    millrace = ROOT / "build/release/bin/millrace"
    done = subprocess.run([millrace, "consume", "flights", "--from", "earliest", "--until-end"],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=True)
    assert len(done.stdout.splitlines()) == 27004


def test_packages_that_running_takes_are_listed(binary):
    """Every library that the binary asks for by name comes from a package of the run list, or from libc's own."""
    rows = [line.split() for line in (ROOT / "deploy/packages.txt").read_text().splitlines()]
    listed = {row[1] for row in rows if row and row[0] == "run"} | {"libc6", "libgcc-s1"}
    dynamic = subprocess.run(["readelf", "-d", binary], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"NEEDED.*\[(.+)\]", dynamic)
    assert "libprotobuf.so.32" in needed
    found = subprocess.run(["dpkg", "-S", *needed], capture_output=True, text=True, check=True).stdout
    owners = {line.split(":")[0]: line for line in found.splitlines()
              if line.rsplit("/", 1)[-1] in needed and "/x86_64-linux-gnu/" in line}
    assert set(owners) <= listed, {name: line for name, line in owners.items() if name not in listed}


def test_quickstart_runs_what_the_readme_shows_and_stops_on_ctrl_c(quickstart):
    assert quickstart.poll() is None, quickstart.said
    assert "27,004 records" in quickstart.said and "HOLDS" in quickstart.said
    path = f"{ROOT / 'build/release/bin'}:{os.environ['PATH']}"
    commands = [line for line in readme_commands() if "millrace " in line and "server" not in line]
    assert commands
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=ROOT, env=dict(os.environ, PATH=path),
                              capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                              check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    os.killpg(quickstart.pid, signal.SIGINT)
    wait_until(lambda: quickstart.poll() is not None, "the quick start ends after Ctrl-C")
    assert quickstart.returncode in (0, 130)
    logs = sorted((ROOT / "build/quickstart").glob("broker-*.log"))
    assert len(logs) == 3
    for log in logs:
        assert "stopping" in log.read_text(), log
