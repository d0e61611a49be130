"""The `millrace` command as scripts use it: what it takes, what it prints, and what it exits with."""
import concurrent.futures
import contextlib
import json
import os
import select
import signal
import subprocess
import time
import uuid

import grpc
import pytest

from conftest import free_ports, running_server, wait_until_serving
from local_cluster import wait_until


@pytest.fixture()
def cli(binary, server):
    """Runs a command against the shared broker: what it did, as subprocess tells it."""
    def run(*words, **options):
        options = {"capture_output": True, "text": True, "timeout": 60, "check": False, **options}
        return subprocess.run([binary, *words, "--bootstrap", server.address], **options)
    return run


@pytest.fixture()
def named(cli):
    """Creates a topic with these words after its name: the name."""
    def create(*words):
        name = f"cli-{uuid.uuid4().hex[:8]}"
        created = cli("topic", "create", name, *words)
        assert created.returncode == 0, created.stderr
        return name
    return create


def succeeded(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_topic_that_takes_little_can_be_loaded(cli, named, compression):
    topic = named("--set", "batch_bytes_max=64KiB")
    lines = [str(number) for number in range(50_000)]
    produced = cli("produce", topic, "--compression", compression, "-o", "json", input="\n".join(lines))
    assert json.loads(succeeded(produced))["records"] == len(lines)
    assert succeeded(cli("consume", topic, "--until-end")).splitlines() == lines


@pytest.mark.parametrize("limit, size", [("1MiB", 600_000), ("4032KiB", 4_000_000)])
def test_a_record_as_large_as_the_topic_takes_is_stored(cli, named, limit, size):
    topic = named("--set", f"batch_bytes_max={limit}")
    succeeded(cli("produce", topic, input=f"before\n{'x' * size}\nafter\n"))
    assert [len(line) for line in succeeded(cli("consume", topic, "--until-end")).splitlines()] == [6, size, 5]


def test_settings_are_changed_while_a_topic_is_used(cli, named):
    topic = named("--set", "batch_bytes_max=2MiB")
    shown = json.loads(succeeded(cli("topic", "config", topic, "-o", "json")))["topic_settings"]
    assert {"key": "batch_bytes_max", "value": "2MiB", "default_value": "1048588B", "is_set": True} in shown
    would = succeeded(cli("topic", "alter", topic, "--set", "batch_bytes_max=64KiB", "--dry-run"))
    assert would.splitlines() == [f"topic {topic} would have", "batch_bytes_max = 64KiB"]
    changed = cli("topic", "alter", topic, "--set", "protected=true", "--unset", "batch_bytes_max", "-o", "json")
    changed = json.loads(succeeded(changed))
    assert (changed["settings"], changed["changed"]) == ({"protected": "true"}, ["batch_bytes_max", "protected"])
    assert "already" in succeeded(cli("topic", "alter", topic, "--set", "protected=true"))
    refused = cli("topic", "delete", topic)
    assert refused.returncode == 1 and "FAILED_PRECONDITION" in refused.stderr and "protected" in refused.stderr
    assert "protected = (default)" in succeeded(cli("topic", "alter", topic, "--unset", "protected"))
    succeeded(cli("topic", "delete", topic))


def partition_count(cli, topic):
    return len(json.loads(succeeded(cli("topic", "describe", topic, "-o", "json")))["partitions"])


def test_a_topic_gets_more_partitions_while_it_is_used(cli, named):
    topic = named("--partitions", "2")
    succeeded(cli("produce", topic, input="a\nb\n"))
    would = cli("topic", "alter", topic, "--partitions", "5", "--dry-run")
    assert succeeded(would).splitlines() == [f"topic {topic} would have", "partitions = 5"]
    assert would.stderr.startswith("warning: keys would map to other partitions")
    assert partition_count(cli, topic) == 2
    altered = cli("topic", "alter", topic, "--partitions", "4", "--set", "protected=true")
    assert succeeded(altered).splitlines() == [f"altered topic {topic}", "partitions = 4", "protected = true"]
    assert altered.stderr.startswith("warning: keys map to other partitions") and "order" in altered.stderr
    # It can be used at once, and what was there is there.
    succeeded(cli("produce", topic, "--partition", "3", input="c\n"))
    assert sorted(succeeded(cli("consume", topic, "--until-end")).splitlines()) == ["a", "b", "c"]
    grown = json.loads(succeeded(cli("topic", "alter", topic, "--partitions", "5", "--unset", "protected", "-o", "json")))
    assert (grown["partition_count"], grown["changed"], grown["is_dry_run"]) == (5, ["protected"], False)
    succeeded(cli("topic", "delete", topic))
    succeeded(cli("topic", "create", topic))
    assert partition_count(cli, topic) == 1


def test_who_adds_partitions_to_a_compacted_topic_is_warned_that_old_records_of_a_key_stay(cli, named):
    topic = named("--set", "cleanup=compact,delete")
    altered = cli("topic", "alter", topic, "--partitions", "2")
    succeeded(altered)
    assert "keeps its newest record from before in its old partition" in altered.stderr
    plain = cli("topic", "alter", named(), "--partitions", "2")
    succeeded(plain)
    assert "compacted" not in plain.stderr


def test_what_may_be_chosen_is_told(cli, named):
    listed = json.loads(succeeded(cli("config", "list", "-o", "json")))["topic_settings"]
    cleanup, ratio = (next(setting for setting in listed if setting["key"] == key) for key in ("cleanup", "dirty_ratio_min"))
    assert (cleanup["type"], cleanup["choices"], cleanup["min_value"]) == ("choice", ["delete", "compact", "compact,delete"], "")
    assert (ratio["type"], ratio["choices"], ratio["min_value"], ratio["max_value"]) == ("share", [], "0", "1")
    assert "choice: delete or compact or compact,delete; in Kafka cleanup.policy" in succeeded(cli("config", "list"))
    topic = named("--set", "cleanup=delete,compact", "--set", "dirty_ratio_min=0.10")
    kept = json.loads(succeeded(cli("topic", "describe", topic, "-o", "json")))["settings"]
    assert kept == {"cleanup": "compact,delete", "dirty_ratio_min": "0.1"}
    refused = cli("topic", "alter", topic, "--set", "cleanup=none")
    assert refused.returncode == 2 and '"none" is none of "delete", "compact", "compact,delete"' in refused.stderr


@pytest.mark.parametrize("words, offsets", [
    (("--from", "earliest", "--until-end"), [12, 15]),
    (("--from", "earliest", "--to", "20"), [12, 15]),
    (("--from", "earliest", "--to", "15"), [12]),
    (("--from", "earliest", "--count", "2"), [12, 15]),
    (("--from", "13", "--until-end"), [15]),
    (("--from", "16", "--until-end"), []),
])
def test_what_compaction_left_has_its_offsets_and_an_end(binary, compacted, words, offsets):
    """Neither an answer that only moves nor a batch with nothing that is wanted keeps a command from its end."""
    done = subprocess.run([binary, "consume", "t", *words, "-o", "json", "--bootstrap", compacted], capture_output=True,
                          text=True, timeout=60, check=False)
    assert [json.loads(line)["offset"] for line in succeeded(done).splitlines()] == offsets


def test_who_follows_a_topic_reads_the_partitions_that_it_gets(binary, server, cli, named):
    """From their start, wherever the command began, and without being told: half a minute later at most."""
    topic = named()
    succeeded(cli("produce", topic, input="first\n"))
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(running(binary, server, "consume", topic, "--from", position, "--count", count))
                   for position, count in (("earliest", "3"), ("latest", "2"), ("0", "3"), ("2999-01-01", "2"))]
        fixed = stack.enter_context(running(binary, server, "consume", topic, "--partition", "0", "--from", "1"))
        assert readers[0].stdout.readline() == b"first\n"
        time.sleep(0.5)  # until the others have begun at the end
        succeeded(cli("topic", "alter", topic, "--partitions", "3"))
        succeeded(cli("produce", topic, "--partition", "1", input="second\n"))
        succeeded(cli("produce", topic, "--partition", "2", input="third\n"))
        for reader in readers:
            rest = reader.stdout.read().split()
            assert reader.wait(timeout=60) == 0
            assert sorted(rest)[-2:] == [b"second", b"third"] and len(rest) == (3 if reader is readers[2] else 2), rest
        assert not select.select([fixed.stdout], [], [], 0)[0], "of a partition that was not asked for"


