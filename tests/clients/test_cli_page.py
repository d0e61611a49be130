"""docs/cli.md against the command: which commands there are, what their JSON has, and what they exit with."""
import json
import re
import signal
import subprocess
import time
import uuid

import pytest

from conftest import ROOT, free_ports, running_server
from test_transactions import Producer

PAGE = (ROOT / "docs" / "cli.md").read_text()
# Words of the table of JSON that are values, or commands.
NO_FIELDS = {"null", "describe", "missing", "unknown", "__coordinator"}
# What is told of a partition whose broker does not answer.
FIELDS_OF_OUTAGES = {("topic offsets", "error"), ("partition describe", "error"), ("partition verify", "error"),
                     ("group describe", "error"), ("group offsets", "error"), ("group reset", "error"),
                     ("transaction describe", "error")}
# Of a replica that restores itself: tests/client/cli/partition_command_test.cc has one.
FIELDS_OF_RESTORES = {"source_id", "begin_offset", "entry_count", "entry_count_total", "bytes", "elapsed_ms"}
# Of one of a compacted topic, likewise.
FIELDS_OF_COMPACTION = {"pass_done", "pass_decided", "clean_to_offset", "is_under_way", "failure"}
# Of a group's members, and of what happened to them: tests/client/cli/group_command_test.cc has some.
FIELDS_OF_EVENTS = {"event", "time_ms", "instance_id"}
FIELDS_OF_MEMBERS = {"member_id", "instance_id", "client_id", "client_host", "epoch", "assigned", "revoking", "topic", "partitions",
                     "topic_count", "pattern", "rack", "session_timeout_ms"}
# Their keys are the settings' names.
FREE_FIELDS = {"settings"}


def table(heading, head):
    """The rows of the first table with this head behind a heading, as lists of cells."""
    section = PAGE.split(f"{heading}\n", 1)[1]
    rows = section.split(f"{head}\n", 1)[1].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")]
            for row in rows[:next((at for at, row in enumerate(rows) if not row.startswith("|")), len(rows))]]


def commands(cell):
    """`topic create`, `list` are "topic create" and "topic list"."""
    named = []
    for text in re.findall(r"`([^`]*)`", cell):
        words = [word for word in text.split() if re.fullmatch("[a-z]+(-[a-z]+)*", word)]
        named.append(" ".join(words))
    group = named[0].split()[0] if " " in named[0] else ""
    return {name if " " in name or not group else f"{group} {name}" for name in named}


@pytest.fixture(scope="module")
def routes(binary):
    """What the completion script knows may follow each command, and each command and option."""
    script = subprocess.run([binary, "completion", "bash"], capture_output=True, text=True, timeout=10, check=True)
    return dict(re.findall(r'^    "millrace ([^"]*)"\) choices="([^"]*)"', script.stdout, re.MULTILINE))


def test_the_page_has_every_command(routes):
    known = {route for route in routes if " -" not in route and not re.match("-|(help|server)( |$)", route)}
    leaves = {route for route in known if not any(other.startswith(f"{route} ") for other in known)}
    documented = set().union(*(commands(row[0]) for row in table("# The `millrace` command", "| command | what |")))
    documented -= {"help", "completion zsh", "completion fish"}
    assert {name.replace("completion bash", "completion") for name in documented} == leaves


@pytest.fixture(scope="module")
def damaged(binary, tmp_path_factory):
    """The data directory of a broker that is stopped, with a topic; a byte of it is wrong."""
    folder = tmp_path_factory.mktemp("damaged")
    with running_server(binary, folder) as server:
        subprocess.run([binary, "topic", "create", "t", "--bootstrap", server.address], capture_output=True, timeout=60,
                       check=True)
    superblock = folder / "data" / "SUPERBLOCK"
    content = bytearray(superblock.read_bytes())
    content[40] ^= 1
    superblock.write_bytes(content)
    return folder / "data"


@pytest.fixture()
def cli(binary, server):
    def run(*words, exit_code=0, **options):
        where = () if words[0] == "inspect" else ("--bootstrap", server.address)
        done = subprocess.run([binary, *words, *where], capture_output=True, timeout=60, check=False, **options)
        assert done.returncode == exit_code, done.stderr
        return done.stdout
    return run


@pytest.fixture()
def topic(cli):
    name = f"page-{uuid.uuid4().hex[:8]}"
    cli("topic", "create", name, "--set", "batch_bytes_max=64KiB")
    cli("produce", name, "-H", "trace=1", input=b"x\n")
    return name


@pytest.fixture()
def open_transaction(api, server, topic):
    """The transactional id of one that is open, behind one that has ended."""
    producer = Producer(api, f"id-{topic}", [server.address], topic=topic)
    producer.init()
    producer.number = 1
    producer.end(True)
    producer.number = 2
    producer.send(0, "x")
    yield producer.transactional_id
    producer.close()


