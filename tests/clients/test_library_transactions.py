"""Transactions of the C++ library, as installed: what it tells of each is what is read, whichever broker dies."""
import subprocess
import threading

import pytest

from conftest import built_with_library
from local_cluster import LocalCluster, wait_until
from test_transactions import PARTITIONS, TOPIC, ends, read_all



@pytest.fixture(name="program", scope="module")
def built_program(prefix, tmp_path_factory):
    return built_with_library(prefix, tmp_path_factory.mktemp("project"), "transaction_load.cc")


@pytest.fixture(name="brokers")
def running_brokers(binary, tmp_path):
    with LocalCluster(binary, tmp_path) as brokers:
        brokers.start_all()
        brokers.run("topic", "create", TOPIC, "--partitions", str(PARTITIONS), "--replicas", "3")
        yield brokers


class Load:
    """The program with one transactional id, and what it has told."""

    def __init__(self, program, addresses, name):
        self.name = name
        self.outcomes = {}
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [program, ",".join(addresses), TOPIC, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            value, outcome = line.split(maxsplit=1)
            assert value not in self.outcomes
            self.outcomes[value] = outcome.strip()

    def committed(self):
        return sum(outcome == "committed" for outcome in list(self.outcomes.values()))

    def stop(self):
        """Ends what it has begun; what it said that went wrong."""
        self.process.stdin.close()
        self.reader.join(timeout=180)
        assert not self.reader.is_alive(), "it does not end"
        said = self.process.stderr.read()
        return self.process.wait(timeout=20), said


def check_order(values, name):
    mine = [int(value.split(":")[1]) for value in values if value.startswith(name + ":")]
    assert mine == sorted(set(mine)), "in their order, once each"


def test_all_of_a_transaction_of_the_library_is_read_or_nothing_while_brokers_die(api, program, brokers):
    addresses = [broker.client_address for broker in brokers.brokers.values()]
    loads = [Load(program, addresses, name) for name in ("a", "b")]

    def wait_for_more(what):
        before = [load.committed() for load in loads]
        wait_until(lambda: all(load.committed() >= count + 30 for load, count in zip(loads, before)), what, 90)
    for broker_id in brokers.brokers:
        wait_for_more("transactions")
        brokers.kill(broker_id)
        wait_for_more("transactions with a broker less")
        brokers.start(broker_id)
        brokers.wait_alive(brokers.brokers)
    wait_for_more("transactions with all brokers again")
    for load in loads:
        assert load.stop() == (0, "")
    committed, uncommitted = api.ISOLATION_COMMITTED, api.ISOLATION_UNCOMMITTED
    wait_until(lambda: ends(api, addresses[0], committed) == ends(api, addresses[0], uncommitted),
               "nothing is open any more", 60)
    values = read_all(api, addresses[0], committed)
    for load in loads:
        for partition in range(PARTITIONS):
            check_order(values[partition], load.name)
        for value, outcome in load.outcomes.items():
            counts = [values[partition].count(value) for partition in range(PARTITIONS)]
            if outcome.startswith("unknown"):
                assert counts in ([1] * PARTITIONS, [0] * PARTITIONS), f"{value}: {outcome}, {counts}"
            else:
                assert counts == [int(outcome == "committed")] * PARTITIONS, f"{value}: {outcome}, {counts}"


def test_a_second_producer_of_the_library_takes_the_transactional_id(program, brokers):
    addresses = [broker.client_address for broker in brokers.brokers.values()]
    first = Load(program, addresses, "a")
    wait_until(lambda: first.committed() >= 5, "transactions of the first", 60)
    second = Load(program, addresses, "a")
    wait_until(lambda: second.committed() >= 5, "transactions of the second", 60)
    code, said = first.stop()
    assert code == 1 and said.startswith("fenced: "), (code, said)
    before = second.committed()
    wait_until(lambda: second.committed() > before, "the second goes on", 60)
    assert second.stop() == (0, "")