@pytest.mark.parametrize("wanted, also, why", [
    ("1", (), 'has 2 partition(s), and partition_count is 1'),
    ("2", (), 'has 2 partition(s), and partition_count is 2'),
    ("2", ("--set", "protected=true"), 'has 2 partition(s)'),
    ("3", ("--set", "no_such=1"), '"no_such"'),
    ("10001", (), "10001"),
    ("0", (), "0"),
])
def test_partitions_that_cannot_be_are_refused_and_nothing_changes(cli, named, wanted, also, why):
    topic = named("--partitions", "2")
    refused = cli("topic", "alter", topic, "--partitions", wanted, *also)
    assert refused.returncode == 2 and why in refused.stderr and "warning" not in refused.stderr, refused.stderr
    shown = json.loads(succeeded(cli("topic", "describe", topic, "-o", "json")))
    assert (len(shown["partitions"]), shown["settings"]) == (2, {})


def test_partitions_of_a_topic_that_is_not_there(cli):
    refused = cli("topic", "alter", "no-such-topic", "--partitions", "2")
    assert refused.returncode == 1 and "NOT_FOUND" in refused.stderr


def starts(cli, topic):
    """Where its one partition begins and ends."""
    row, = json.loads(succeeded(cli("topic", "offsets", topic, "-o", "json")))["partitions"]
    return row["log_start_offset"], row["high_watermark"]