def fields_of(value):
    """Every name in it, at any depth."""
    if isinstance(value, list):
        return set().union(*(fields_of(item) for item in value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(fields_of(item) for name, item in value.items() if name not in FREE_FIELDS))


def examples(topic, damaged, open_transaction):
    """Of each command that prints JSON: the words that follow it, for everything that it may print."""
    return {
        "consume": [(topic, "--until-end")],
        "produce": [(topic,)],
        "topic create": [(f"{topic}-other",)],
        "topic describe": [(topic,)],
        "topic list": [()],
        "topic offsets": [(topic, "--at", "1970-01-01"), (topic, "--at", "2999-01-01")],
        "group reset": [("readers", "--topic", topic, "--to", "earliest", "--yes")],
        "group list": [()],
        "group describe": [("readers",)],
        "group members": [("readers",)],
        "group offsets": [("readers",)],
        "group delete-offsets": [("readers", "--topic", topic)],
        "group delete": [("readers", "--yes")],
        "transaction list": [()],
        "transaction describe": [(open_transaction,)],
        "transaction abort": [(open_transaction, "--yes")],
        "partition describe": [(topic,)],
        "partition verify": [(topic,)],
        "cluster describe": [()],
        "bench produce": [("--topic", topic, "--records", "1")],
        "bench consume": [("--topic", topic, "--records", "1")],
        "bench transaction": [("--topic", topic, "--records", "10", "--rounds", "1")],
        "inspect": [(damaged, "--verify")],
        "topic alter": [(topic, "--set", "batch_bytes_max=128KiB", "--dry-run")],
        "topic config": [(topic,)],
        "config list": [()],
        "topic delete-records": [(topic, "--partition", "0", "--before", "latest")],
        "topic delete": [(topic,)],
    }


def test_the_page_has_every_field_of_the_json(cli, topic, damaged, open_transaction, routes):
    printed = {}
    for command, lines in examples(topic, damaged, open_transaction).items():
        exit_code = 3 if command == "inspect" else 0
        outputs = [cli(*command.split(), *words, "-o", "json", exit_code=exit_code, input=b"y\n") for words in lines]
        printed[command] = set().union(*(fields_of(json.loads(line)) for out in outputs for line in out.splitlines()))
    assert set(printed) == {route.removesuffix(" -o") for route, values in routes.items()
                            if route.endswith(" -o") and "json" in values.split()}

    documented = {}
    for cell, *fields in table("## JSON", "| command | fields |"):
        names = commands(cell)
        for command in {"bench produce", "bench consume"} if names == {"bench"} else names:
            documented[command] = set(re.findall(r"`([a-z0-9_]+)`", " ".join(fields))) - NO_FIELDS
    documented["topic create"] -= {"log_start_offset", "high_watermark"}  # "and with `describe`"
    for command, field in FIELDS_OF_OUTAGES:
        documented[command].remove(field)
    for command, fields in (("partition describe", FIELDS_OF_RESTORES | FIELDS_OF_COMPACTION),
                            ("group describe", FIELDS_OF_EVENTS), ("group members", FIELDS_OF_MEMBERS)):
        assert fields <= documented[command]
        documented[command] -= fields
    assert printed == documented


def test_the_page_tells_how_bytes_are_shown(cli, topic):
    cli("produce", topic, "--key-separator", ":", input=b"\xff:\xfe\n")
    record = json.loads(cli("consume", topic, "--from", "1", "--until-end", "-o", "json"))
    names = {name for name in record if name.endswith("_encoding")}
    assert names == set(re.findall(r"`([a-z]+_encoding)`", PAGE)) == {"key_encoding", "value_encoding"}
    assert {record[name] for name in names} == {"base64"}


def interrupted(binary, server, topic, number):
    """The exit code of a command that waits for a second record and is sent a signal."""
    process = subprocess.Popen([binary, "consume", topic, "--count", "2", "--bootstrap", server.address],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process:
        assert process.stdout.readline() == b"x\n"
        process.send_signal(number)
        return process.wait(timeout=30)


def without_reader(binary, server, topic):
    """The exit code, as a shell tells it, of a command whose stdout nobody reads any more."""
    process = subprocess.Popen([binary, "consume", topic, "--bootstrap", server.address], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"x\n"
    process.stdout.close()
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        subprocess.run([binary, "produce", topic, "--bootstrap", server.address], input=b"y\n", capture_output=True,
                       timeout=60, check=True)
    return 128 - process.wait(timeout=30)


def test_the_page_has_every_exit_code(binary, server, cli, topic, damaged):
    codes = set()
    others_from = None
    for cell, _ in table("## Exit codes", "| code | when |"):
        if cell.startswith("others"):
            others_from = int(re.search(r"\d+", cell)[0])
        else:
            codes |= {int(code) for code in cell.split(",")}
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    seen = {
        subprocess.run([binary, *words], capture_output=True, timeout=60, check=False).returncode
        for words in (("version",), ("help", "topic"), ("topc",), ("topic", "list", "--form"),
                      ("topic", "list", "--bootstrap", nobody), ("topic", "list", "--bootstrap", "nowhere"),
                      ("inspect", damaged))}
    cli("topic", "describe", "absent", exit_code=1)
    cli("topic", "create", "sp ace", exit_code=2)
    cli("produce", topic, "--partition", "0", "--expect-end", "1000000", exit_code=4, input=b"x\n")
    seen.add(4)
    seen |= {interrupted(binary, server, topic, number) for number in (signal.SIGINT, signal.SIGTERM)}
    assert seen == codes
    assert others_from <= without_reader(binary, server, topic) == 128 + signal.SIGPIPE
