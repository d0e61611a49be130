"""Read, write and commit in one transaction, with the C++ library as installed: while everything dies, what is written
is f(what was put in), each once."""
import random
import subprocess
import threading
import time

import pytest

from conftest import built_with_library
from local_cluster import LocalCluster, wait_until

PARTITIONS = 6
RECORDS = 12_000
# How often something is killed while the records come in.
ROUNDS = 10


@pytest.fixture(name="program", scope="module")
def built_program(prefix, tmp_path_factory):
    return built_with_library(prefix, tmp_path_factory.mktemp("project"), "read_process_write.cc")


@pytest.fixture(name="brokers")
def running_brokers(binary, tmp_path):
    with LocalCluster(binary, tmp_path) as brokers:
        brokers.start_all()
        for topic in ("numbers", "doubled"):
            brokers.run("topic", "create", topic, "--partitions", str(PARTITIONS), "--replicas", "3")
        yield brokers


class Worker:
    """One that reads, doubles and writes; begun again whenever it ends before it is stopped."""

    def __init__(self, program, brokers, name):
        self.name = name
        self.command = [program, ",".join(broker.client_address for broker in brokers.brokers.values()),
                        "numbers", "doubled", "workers", name]
        self.is_stopping = False
        self.said = []
        self.process = None
        self.start()
        self.keeper = threading.Thread(target=self.keep, daemon=True)
        self.keeper.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,  # pylint: disable=consider-using-with
                                        stderr=subprocess.PIPE, text=True)

    def keep(self):
        while True:
            for line in self.process.stderr:
                self.said.append(line.strip())
            self.process.wait()
            if self.is_stopping:
                return
            self.start()

    def kill(self):
        self.process.kill()

    def stop(self):
        self.is_stopping = True
        self.process.stdin.close()
        self.keeper.join(timeout=120)
        assert not self.keeper.is_alive(), f"{self.name} does not end: {self.said[-5:]}"


def produce(brokers, numbers):
    path = brokers.folder / "numbers.txt"
    path.write_text("".join(f"k{number}\t{number}\n" for number in numbers))
    with path.open() as lines:
        brokers.run("produce", "numbers", "--key-separator", "\t", stdin=lines)


def doubled(brokers):
    """What is written; nothing where that cannot be told just now."""
    done = brokers.run("consume", "doubled", "--from", "earliest", "--until-end", check=False)
    if done.returncode != 0:
        assert "DATA_LOSS" not in done.stderr, done.stderr
        return []
    return sorted(int(line) for line in done.stdout.split())


def test_each_record_counts_once_while_workers_and_brokers_are_killed(program, brokers):
    chance = random.Random(7)
    workers = [Worker(program, brokers, f"worker-{number}") for number in range(3)]
    each = RECORDS // ROUNDS
    for step in range(ROUNDS):
        produce(brokers, range(step * each, (step + 1) * each))
        goal = len(doubled(brokers))
        chance.choice(workers).kill()
        if step % 3 == 1:
            broker = chance.choice(list(brokers.brokers))
            brokers.kill(broker)
            brokers.start(broker)
            brokers.wait_alive(brokers.brokers)
        if step == ROUNDS - 2:  # everything at once
            for worker in workers:
                worker.kill()
            for broker in brokers.brokers:
                brokers.kill(broker)
            brokers.start_all()
        wait_until(lambda goal=goal: len(doubled(brokers)) > goal or goal == (step + 1) * each,
                   "more is written", 90)
    wait_until(lambda: len(doubled(brokers)) >= RECORDS, "everything is written", 180)
    time.sleep(1)  # what comes twice would come now
    for worker in workers:
        worker.stop()
    written = doubled(brokers)
    assert written == [2 * number for number in range(RECORDS)], [worker.said[-3:] for worker in workers]
