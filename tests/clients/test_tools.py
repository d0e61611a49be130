"""Clients that need Go: a Go program of generated code alone, and grpcurl."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import uuid

import pytest

from conftest import ROOT

HERE = pathlib.Path(__file__).resolve().parent
PLUGINS = ("google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
           "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2")
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
PACKAGE = "millrace.test/clients/gen/millrace/v1"


def go(*arguments, **options):
    """Runs go; what cannot be fetched or built with this machine's Go is a skip, with the reason."""
    run = subprocess.run(["go", *arguments], capture_output=True, text=True, timeout=600, **options)
    if run.returncode != 0:
        pytest.skip(f"go {arguments[0]} {arguments[-1]}: {run.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def tools(tmp_path_factory):
    """A folder for Go's programs, and the environment that finds them."""
    for tool in ("go", "protoc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on this machine")
    folder = tmp_path_factory.mktemp("go")
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return folder, {**os.environ, "GOBIN": str(folder), "GOTOOLCHAIN": "local", "PATH": path}


@pytest.fixture(scope="session")
def go_client(tools, tmp_path_factory):
    """The Go program, built from generated code."""
    folder, environment = tools
    for plugin in PLUGINS:
        go("install", plugin, env=environment)
    source = tmp_path_factory.mktemp("go-source")
    for name in ("main.go", "go.mod", "go.sum"):
        shutil.copy(HERE / "go" / name, source)
    (source / "gen").mkdir()
    files = sorted(str(file.relative_to(ROOT / "proto"))
                   for file in (ROOT / "proto" / "millrace" / "v1").glob("*.proto"))
    options = [f"--{plugin}_{key}" for plugin in ("go", "go-grpc")
               for key in (f"out={source}/gen", "opt=paths=source_relative",
                           *(f"opt=M{file}={PACKAGE}" for file in files))]
    subprocess.run(["protoc", "-I", ROOT / "proto", *options, *files], check=True, env=environment)
    go("build", "-o", str(folder / "client"), ".", env=environment, cwd=source)
    return folder / "client"


@pytest.fixture(scope="session")
def grpcurl(tools, server):
    folder, environment = tools
    go("install", GRPCURL, env=environment)

    def run(*arguments):
        return subprocess.run([folder / "grpcurl", "-plaintext", *arguments], capture_output=True,
                              text=True, timeout=30)
    return run


def test_a_go_client_produces_and_consumes(go_client, server):
    topic = f"go-{uuid.uuid4().hex[:8]}"
    run = subprocess.run([go_client, server.address, topic, "500"], capture_output=True, text=True,
                         timeout=90)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"{n} go value-{n}" for n in range(500)]


def test_grpcurl_lists_and_describes_the_services(grpcurl, server):
    services = grpcurl(server.address, "list")
    assert services.returncode == 0, services.stderr
    assert "millrace.v1.ProducerService" in services.stdout.split()
    described = grpcurl(server.address, "describe", "millrace.v1.ConsumerService")
    assert "rpc Fetch ( stream .millrace.v1.FetchRequest )" in described.stdout, described.stderr


def test_grpcurl_checks_health(grpcurl, server):
    health = grpcurl("-import-path", HERE, "-proto", "health.proto", server.address,
                     "grpc.health.v1.Health/Check")
    assert json.loads(health.stdout) == {"status": "SERVING"}, health.stderr


def test_grpcurl_creates_and_describes_a_topic(grpcurl, server):
    name = f"curl-{uuid.uuid4().hex[:8]}"
    created = grpcurl("-d", json.dumps({"name": name, "partition_count": 2}), server.address,
                      "millrace.v1.AdminService/CreateTopic")
    assert created.returncode == 0, created.stderr
    described = grpcurl("-d", json.dumps({"names": [name]}), server.address,
                        "millrace.v1.MetadataService/DescribeTopics")
    [topic] = json.loads(described.stdout)["topics"]
    assert topic["name"] == name
    assert len(topic["partitions"]) == 2


def test_grpcurl_publishes_and_subscribes_as_the_readme_shows(grpcurl, server):
    created = grpcurl("-d", '{"name": "greetings", "partition_count": 3}', server.address,
                      "millrace.v1.AdminService/CreateTopic")
    assert created.returncode == 0, created.stderr
    [block] = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    published, subscribed = [
        grpcurl(*(server.address if word == "127.0.0.1:7440" else word
                  for word in shlex.split(line)[2:])) for line in block.splitlines()]
    assert published.returncode == 0, published.stderr
    assert len(json.loads(published.stdout)["results"]) == 1
    assert subscribed.returncode == 0, subscribed.stderr
    [record] = json.loads(subscribed.stdout)["records"]
    assert record["record"]["value"] == "aGVsbG8="


def test_grpcurl_shows_an_errors_details(grpcurl, server):
    refused = grpcurl("-d", '{"name": "absent"}', server.address,
                      "millrace.v1.AdminService/DeleteTopic")
    assert refused.returncode != 0
    assert "NotFound" in refused.stderr
    assert "type.googleapis.com/google.rpc.ErrorInfo" in refused.stderr
