"""client/python/transactions.py and read_process_write.py as they are, at three brokers: what counts, what does not, and who
is refused, whoever dies."""
import importlib
import queue
import re
import signal
import subprocess
import sys
import threading

import pytest

from conftest import ROOT
from local_cluster import LocalCluster, wait_until

FOLDER = ROOT / "client" / "python"
LINES_MAX = 120
PARTITIONS = 4
SECONDS_MAX = 60
SESSION_MS = "6000"


@pytest.fixture(name="brokers", scope="module")
def running_brokers(binary, tmp_path_factory):
    with LocalCluster(binary, tmp_path_factory.mktemp("brokers")) as brokers:
        brokers.start_all()
        yield brokers


@pytest.fixture()
def topic(brokers, request):
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name)[:80]
    brokers.run("topic", "create", name, "--partitions", str(PARTITIONS), "--replicas", "3")
    return name


class Program:
    """One of the programs as a process: lines in, lines out."""

    def __init__(self, brokers, name, *arguments):
        addresses = ",".join(broker.client_address for broker in brokers.brokers.values())
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [sys.executable, FOLDER / name, addresses, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.lines = queue.SimpleQueue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def next(self):
        return self.lines.get(timeout=SECONDS_MAX)

    def say(self, line):
        """The answer to it."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.next()

    def end(self):
        """Its input ends: its exit code, and what it said of errors."""
        self.process.stdin.close()
        return self.process.wait(timeout=SECONDS_MAX), self.process.stderr.read()

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(name="start")
def starting(brokers):
    programs = []

    def start(name, *arguments):
        programs.append(Program(brokers, name, *arguments))
        return programs[-1]
    yield start
    for program in programs:
        program.kill()


@pytest.fixture(name="writer")
def starting_writers(start, topic):
    """Starts `transactions.py` of the test's own transactional id: ready."""
    def begin(*timeout):
        program = start("transactions.py", topic, topic, *timeout)
        assert program.next() == "ready"
        return program
    return begin


def read(brokers, topic, isolation="committed"):
    printed = brokers.run("consume", topic, "--until-end", "--isolation", isolation).stdout
    return sorted(printed.split())


def wait_read(brokers, topic, values):
    wait_until(lambda: read(brokers, topic) == sorted(values), "what is committed is read", SECONDS_MAX)


def ongoing(brokers, topic):
    return brokers.json("transaction", "list", "--prefix", topic, "--state", "ongoing")["transactions"]


def test_they_are_short():
    for name in ("calls.py", "group_consumer.py", "transactions.py", "read_process_write.py"):
        assert len((FOLDER / name).read_text().splitlines()) < LINES_MAX, name


def test_what_is_committed_is_read_and_what_is_aborted_is_not(brokers, topic, writer):
    one = writer()
    assert one.say("commit") == "committed", "one without a record"
    assert [one.say("send 0 a"), one.say("send 1 b")] == ["stored 0 0", "stored 1 0"]
    assert read(brokers, topic) == []
    assert one.say("commit") == "committed"
    assert [one.say("send 0 c"), one.say("abort")] == ["stored 0 1", "aborted"]
    assert [one.say("send 0 d"), one.say("send 0 e"), one.say("commit")] == ["stored 0 2", "stored 0 3", "committed"]
    wait_read(brokers, topic, "abde")
    assert read(brokers, topic, "uncommitted") == list("abcde")
    assert one.say("send 0 f") == "stored 0 4"
    assert one.end() == (0, ""), "its input is over: what is open is aborted"
    wait_read(brokers, topic, "abde")
    assert not ongoing(brokers, topic)


def test_a_second_life_fences_the_first_and_begins_with_nothing_open(brokers, topic, writer):
    one = writer()
    assert one.say("send 0 a") == "stored 0 0"
    two = writer()
    assert one.say("send 0 b") in ("refused TRANSACTION_ENDED", "refused TRANSACTION_FENCED")
    if one.process.poll() is None:
        one.process.stdin.write("commit\n")
    assert one.end()[0] == 3
    assert [two.say("send 0 c"), two.say("commit")] == ["stored 0 1", "committed"]
    two.say("send 0 d")
    two.kill()
    three = writer()
    assert [three.say("send 0 e"), three.say("commit")] == ["stored 0 3", "committed"]
    wait_read(brokers, topic, "ce")


def test_one_that_takes_too_long_is_refused_and_the_next_one_is_taken(brokers, topic, writer):
    one = writer("1000")
    assert one.say("send 0 a") == "stored 0 0"
    wait_until(lambda: not ongoing(brokers, topic), "its time is over", SECONDS_MAX)
    assert one.say("commit") == "refused TRANSACTION_ENDED"
    assert [one.say("send 0 b"), one.say("commit")] == ["stored 0 1", "committed"]
    wait_read(brokers, topic, "b")


def test_a_record_is_stored_where_the_log_ends_or_not_at_all(brokers, topic, writer):
    one = writer()
    assert [one.say("send 0 a 0"), one.say("send 0 b 0"), one.say("send 0 b 1")] == [
        "stored 0 0", "refused OFFSET_MOVED 1", "stored 0 1"]
    assert one.say("commit") == "committed"
    wait_read(brokers, topic, "ab")


def test_brokers_that_die_are_a_pause(brokers, topic, writer):
    one = writer()
    assert one.say("send 0 a") == "stored 0 0"
    for broker in brokers.brokers:
        brokers.kill(broker)
        brokers.start(broker)
    assert one.say("send 0 b") == "stored 0 1"
    assert one.say("send 1 c") == "stored 1 0"
    for broker in brokers.brokers:
        brokers.kill(broker)
    brokers.start_all()
    assert one.say("commit") == "committed"
    wait_read(brokers, topic, "abc")


@pytest.mark.parametrize("line", ["send", "send 0", "send x a", "send 0 a -1", "send 0 a 1 2", "commit now", "", "rollback"])
def test_a_line_that_is_none_is_refused_and_changes_nothing(writer, line):
    one = writer()
    assert one.say(line) == "refused COMMAND"
    assert [one.say("send 0 a"), one.say("commit")] == ["stored 0 0", "committed"]


def test_what_the_broker_refuses_is_told_by_its_reason(start, topic, writer):
    assert writer().say(f"send {PARTITIONS} a") == "refused UNKNOWN_PARTITION"
    nameless = start("transactions.py", "", topic)
    code, said = nameless.end()
    assert code == 1 and said.startswith("error: INVALID_ARGUMENT "), said
    overlong = start("group_consumer.py", "g" * 250, topic)
    code, said = overlong.end()
    assert code == 1 and said.startswith("error: INVALID_ARGUMENT "), said
    assert start("group_consumer.py").end()[0] == 2


def test_a_worker_goes_on_whose_call_has_moved_to_another_broker(brokers, topic, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    calls, program = importlib.import_module("calls"), importlib.import_module("read_process_write")
    source = f"{topic}-numbers"
    brokers.run("topic", "create", source)
    brokers.run("produce", source, input="21\n", stdin=None)
    ways = calls.Brokers(",".join(broker.client_address for broker in brokers.brokers.values()))
    producer = calls.Producer(ways, topic)
    worker = program.Worker(ways, producer, {"group": topic, "subscription": {"topics": [source]}}, topic, int(SESSION_MS))
    end = producer.end

    def end_elsewhere(result):
        producer.end = end
        ways.move_on()  # as a call does whose broker is gone: it closes the member's stream
        end(result)
    producer.end = end_elsewhere
    running = threading.Thread(target=worker.run, daemon=True)
    running.start()
    wait_read(brokers, topic, ["42"])
    wait_until(lambda: worker.init["session"] > 1 or not running.is_alive(), "the stream is begun again", SECONDS_MAX)
    assert running.is_alive()
    worker.is_over.set()
    running.join(timeout=SECONDS_MAX)
    assert not running.is_alive()


def test_each_number_is_doubled_once_while_workers_and_brokers_die(brokers, topic, start):
    source = f"{topic}-numbers"
    brokers.run("topic", "create", source, "--partitions", str(PARTITIONS), "--replicas", "3")

    def work(name):
        return start("read_process_write.py", topic, source, topic, name, SESSION_MS)

    def produce(numbers):
        path = brokers.folder / "numbers.txt"
        path.write_text("".join(f"k{number}\t{number}\n" for number in numbers))
        with path.open() as lines:
            brokers.run("produce", source, "--key-separator", "\t", stdin=lines)

    workers = [work("one"), work("two")]
    produce(range(300))
    wait_until(lambda: read(brokers, topic), "something is written", SECONDS_MAX)
    workers[0].kill()
    produce(range(300, 600))
    workers[0] = work("one")
    broker = list(brokers.brokers)[1]
    brokers.kill(broker)
    brokers.start(broker)
    wait_until(lambda: len(read(brokers, topic)) >= 600, "everything is written", 2 * SECONDS_MAX)
    wait_until(lambda: len(brokers.json("group", "members", topic)["members"]) == 2, "both work", SECONDS_MAX)
    for worker in workers:
        worker.process.send_signal(signal.SIGTERM)
    # One whose member was taken out is fenced, and ends.
    assert {worker.process.wait(timeout=SECONDS_MAX) for worker in workers} <= {0, 3}
    assert sorted(int(value) for value in read(brokers, topic)) == [2 * number for number in range(600)]
