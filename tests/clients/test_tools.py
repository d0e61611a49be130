"""Clients that need more than Python: programs in Go and Node that know the .proto alone, and grpcurl."""
import functools
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import uuid

import pytest

from compacted_broker import LINES
from conftest import ROOT
from packed import gzip_batch, large_texts
from test_python import produce, topic_id

HERE = pathlib.Path(__file__).resolve().parent
PLUGINS = ("google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
           "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2")
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"


def go(*arguments, **options):
    return subprocess.run(["go", *arguments], capture_output=True, text=True, timeout=600, **options)


def go_fetch(*arguments, **options):
    """What cannot be fetched, or not be built by this machine's Go, is not ours: a skip, with the reason."""
    run = go(*arguments, **options)
    if run.returncode != 0:
        pytest.skip(f"go {' '.join(arguments)}: {run.stderr.strip().splitlines()[-1]}")


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
        go_fetch("install", plugin, env=environment)
    source = tmp_path_factory.mktemp("go-source")
    for name in ("main.go", "go.mod", "go.sum"):
        shutil.copy(HERE / "go" / name, source)
    (source / "gen").mkdir()
    files = sorted(str(file.relative_to(ROOT / "proto"))
                   for file in (ROOT / "proto" / "millrace" / "v1").glob("*.proto"))
    # The .proto files say enough: no option names an import path.
    options = [f"--{plugin}_out={source}/gen" for plugin in ("go", "go-grpc")]
    subprocess.run(["protoc", "-I", ROOT / "proto", *options, *files], check=True, env=environment)
    go_fetch("mod", "download", env=environment, cwd=source)
    built = go("build", "-o", str(folder / "client"), ".", env=environment, cwd=source)
    assert built.returncode == 0, built.stderr
    return [folder / "client"]


@pytest.fixture(scope="session")
def node_client():
    """The Node program, beside the packages that its lock file names; fetched on the first run."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on this machine")
    folder = pathlib.Path(sys.prefix) / "node"
    lock = (HERE / "node" / "package-lock.json").read_bytes()
    installed = folder / "node_modules" / "installed.json"
    shutil.copytree(HERE / "node", folder, dirs_exist_ok=True)
    if not installed.exists() or installed.read_bytes() != lock:
        run = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder,
                             capture_output=True, text=True, timeout=300)
        if run.returncode != 0:
            pytest.skip(f"npm ci: {run.stderr.strip().splitlines()[-1]}")
        installed.write_bytes(lock)
    return ["node", folder / "main.js", ROOT / "proto"]


@pytest.fixture(params=["go", "node"])
def program_at(request):
    """Runs one of the programs: its name, and how to call it at a broker for the lines that it prints."""
    command = request.getfixturevalue(f"{request.param}_client")

    def run(address, action, topic, *arguments):
        run = subprocess.run([*command, action, address, topic, *arguments],
                             capture_output=True, text=True, timeout=90)
        assert run.returncode == 0, run.stderr
        return run.stdout.splitlines()
    return request.param, run


@pytest.fixture()
def program(program_at, server):
    """The same at the shared broker."""
    name, run = program_at
    return name, functools.partial(run, server.address)


@pytest.fixture(scope="session")
def grpcurl(tools, server):
    folder, environment = tools
    go_fetch("install", GRPCURL, env=environment)

    def run(*arguments):
        return subprocess.run([folder / "grpcurl", "-plaintext", *arguments], capture_output=True,
                              text=True, timeout=30)
    return run


def test_a_program_of_the_proto_alone_writes_and_reads(program):
    name, run = program
    topic = f"{name}-{uuid.uuid4().hex[:8]}"
    assert run("write", topic, "500") == []
    expected = [f"{n} {name} value-{n}" for n in range(500)]
    assert run("fetch", topic, "500") == expected
    assert run("subscribe", topic) == expected


def test_a_program_of_the_proto_alone_reads_what_packed_producers_wrote(program, binary, server, api, channel):
    name, run = program
    topic = f"{name}-{uuid.uuid4().hex[:8]}"
    run("write", topic, "2")
    expected = [f"{n} {name} value-{n}" for n in range(2)]
    for compression in ("none", "gzip", "snappy", "lz4", "zstd"):
        lines = [f"{compression} packed-{n}" for n in range(500)]
        subprocess.run([binary, "produce", topic, "--bootstrap", server.address, "--compression", compression,
                        "--key-separator", " "], input="\n".join(lines), text=True, check=True,
                       capture_output=True, timeout=30)
        expected += [f"{len(expected) + n} {line}" for n, line in enumerate(lines)]
    records = [api.Record(key=b"by-hand", value=f"compressed-{n}".encode()) for n in range(1000)]
    batch = gzip_batch(api, topic_id(api, channel, topic), 0, records)
    [result] = produce(api, channel, api.ProduceBatch(topic=topic, batch=batch))
    assert (result.base_offset, result.HasField("error")) == (len(expected), False), result
    expected += [f"{len(expected) + n} by-hand compressed-{n}" for n in range(1000)]
    assert run("fetch", topic, str(len(expected))) == expected
    assert run("subscribe", topic) == expected


def test_a_program_of_the_proto_alone_reads_batches_that_inflate_to_4_mib_with_1_mib_of_credit(
        program, server, api, channel):
    name, run = program
    topic = f"{name}-{uuid.uuid4().hex[:8]}"
    run("write", topic, "2")
    expected = [f"{n} {name} value-{n}" for n in range(2)]
    for texts in (large_texts(1000), large_texts(1090)):
        records = [api.Record(key=b"large", value=text.encode()) for text in texts]
        [result] = produce(api, channel, api.ProduceBatch(
            topic=topic, batch=gzip_batch(api, topic_id(api, channel, topic), 0, records)))
        assert not result.HasField("error"), result
        expected += [f"{len(expected) + n} large {text}" for n, text in enumerate(texts)]
    assert run("fetch", topic, str(len(expected))) == expected
    assert run("subscribe", topic) == expected


def test_a_program_of_the_proto_alone_tells_offsets_where_records_are_gone(program_at, compacted):
    name, run = program_at
    assert run(compacted, "fetch", name, str(len(LINES))) == LINES
    assert run(compacted, "subscribe", name) == LINES


def test_grpcurl_lists_and_describes_the_services(grpcurl, server):
    services = grpcurl(server.address, "list")
    assert services.returncode == 0, services.stderr
    assert services.stdout.split() == [
        "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
        "millrace.v1.AdminService", "millrace.v1.ConsumerService", "millrace.v1.GroupService",
        "millrace.v1.MetadataService", "millrace.v1.ProducerService", "millrace.v1.TransactionService"]
    for service in services.stdout.split():
        described = grpcurl(server.address, "describe", service)
        assert f"{service} is a service" in described.stdout, described.stderr
    described = grpcurl(server.address, "describe", "millrace.v1.ConsumerService")
    assert "rpc Fetch ( stream .millrace.v1.FetchRequest )" in described.stdout, described.stderr


def test_grpcurl_checks_health(grpcurl, server):
    health = grpcurl(server.address, "grpc.health.v1.Health/Check")
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
    assert '"reason": "UNKNOWN_TOPIC"' in refused.stderr, "the details are shown, not their bytes"
    assert "not recognized" not in refused.stderr