def test_the_oldest_records_are_deleted(cli, named):
    topic = named()
    succeeded(cli("produce", topic, input="".join(f"{number}\n" for number in range(10))))

    def delete(before, *options):
        return cli("topic", "delete-records", topic, "--partition", "0", "--before", before, *options)

    deleted = json.loads(succeeded(delete("4", "-o", "json")))
    assert deleted == {"name": topic, "partition": 0, "log_start_offset": 4, "high_watermark": 10}
    assert starts(cli, topic) == (4, 10)
    assert succeeded(cli("consume", topic, "--until-end")).splitlines() == [str(number) for number in range(4, 10)]
    assert "from offset 4 on" in succeeded(delete("2"))
    refused = delete("11")
    assert refused.returncode == 1 and "OUT_OF_RANGE" in refused.stderr and "4 to 10" in refused.stderr
    succeeded(cli("topic", "alter", topic, "--set", "protected=true"))
    refused = delete("5")
    assert refused.returncode == 1 and "protected" in refused.stderr, refused.stderr
    assert starts(cli, topic) == (4, 10)
    succeeded(cli("topic", "alter", topic, "--unset", "protected"))
    succeeded(delete("latest"))
    assert starts(cli, topic) == (10, 10)
    succeeded(cli("produce", topic, input="after\n"))
    assert succeeded(cli("consume", topic, "--until-end")).splitlines() == ["after"]


def test_records_are_deleted_up_to_a_time_and_the_newest_is_found(cli, named):
    topic = named()
    rows = [(1_000, "old"), (50_000, "newest"), (2_000, "middle"), (3_000, "late")]
    for at_ms, value in rows:
        succeeded(cli("produce", topic, "--timestamp", f"@{at_ms}", input=f"{value}\n"))
    newest, = json.loads(succeeded(cli("topic", "offsets", topic, "--at", "newest", "-o", "json")))["partitions"]
    assert (newest["timestamp_offset"], newest["found_timestamp_ms"]) == (1, 50_000)
    succeeded(cli("topic", "delete-records", topic, "--partition", "0", "--before", "@1500"))
    assert starts(cli, topic) == (1, 4)
    succeeded(cli("topic", "delete-records", topic, "--partition", "0", "--before", "2"))
    newest, = json.loads(succeeded(cli("topic", "offsets", topic, "--at", "newest", "-o", "json")))["partitions"]
    assert (newest["timestamp_offset"], newest["found_timestamp_ms"]) == (3, 3_000)


@pytest.mark.parametrize("words, code, why", [
    (("--partition", "0"), 2, "--before"),
    (("--before", "1"), 2, "--partition"),
    (("--partition", "0", "--before", "-1"), 2, "-1"),
    (("--partition", "0", "--before", "soon"), 2, "soon"),
    (("--partition", "1", "--before", "0"), 1, "no partition 1"),
    (("--partition", "1", "--before", "latest"), 1, "no partition 1"),
])
def test_what_cannot_be_deleted_is_refused(cli, named, words, code, why):
    refused = cli("topic", "delete-records", named(), *words)
    assert refused.returncode == code and why in refused.stderr, refused.stderr


