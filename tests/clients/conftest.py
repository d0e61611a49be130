"""A real `millrace server` on free loopback ports, and the generated Python modules of its .proto files."""
import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time
import types
import uuid

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_SECONDS_MAX = 20
STEP_SECONDS_MAX = 240
sys.path[:0] = [str(ROOT / "proto"), str(ROOT / "deploy")]

from compacted_broker import running_compacted_broker  # noqa: E402
from public_api import load_api  # noqa: E402


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def wait_until_serving(address, process):
    deadline = time.monotonic() + READY_SECONDS_MAX
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while time.monotonic() < deadline and process.poll() is None:
            try:
                request = health_pb2.HealthCheckRequest()
                answer = stub.Check(request, timeout=2, wait_for_ready=True)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError:
                pass
            time.sleep(0.01)
    pytest.fail(f"the server is not serving (exit code {process.poll()})")


@pytest.fixture(scope="session")
def binary():
    path = os.environ.get("MILLRACE_BINARY")
    if not path:
        pytest.exit("MILLRACE_BINARY is not set; use tests/clients/run.sh", 2)
    return path


def run(*command, **options):
    """A command that must succeed: what it printed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          timeout=STEP_SECONDS_MAX, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def prefix(binary, tmp_path_factory):
    """Where the C++ library of the binary's build is installed, without the server."""
    build = pathlib.Path(binary).resolve().parents[1]
    if "MILLRACE_SANITIZE:STRING=\n" not in (build / "CMakeCache.txt").read_text():
        pytest.skip("the build is instrumented, another project's is not")
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--build", build, "--target", "millrace_client")
    run("cmake", "--install", build, "--prefix", prefix, "--component", "client")
    return prefix


def built_with_library(prefix, project, *sources):
    """A program of sources in tests/client/api, linked with the installed C++ library."""
    for source in sources:
        (project / source).write_text((ROOT / "tests/client/api" / source).read_text())
    (project / "CMakeLists.txt").write_text(f"""
cmake_minimum_required(VERSION 3.24)
project(program LANGUAGES CXX)
find_package(Millrace REQUIRED)
add_executable(program {" ".join(sources)})
target_link_libraries(program PRIVATE Millrace::client)
""")
    run("cmake", "-G", "Ninja", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", project / "build")
    return project / "build/program"


@contextlib.contextmanager
def running_server(binary, folder, *flags):
    """A single broker with its data in `folder`: its address for clients, and its process."""
    client_port, internal_port = free_ports(2)
    address = f"127.0.0.1:{client_port}"
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            [binary, "server", "--data-dir", folder / "data", "--listen", address,
             "--internal-listen", f"127.0.0.1:{internal_port}", *flags], stdout=log, stderr=log)
        try:
            wait_until_serving(address, process)
            yield types.SimpleNamespace(address=address, process=process)
        finally:
            process.terminate()
            exit_code = process.wait(timeout=20)
    text = (folder / "log").read_text(errors="replace")
    assert exit_code == 0, f"the server ended with {exit_code}:\n{text[-2000:]}"


@pytest.fixture(scope="session")
def server(binary, tmp_path_factory):
    """The broker that most tests share."""
    with running_server(binary, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def api():
    return load_api()


@pytest.fixture(scope="session")
def compacted(api):
    """The address of a broker whose topics have what compaction leaves: compacted_broker.LINES."""
    with running_compacted_broker(api) as address:
        yield address


@pytest.fixture()
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture()
def topic(api, channel):
    """A new topic of two partitions."""
    name = f"topic-{uuid.uuid4().hex[:8]}"
    request = api.CreateTopicRequest(name=name, partition_count=2)
    api.AdminServiceStub(channel).CreateTopic(request, timeout=30)
    return name
