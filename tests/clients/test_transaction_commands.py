"""`millrace transaction` as an operator uses it: what is open, since when, whose, what it holds back; and ending that."""
import json
import os
import pty
import select
import subprocess
import time
import uuid

import grpc
import pytest

from conftest import running_server
from local_cluster import wait_until
from test_transactions import Lost, Producer

IDS = 200


@pytest.fixture()
def cli(binary, server):
    """Runs a command against the shared broker: what it did, as subprocess tells it."""
    def run(*words, **options):
        options = {"capture_output": True, "text": True, "timeout": 60, "check": False, "stdin": subprocess.DEVNULL, **options}
        return subprocess.run([binary, *words, "--bootstrap", server.address], **options)
    return run


def succeeded(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture()
def producer(api, server, cli):
    """Of a new id and a new topic of two partitions: its first transaction is committed, its second open in both."""
    name = f"orders-{uuid.uuid4().hex[:8]}"
    succeeded(cli("topic", "create", name, "--partitions", "2"))
    producer = Producer(api, name, [server.address], topic=name)
    producer.init()
    producer.number = 1
    producer.send(0, "first")
    producer.end(True)
    producer.number = 2
    for partition in (0, 1):
        producer.send(partition, "second")
    yield producer
    producer.close()


def described(cli, producer):
    return json.loads(succeeded(cli("transaction", "describe", producer.transactional_id, "-o", "json")))


def name_of(producer, number=2):
    return {"transactional_id": producer.transactional_id, "producer_id": producer.id, "producer_epoch": producer.epoch,
            "transaction_number": number}


def read(cli, producer, *flags):
    return sorted(succeeded(cli("consume", producer.topic, "--until-end", *flags)).split())


def test_what_is_open_is_shown_with_what_it_holds_back_and_aborted(cli, producer):
    name = producer.transactional_id
    listed, = json.loads(succeeded(cli("transaction", "list", "--prefix", name, "-o", "json")))["transactions"]
    since_ms = listed.pop("since_ms")
    assert abs(time.time() * 1000 - since_ms) < 60_000
    assert listed == {**name_of(producer), "state": "ongoing"}
    shown = described(cli, producer)
    topic_id = shown["partitions"][0]["topic_id"]
    place = {"topic": producer.topic, "topic_id": topic_id}
    assert shown == {
        "transactional_id": name, "state": "ongoing", "producer_id": producer.id, "producer_epoch": producer.epoch,
        "time_limit_ms": 10_000, "ongoing": {"transaction_number": 2, "since_ms": since_ms},
        "last": {"transaction_number": 1, "outcome": "committed", "reason": "asked"}, "has_group_offsets": False,
        "partitions": [{**place, "partition": 0, "last_stable_offset": 1, "high_watermark": 2},
                       {**place, "partition": 1, "last_stable_offset": 0, "high_watermark": 1}]}
    text = succeeded(cli("transaction", "describe", name))
    assert "transaction 2 is open since 20" in text and "its time limit is 10 s" in text
    assert "transaction 1 was committed: by its producer" in text
    assert [line.split() for line in text.splitlines()[-2:]] == [[producer.topic, "0", "1", "2", "1"],
                                                                 [producer.topic, "1", "0", "1", "1"]]
    assert read(cli, producer) == ["first"]
    assert read(cli, producer, "--isolation", "committed") == ["first"]
    assert read(cli, producer, "--isolation", "uncommitted") == ["first", "second", "second"]
    assert read(cli, producer, "--isolation", "uncommitted", "--from", "1") == ["second"]
    in_group = ["consume", producer.topic, "--group", name, "--isolation", "uncommitted", "--count", "3"]
    assert sorted(succeeded(cli(*in_group)).split()) == ["first", "second", "second"]

    # Nobody is there who could be asked.
    refused = cli("transaction", "abort", name)
    assert refused.returncode == 2 and "--yes" in refused.stderr
    aborted = succeeded(cli("transaction", "abort", name, "--yes"))
    assert "transaction 2 is open since 20" in aborted
    assert aborted.splitlines()[-1] == (
        f"aborted transaction 2 of transactional id {name} (producer id {producer.id}, epoch {producer.epoch})")
    wait_until(lambda: described(cli, producer)["state"] == "idle", "the markers", 30)
    assert described(cli, producer)["last"] == {"transaction_number": 2, "outcome": "aborted", "reason": "administrator"}
    assert read(cli, producer) == ["first"]

    # It has ended: there is nothing to abort, and its producer goes on with the next.
    again = cli("transaction", "abort", name, "--yes")
    assert again.returncode == 1 and again.stdout == ""
    assert again.stderr == (f"error: FAILED_PRECONDITION: transactional id {name} has no transaction open; "
                            "transaction 2 was aborted: by an administrator\n")
    with pytest.raises(grpc.RpcError) as told:
        producer.end(True)
    assert told.value.code() == grpc.StatusCode.ABORTED
    producer.number = 3
    producer.send(0, "third")
    producer.end(True)
    wait_until(lambda: read(cli, producer) == ["first", "third"], "what was committed", 30)


def test_json_of_an_abort_is_what_was_aborted(cli, producer):
    aborted = cli("transaction", "abort", producer.transactional_id, "--yes", "-o", "json")
    assert json.loads(succeeded(aborted)) == name_of(producer)
    with pytest.raises(Lost) as late:
        producer.send(0, "late")
    assert late.value.args[0].info.reason == "TRANSACTION_ENDED", late.value


def answered(binary, server, words, answer, before_answer):
    """Runs the command at a terminal, and answers once it asks; its exit code, and what the terminal showed."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([binary, *words, "--bootstrap", server.address], stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    with process:
        while b"[y/N]" not in shown:
            assert select.select([leader], [], [], 30)[0], shown
            shown += os.read(leader, 4096)
        before_answer()
        os.write(leader, answer)
        try:
            while select.select([leader], [], [], 30)[0]:
                shown += os.read(leader, 4096)
        except OSError:  # it has ended
            pass
        exit_code = process.wait(timeout=30)
    os.close(leader)
    return exit_code, shown.decode()


def test_who_is_asked_sees_what_it_is_and_may_say_no(binary, server, cli, producer):
    words = ("transaction", "abort", producer.transactional_id)
    exit_code, shown = answered(binary, server, words, b"n\n", lambda: None)
    assert exit_code == 1 and "nothing was changed" in shown
    assert "transaction 2 is open since 20" in shown and f"(producer id {producer.id}, epoch {producer.epoch})? [y/N]" in shown
    assert described(cli, producer)["state"] == "ongoing"
    assert answered(binary, server, words, b"y\n", lambda: None)[0] == 0
    assert described(cli, producer)["last"]["reason"] == "administrator"


def test_an_abort_never_takes_the_next_one(binary, server, cli, producer):
    """What was shown is committed while a person thinks, and the next one begins."""
    def go_on():
        producer.end(True)
        producer.number = 3
        producer.send(0, "third")
    exit_code, shown = answered(binary, server, ("transaction", "abort", producer.transactional_id), b"y\n", go_on)
    assert exit_code == 1 and "ABORTED" in shown and "committed" in shown, shown
    assert described(cli, producer)["ongoing"]["transaction_number"] == 3
    producer.end(True)
    wait_until(lambda: read(cli, producer) == ["first", "second", "second", "third"], "what was committed", 30)


def test_what_is_listed_may_be_chosen(cli, producer):
    name = producer.transactional_id

    def listed(*words):
        return succeeded(cli("transaction", "list", "-o", "name", *words)).split()
    assert listed("--prefix", name) == listed("--prefix", name, "--state", "ongoing") == [name]
    assert listed("--prefix", name, "--state", "idle") == []
    assert listed("--prefix", name, "--open-longer-than", "1ms") == [name]
    assert listed("--prefix", name, "--open-longer-than", "1h") == []
    assert listed("--prefix", "x" + name) == []
    producer.end(False)
    wait_until(lambda: listed("--prefix", name, "--state", "idle") == [name], "the markers", 30)
    assert listed("--prefix", name, "--open-longer-than", "1ms") == []


@pytest.mark.parametrize("action", ["describe", "abort"])
def test_an_id_that_is_not_there_is_1_and_what_may_be_meant_is_said(cli, producer, action):
    yes = ("--yes",) if action == "abort" else ()
    name = producer.transactional_id
    unknown = cli("transaction", action, name[:-1], *yes)
    assert unknown.returncode == 1 and unknown.stdout == ""
    assert unknown.stderr.startswith(f'error: NOT_FOUND: transactional id "{name[:-1]}" does not exist')
    assert f"did you mean {name}?" in unknown.stderr
    bad = cli("transaction", action, "x" * 250, *yes)
    assert bad.returncode == 2 and "INVALID_ARGUMENT" in bad.stderr


def test_of_many_ids_each_is_listed_once_and_of_none_nothing(api, binary, tmp_path):
    with running_server(binary, tmp_path) as server:
        def listed(*words):
            return succeeded(subprocess.run([binary, "transaction", "list", *words, "--bootstrap", server.address],
                                            capture_output=True, text=True, timeout=60, check=False))
        assert listed().split() == ["TRANSACTIONAL", "ID", "STATE", "FOR", "SINCE", "PRODUCER", "ID", "EPOCH", "NUMBER"]
        assert json.loads(listed("-o", "json")) == {"transactions": []}
        assert listed("-o", "name") == ""
        names = [f"id-{number:04}" for number in range(IDS)]
        with grpc.insecure_channel(server.address) as channel:
            init = api.ProducerServiceStub(channel).InitProducer
            calls = [init.future(api.InitProducerRequest(transactional_id=name, request_id=number + 1), timeout=60)
                     for number, name in enumerate(names)]
            for call in calls:
                call.result()
        assert listed("-o", "name").split() == names
        first = json.loads(listed("-o", "json", "--prefix", "id-0000"))["transactions"]
        assert [(row["transaction_number"], row["state"]) for row in first] == [(0, "idle")]
        # Page by page, as the library asks.
        found, token, pages = [], "", 0
        with grpc.insecure_channel(server.address) as channel:
            stub = api.TransactionServiceStub(channel)
            while pages == 0 or token:
                page = stub.ListTransactions(api.ListTransactionsRequest(page_token=token, page_size=7), timeout=30)
                found += [row.transactional_id for row in page.transactions]
                token, pages = page.next_page_token, pages + 1
        assert sorted(found) == names and pages >= IDS // 7


@pytest.mark.parametrize("producers", [1, 3])
def test_bench_transaction_stores_and_counts_what_it_says(cli, producers):
    """Each phase stores its records, also those of a last transaction that is not full; how fast does not matter."""
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    succeeded(cli("topic", "create", topic, "--partitions", "2"))
    measured = json.loads(succeeded(cli(
        "bench", "transaction", "--topic", topic, "--records", "250", "--records-per-transaction", "40", "--record-bytes", "100",
        "--producers", str(producers), "--rounds", "2", "-o", "json")))
    assert {name: measured[name] for name in ("rounds", "producers", "records_per_transaction", "record_bytes")} == {
        "rounds": 2, "producers": producers, "records_per_transaction": 40, "record_bytes": 100}
    phases = measured["phases"]
    assert [phase["phase"] for phase in phases] == ["plain", "overlapped", "awaited"]
    assert [phase["records"] for phase in phases] == [500] * 3
    # 250 records are 6 whole transactions and a seventh; of three producers each has 83 or 84, so two and a third.
    transactions = {1: 7, 3: 9}[producers] * 2
    assert [phase["transactions"] for phase in phases] == [0, transactions, transactions]
    assert phases[0]["commit_ms"] is None and phases[0]["ratio"] == 1
    assert all(phase["commit_ms"]["p50"] <= phase["commit_ms"]["p99"] for phase in phases[1:])
    assert all(0 < phase["records_per_second_min"] <= phase["records_per_second"] <= phase["records_per_second_max"]
               for phase in phases)
    # A tenth of a phase went before, of each kind.
    stored = 3 * 25 + 2 * 3 * 250
    wait_until(lambda: len(succeeded(cli("consume", topic, "--until-end")).splitlines()) == stored, "the markers", 30)
    text = succeeded(cli("bench", "transaction", "--topic", topic, "--records", "20", "--rounds", "1"))
    assert [line.split()[0] for line in text.splitlines()] == ["PHASE", "plain", "overlapped", "awaited"]


def test_bench_transaction_reads_the_same_with_and_without_what_is_not_committed(cli):
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    succeeded(cli("topic", "create", topic, "--partitions", "2"))
    measured = json.loads(succeeded(cli("bench", "transaction", "--read", "--topic", topic, "--records", "300", "--record-bytes",
                                        "100", "--rounds", "2", "-o", "json")))
    assert [(phase["phase"], phase["records"], phase["transactions"]) for phase in measured["phases"]] == [
        ("uncommitted", 600, 0), ("committed", 600, 0)]


def test_bench_transaction_refuses_producers_without_records(cli):
    refused = cli("bench", "transaction", "--topic", "t", "--records", "3", "--producers", "8")
    assert refused.returncode == 2 and "--records is less than --producers" in refused.stderr
    absent = cli("bench", "transaction", "--topic", "no-such-topic")
    assert absent.returncode == 1 and "NOT_FOUND" in absent.stderr