def test_retention_that_is_less_than_a_file_is_refused(cli, named):
    topic = named()
    refused = cli("topic", "alter", topic, "--set", "retention_bytes=1MiB", "--set", "segment_bytes=2MiB")
    assert refused.returncode == 2 and "segment_bytes is 2MiB" in refused.stderr, refused.stderr
    succeeded(cli("topic", "alter", topic, "--set", "retention_bytes=1MiB", "--set", "retention_time=7d"))
    refused = cli("topic", "alter", topic, "--set", "segment_bytes=2MiB")
    assert refused.returncode == 2 and "retention_bytes is 1MiB" in refused.stderr, refused.stderr
    succeeded(cli("topic", "alter", topic, "--set", "retention_bytes=unlimited", "--set", "segment_bytes=2MiB"))
    made = cli("topic", "create", named() + "x", "--set", "retention_bytes=1MiB", "--set", "segment_bytes=2MiB")
    assert made.returncode == 2 and "segment_bytes is 2MiB" in made.stderr, made.stderr


@pytest.mark.parametrize("words, why", [
    ((), "--partitions, --set or --unset"),
    (("--set", "no_such=1"), '"no_such"; known: batch_bytes_max, '),
    (("--set", "batch_bytes_max=1"), "not between 1KiB and 4032KiB"),
    (("--unset", "no_such"), '"no_such"'),
    (("--set", "protected=true", "--unset", "protected"), "both set and unset"),
])
def test_what_cannot_be_altered_is_refused_and_nothing_changes(cli, named, words, why):
    topic = named("--set", "batch_bytes_max=2MiB")
    refused = cli("topic", "alter", topic, *words)
    assert refused.returncode == 2 and why in refused.stderr, refused.stderr
    assert json.loads(succeeded(cli("topic", "describe", topic, "-o", "json")))["settings"] == {"batch_bytes_max": "2MiB"}


def test_a_setting_has_one_form_however_long_it_was_written(cli, named):
    topic = named()
    zeros = "0" * 40_000
    for setting in (f"segment_bytes={zeros}65536", f"segment_time={zeros}10000", "protected=1"):
        succeeded(cli("topic", "alter", topic, "--set", setting))
    kept = json.loads(succeeded(cli("topic", "describe", topic, "-o", "json")))["settings"]
    assert kept == {"protected": "true", "segment_bytes": "64KiB", "segment_time": "10s"}
    refused = cli("topic", "alter", topic, "--set", f"segment_time={'9' * 40_000}")
    assert refused.returncode == 2 and len(refused.stderr) < 500, refused.stderr


def test_every_setting_is_listed_with_what_it_does(cli):
    listed = json.loads(succeeded(cli("config", "list", "-o", "json")))["topic_settings"]
    assert [setting["key"] for setting in listed] == sorted(setting["key"] for setting in listed)
    text = succeeded(cli("config", "list"))
    for setting in listed:
        assert f"{setting['key']} = {setting['default_value']}" in text and setting["description"] in text


def test_a_record_that_is_larger_is_refused_with_the_limit(cli, named):
    topic = named("--set", "batch_bytes_max=64KiB")
    refused = cli("produce", topic, input="x" * 70_000)
    assert refused.returncode == 1
    assert "batch_bytes_max" in refused.stderr and "70" in refused.stderr


# Exit codes


@pytest.mark.parametrize("words", [
    ("consume", "t", "--from", "erliest"),
    ("consume", "t", "--to", "earliest"),
    ("consume", "t", "--from", "3", "--to", "2"),
    ("topic", "offsets", "t", "--at", "yesterday"),
    ("topic", "create", "t", "--set", "x"),
    ("topic", "create", "sp ace"),
    ("produce", "t", "-H", "trace:7f3a"),
    ("produce", "t", "--timestamp", "soon"),
    ("topic", "create", "t", "--set", "no_such=1"),
    ("consume", "t", "--partition", ""),
    ("produce", "t", "--partition", ""),
    ("topic", "list", "--timeout", "0"),
    ("topic", "list", "-o", "yaml"),
])
def test_a_command_line_that_cannot_be_is_2(cli, words):
    refused = cli(*words, input="")
    assert refused.returncode == 2, refused.stderr
    assert len(refused.stderr.splitlines()) == 1 and refused.stderr.startswith("error: "), refused.stderr


