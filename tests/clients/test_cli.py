"""The `millrace` command as scripts use it: what it takes, what it prints, and what it exits with."""
import json
import subprocess
import uuid

import pytest


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


def test_a_record_that_is_larger_is_refused_with_the_limit(cli, named):
    topic = named("--set", "batch_bytes_max=64KiB")
    refused = cli("produce", topic, input="x" * 70_000)
    assert refused.returncode == 1
    assert "batch_bytes_max" in refused.stderr and "70" in refused.stderr