@pytest.mark.parametrize("bootstrap", ["nowhere", "http://127.0.0.1:7440", "127.0.0.1:1 127.0.0.1:2", "", ","])
def test_an_address_that_is_none_is_2(binary, bootstrap):
    refused = subprocess.run([binary, "topic", "list", "--bootstrap", bootstrap], capture_output=True, text=True,
                             timeout=20, check=False)
    assert refused.returncode == 2 and "bootstrap" in refused.stderr, refused.stderr


def test_addresses_may_have_blanks_and_a_last_comma(binary, server):
    listed = subprocess.run([binary, "topic", "list", "--bootstrap", f" 127.0.0.1:1 , {server.address}, "],
                            capture_output=True, text=True, timeout=60, check=False)
    assert listed.returncode == 0, listed.stderr


def test_what_the_cluster_has_not_is_1(cli):
    assert cli("topic", "describe", "absent").returncode == 1


@pytest.mark.parametrize("words", [
    ("topic", "describe", "TOPIC"), ("topic", "offsets", "TOPIC"), ("topic", "delete", "TOPIC"), ("produce", "TOPIC"),
    ("consume", "TOPIC"), ("bench", "produce", "--topic", "TOPIC"), ("bench", "consume", "--topic", "TOPIC"),
])
def test_a_mistyped_topic_is_named_with_the_one_that_may_be_meant(cli, named, words):
    topic = named()
    mistyped = topic[:5] + topic[6] + topic[5] + topic[7:] if topic[5] != topic[6] else topic + "x"
    refused = cli(*(mistyped if word == "TOPIC" else word for word in words), input="")
    assert refused.returncode == 1
    assert refused.stderr == f'error: NOT_FOUND: topic "{mistyped}" does not exist; did you mean {topic}?\n'


@contextlib.contextmanager
def running(binary, server, *words, **options):
    """A command under way, whose pipes are ours."""
    process = subprocess.Popen([binary, *words, "--bootstrap", server.address], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number, exit_code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("end", [("--count", "2"), ("--count", "2", "--until-end")])
def test_consume_that_is_interrupted_before_its_end_says_so(binary, server, cli, named, number, exit_code, end):
    if "--until-end" in end:
        end = ("--count", "1000000", "--until-end")
    topic = named()
    lines = 1 if "--until-end" not in end else 400_000
    succeeded(cli("produce", topic, input="x\n" * lines))
    with running(binary, server, "consume", topic, *end) as process:
        assert process.stdout.readline() == b"x\n"  # it has begun; a full pipe or the count keeps it from its end
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(timeout=30) == exit_code
        assert b"interrupted: " in process.stderr.read()


def test_following_a_topic_until_an_interrupt_is_0(binary, server, cli, named):
    topic = named()
    succeeded(cli("produce", topic, input="x\n"))
    with running(binary, server, "consume", topic) as process:
        assert process.stdout.readline() == b"x\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_produce_from_a_pipe_until_an_interrupt_is_0_with_all_that_was_read(binary, server, cli, named):
    topic = named()
    with running(binary, server, "produce", topic, "-o", "json") as process:
        process.stdin.write(b"x\n")
        process.stdin.flush()
        wait_until(lambda: cli("consume", topic, "--until-end").stdout == "x\n", "the line is stored")
        process.send_signal(signal.SIGINT)
        assert json.loads(process.stdout.read())["records"] == 1
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("number, exit_code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_produce_of_a_file_that_is_interrupted_before_its_end_says_so(binary, server, cli, named, tmp_path, number,
                                                                     exit_code):
    topic = named()
    file = tmp_path / "lines"
    file.write_text("".join(f"{n}\n" for n in range(3_000_000)))
    with running(binary, server, "produce", topic, str(file)) as process:
        wait_until(lambda: stored(cli, topic) > 0, "it has begun")
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(timeout=60) == exit_code
        assert b"interrupted: only the first" in process.stderr.read()
    succeeded(cli("topic", "delete", topic))


def stored(cli, topic):
    [partition] = json.loads(succeeded(cli("topic", "offsets", topic, "-o", "json")))["partitions"]
    return partition["high_watermark"]


def test_offsets_at_a_time_tell_the_record_that_was_found(cli, named):
    topic = named()
    succeeded(cli("produce", topic, input="x\n"))
    offsets = ["topic", "offsets", topic, "--at"]
    [found] = json.loads(succeeded(cli(*offsets, "1970-01-01T00:00:00Z", "-o", "json")))["partitions"]
    assert found["timestamp_offset"] == 0 and found["found_timestamp_ms"] > 1_700_000_000_000
    assert found["found_leader_epoch"] > 0
    [none] = json.loads(succeeded(cli(*offsets, "2999-01-01T00:00:00Z", "-o", "json")))["partitions"]
    assert (none["timestamp_offset"], none["found_timestamp_ms"], none["found_leader_epoch"]) == (1, None, None)
    head, row = (line.split() for line in succeeded(cli(*offsets, "1970-01-01T00:00:00Z")).splitlines())
    time, epoch = f"@{found['found_timestamp_ms']}", str(found["found_leader_epoch"])
    assert dict(zip(head, row)) == {"PARTITION": "0", "START": "0", "END": "1", "AT": "0", "TIME": time, "EPOCH": epoch}


# Output that cannot be written


@pytest.mark.parametrize("words", [
    ("topic", "list"), ("topic", "list", "-o", "json"), ("topic", "describe", "TOPIC"), ("topic", "offsets", "TOPIC"),
    ("cluster", "describe"), ("consume", "TOPIC", "--until-end"), ("produce", "TOPIC"), ("produce", "TOPIC", "-o", "json"),
    ("bench", "consume", "--topic", "TOPIC", "--records", "1"), ("--help",), ("--version",), ("completion", "fish"),
])
@pytest.mark.parametrize("where", ["full", "closed"])
def test_output_that_cannot_be_written_is_an_error(binary, server, cli, named, words, where):
    topic = named()
    succeeded(cli("produce", topic, input="x\n"))
    words = [topic if word == "TOPIC" else word for word in words]
    if not words[0].startswith("-") and words[0] != "completion":
        words += ["--bootstrap", server.address]
    redirection = {"full": ">/dev/full", "closed": ">&-"}[where]
    done = subprocess.run(["sh", "-c", f'"$0" "$@" {redirection}', binary, *words], input="line\n", text=True,
                          stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert "cannot write to stdout" in done.stderr


def test_a_stdout_that_does_not_block_is_waited_for(binary, server, cli, named):
    topic = named()
    succeeded(cli("produce", topic, input="".join(f"{n}\n" for n in range(100_000))))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = subprocess.Popen([binary, "consume", topic, "--until-end", "--bootstrap", server.address], stdout=writer)
    os.close(writer)
    wait_until(lambda: select.select([reader], [], [], 0)[0], "the pipe has something")
    with os.fdopen(reader) as lines:
        assert sum(1 for _ in lines) == 100_000
    assert process.wait(timeout=30) == 0


def test_closed_stdin_is_said(binary, server, named):
    done = subprocess.run(["sh", "-c", '"$0" "$@" <&-', binary, "produce", named(), "--bootstrap", server.address],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "stdin is closed" in done.stderr, done.stderr


def test_a_server_without_standard_files_keeps_them_out_of_its_lock(binary, tmp_path):
    client_port, internal_port = free_ports(2)
    process = subprocess.Popen(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', binary, "server", "--data-dir",
                                tmp_path / "data", "--listen", f"127.0.0.1:{client_port}", "--internal-listen",
                                f"127.0.0.1:{internal_port}"])
    try:
        wait_until_serving(f"127.0.0.1:{client_port}", process)
        for number in (0, 1, 2):
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null"
        assert (tmp_path / "data/LOCK").read_text().strip() == str(process.pid)
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


# What goes in and comes out


def test_null_and_empty_are_told_apart_both_ways(cli, named):
    topic = named()
    succeeded(cli("produce", topic, "--key-separator", ":", "--null", "NULL", input="NULL:v\n:v\nk:NULL\nk:\n"))
    printed = succeeded(cli("consume", topic, "--until-end", "-o", "key-value", "--key-separator", ":"))
    assert printed.splitlines() == [r"\N:v", ":v", r"k:\N", "k:"]
    records = [json.loads(line) for line in succeeded(cli("consume", topic, "--until-end", "-o", "json")).splitlines()]
    assert [(record["key"], record["value"]) for record in records] == [(None, "v"), ("", "v"), ("k", None), ("k", "")]


def records_of(cli, topic):
    return [json.loads(line) for line in succeeded(cli("consume", topic, "--until-end", "-o", "json")).splitlines()]


def test_headers_and_a_time_are_given_to_every_record(cli, named):
    topic = named()
    succeeded(cli("produce", topic, "-H", "trace=7f3a", "--header", "sum=a=b", "-H", "trace=", "--timestamp",
                  "2026-11-21T08:00:00Z", input="one\ntwo\n"))
    headers = [{"key": key, "value": value} for key, value in (("trace", "7f3a"), ("sum", "a=b"), ("trace", ""))]
    assert [(record["value"], record["timestamp_ms"], record["headers"]) for record in records_of(cli, topic)] == [
        (value, 1795248000000, headers) for value in ("one", "two")]


def test_a_time_may_be_an_age(cli, named):
    topic = named()
    began = time.time() * 1000
    succeeded(cli("produce", topic, "--timestamp", "-1h", input="x\n"))
    [record] = records_of(cli, topic)
    assert -1 <= record["timestamp_ms"] - (began - 3_600_000) < 60_000
    assert -1 <= record["append_time_ms"] - began < 60_000


def test_empty_values_are_tombstones_if_they_should(cli, named):
    topic = named()
    for words in ((), ("-Z",), ("--tombstone",)):
        succeeded(cli("produce", topic, "--key-separator", ":", *words, input="k:\nk:v\n"))
    assert [record["value"] for record in records_of(cli, topic)] == ["", "v", None, "v", None, "v"]


def test_numbers_are_keys_as_the_line_has_them(cli, named):
    topic = named()
    numbers = ["100000000000000000001", "100000000000000000002", "1.10", "1e3", "7"]
    succeeded(cli("produce", topic, "--key-field", "id", input="".join(f'{{"id":{n}}}\n' for n in numbers)))
    records = succeeded(cli("consume", topic, "--until-end", "-o", "json")).splitlines()
    assert [json.loads(record)["key"] for record in records] == numbers


@pytest.fixture()
def uneven(cli, named):
    """A topic whose partitions have 5, 1 and no records."""
    topic = named("--partitions", "3")
    succeeded(cli("produce", topic, "--partition", "0", input="0\n1\n2\n3\n4\n"))
    succeeded(cli("produce", topic, "--partition", "1", input="other\n"))
    return topic


@pytest.mark.parametrize("words, lines", [
    (("--from", "3", "--until-end"), "34"),
    (("--from", "5", "--until-end"), ""),
    (("--from", "99", "--to", "latest"), ""),
    (("--from", "1", "--to", "3"), "12"),
    (("--from", "1", "--to", "1"), ""),
    (("--to", "2", "--partition", "0"), "01"),
    (("--to", "99", "--partition", "0"), "01234"),
    (("--from", "-1h", "--to", "2", "--partition", "0"), "01"),
    (("--from", "-1h", "--to", "-30m"), ""),
    (("--from", "1970-01-01", "--to", "2999-12-31", "--partition", "0"), "01234"),
    (("--from", "2999-12-31", "--to", "2"), ""),
    (("--from", "2d", "--to", "latest", "--partition", "0"), "01234"),
    (("--from", "latest", "--to", "-1h"), ""),
    (("--from", "4", "--to", "-1h", "--partition", "0"), ""),
])
def test_consume_reads_between_two_positions(cli, uneven, words, lines):
    assert succeeded(cli("consume", uneven, *words)).splitlines() == list(lines)


def test_consume_to_reads_each_partition_up_to_there(cli, uneven):
    assert sorted(succeeded(cli("consume", uneven, "--to", "2")).splitlines()) == ["0", "1", "other"]


def test_consume_from_an_offset_follows_partitions_that_are_shorter(binary, server, cli, uneven):
    with running(binary, server, "consume", uneven, "--from", "3", "--count", "4") as process:
        assert [process.stdout.readline() for _ in range(2)] == [b"3\n", b"4\n"]  # it has begun
        succeeded(cli("produce", uneven, "--partition", "1", input="a\nb\nc\nd\n"))
        assert process.communicate(timeout=30)[0] == b"c\nd\n"
        assert process.returncode == 0


def test_an_offset_that_a_named_partition_has_not_is_an_error(cli, uneven):
    refused = cli("consume", uneven, "--partition", "1", "--from", "3", "--until-end")
    assert refused.returncode == 1 and "OUT_OF_RANGE: partition 1: offset 3" in refused.stderr, refused.stderr


def test_topics_are_listed_by_name_alone(cli, named):
    names = {named(), named()}
    assert names <= set(succeeded(cli("topic", "list", "-o", "name")).splitlines())


# When the cluster does not answer


def test_a_broker_that_advertises_a_wrong_address_is_named(binary, tmp_path):
    with running_server(binary, tmp_path, "--advertise", "127.0.0.1:9") as server:
        succeeded(subprocess.run([binary, "topic", "create", "t", "--bootstrap", server.address], capture_output=True,
                                 text=True, timeout=60, check=False))
        for words in (["consume", "t", "--until-end"], ["produce", "t"]):
            done = subprocess.run([binary, *words, "--bootstrap", server.address, "--timeout", "3s"], input="x\n",
                                  capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 1, done.stderr
            notes = [line for line in done.stderr.splitlines() if line.startswith("note: still trying")]
            assert any("127.0.0.1:9: Connection refused" in note for note in notes), done.stderr
            assert "127.0.0.1:9" in done.stderr.splitlines()[-1], done.stderr


def test_nobody_at_any_address_fails_early_and_says_so(binary):
    first, second = free_ports(2)
    done = subprocess.run([binary, "topic", "list", "--bootstrap", f"127.0.0.1:{first},127.0.0.1:{second}"],
                          capture_output=True, text=True, timeout=25, check=False)
    assert done.returncode == 1
    assert "is a broker running there?" in done.stderr
    assert "Connection refused" in done.stderr.splitlines()[-1]


def test_another_grpc_server_is_passed_over(binary, server):
    other = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    try:
        for addresses in (f"127.0.0.1:{port},{server.address}", f"{server.address},127.0.0.1:{port}"):
            listed = subprocess.run([binary, "topic", "list", "--bootstrap", addresses], capture_output=True, text=True,
                                    timeout=60, check=False)
            assert listed.returncode == 0, listed.stderr
        alone = subprocess.run([binary, "topic", "list", "--bootstrap", f"127.0.0.1:{port}"], capture_output=True,
                               text=True, timeout=60, check=False)
        assert alone.returncode == 1 and f"127.0.0.1:{port} does not know" in alone.stderr, alone.stderr
    finally:
        other.stop(None)


def test_an_outage_under_way_is_told_and_survived(binary, tmp_path):
    with running_server(binary, tmp_path) as server:
        succeeded(subprocess.run([binary, "topic", "create", "t", "--bootstrap", server.address], capture_output=True,
                                 text=True, timeout=60, check=False))
        with running(binary, server, "consume", "t") as process:
            produce_line(binary, server, "before")
            assert process.stdout.readline() == b"before\n"
            server.process.send_signal(signal.SIGSTOP)
            note = process.stderr.readline().decode()
            server.process.send_signal(signal.SIGCONT)
            assert note.startswith("note: still trying") and server.address in note
            produce_line(binary, server, "after")
            assert process.stdout.readline() == b"after\n"


def produce_line(binary, server, line):
    succeeded(subprocess.run([binary, "produce", "t", "--bootstrap", server.address], input=line, capture_output=True,
                             text=True, timeout=60, check=False))


def test_bench_consume_takes_latency_from_the_stamps_of_produce(cli, named):
    topic = named()
    succeeded(cli("bench", "produce", "--topic", topic, "--records", "5", "--stamp", "--record-size", "8"))
    succeeded(cli("bench", "produce", "--topic", topic, "--records", "5", "--stamp", "--record-size", "8"))
    read = ("bench", "consume", "--topic", topic, "--stamped", "-o", "json")
    done = json.loads(succeeded(cli(*read, "--records", "4", "--skip", "6")))
    assert done["records"] == 4 and 0 < done["latency_ms"]["p50"] < 600_000, done
    succeeded(cli("produce", topic, input="short\n"))
    refused = cli(*read, "--records", "11")
    assert refused.returncode == 1 and "offset 10 is not of bench produce --stamp" in refused.stderr, refused.stderr
    refused = cli("bench", "produce", "--topic", topic, "--stamp", "--record-size", "7")
    assert refused.returncode == 1 and "--record-size of 8 or more" in refused.stderr, refused.stderr


def test_bench_consume_ends_where_records_end(cli, named):
    topic = named()
    succeeded(cli("produce", topic, input="x\n" * 10))
    done = cli("bench", "consume", "--topic", topic, "--records", "20", "--timeout", "1")
    assert done.returncode == 1 and "10 of 20" in done.stderr, done.stderr
