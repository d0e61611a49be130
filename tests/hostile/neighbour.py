"""A client that does nothing wrong, beside those that do: one record after the other on one stream, each answered before
the next.

    with Neighbour(target) as neighbour:
        ...                             # the attack
        neighbour.assert_served(200)

It is a process of its own: what the test does in Python would hold it up, as threads of one interpreter take turns of
5 ms, and would be measured as if the broker were slow. It tells by a line a record what it sees.
"""
import collections
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import types

import grpc

from conftest import Target, load_api
from local_cluster import DIE_WITH_PARENT, wait_until

# A p99 that nobody would call slow, on a machine that does other things too.
NORMAL_SECONDS = 0.005
AGAIN, FAILED, REFUSED = "again", "failed", "refused"


class Neighbour:
    """Where `may_reconnect`, gRPC may run out of its own memory, and then closes connections whoever is to blame: this
    client begins again, as any does, and how often is printed.
    """

    def __init__(self, target, may_reconnect=False):
        self.latencies = []  # of each record, seconds
        self.errors = []
        self.refused = 0
        self.reconnects = collections.Counter()  # by why
        self._begun = ""  # a line that is not whole yet
        self._command = [*DIE_WITH_PARENT, sys.executable, __file__, target.address, target.topic,
                         *["--may-reconnect"][:may_reconnect]]

    def __enter__(self):
        self._told = tempfile.NamedTemporaryFile("rb")  # pylint: disable=consider-using-with
        with open(self._told.name, "wb") as out:
            self._process = subprocess.Popen(self._command, stdout=out)
        self._wait_for(1000)
        self.alone = _p99(self.latencies)
        self.alone_count = len(self.latencies)
        return self

    def __exit__(self, *unused):
        self._process.kill()
        self._process.wait()
        self._look()
        self._told.close()
        for why, count in self.reconnects.items():
            print(f"neighbour: began again {count} times after {why}")
        during = self.latencies[self.alone_count:]
        if during:
            print(f"neighbour: p99 alone {self.alone * 1e3:.1f} ms, beside the attack {_p99(during) * 1e3:.1f} ms, "
                  f"{len(during)} records")

    def assert_served(self, records=20):
        """It is served now, not only before."""
        self._look()
        self._wait_for(len(self.latencies) + records)
        assert not self.errors, self.errors

    def assert_back_to_normal(self, records=200, seconds_max=30):
        """Some records in a row are stored, and about as fast as when it was alone."""
        wanted = max(2 * self.alone, NORMAL_SECONDS)

        def is_normal():
            self._look()
            begin, refused = len(self.latencies), self.refused
            self._wait_for(begin + records)
            return self.errors or (self.refused == refused and _p99(self.latencies[begin:]) <= wanted)

        wait_until(is_normal, "normal service after the attack", seconds_max)
        assert not self.errors, self.errors

    def _wait_for(self, records):
        def has_them():
            self._look()
            return len(self.latencies) >= records or self.errors or self._process.poll() is not None

        wait_until(has_them, "the neighbour's next records")
        assert self.errors or self._process.poll() is None, "the neighbour has ended"

    def _look(self):
        """Takes in what it has told since."""
        *lines, self._begun = (self._begun + self._told.read().decode()).split("\n")
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == FAILED:
                self.errors.append(rest)
            elif word == AGAIN:
                self.reconnects[rest] += 1
            elif word == REFUSED:
                self.refused += 1
            else:
                self.latencies.append(float(word))


def _p99(values):
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else 0.0


def run(target, may_reconnect):
    """Until it is killed, or something fails."""
    def tell(*words):
        print(*words, flush=True)

    def requests(turn, sent):
        yield target.api.ProduceRequest(init=target.api.ProduceInit(client_id="neighbour"))
        while True:
            turn.acquire()
            sent[0] = time.monotonic()
            yield target.api.ProduceRequest(batches=[target.batch(partition=3)])

    def produce(channel):
        turn, sent = threading.Semaphore(1), [0.0]
        for answer in target.api.ProducerServiceStub(channel).Produce(requests(turn, sent)):
            for result in answer.results:
                tell(time.monotonic() - sent[0])
                if result.HasField("error"):
                    tell(REFUSED if result.error.HasField("retry") else f"{FAILED} {result.error.message}")
                turn.release()

    while True:
        with target.channel() as channel:
            try:
                produce(channel)
            except grpc.RpcError as error:
                tell(f"{AGAIN if may_reconnect else FAILED} {error.code()} {error.details()}")
                if not may_reconnect:
                    return


if __name__ == "__main__":
    ADDRESS, TOPIC, *OPTIONS = sys.argv[1:]
    run(Target(types.SimpleNamespace(client_address=ADDRESS), load_api(), TOPIC), bool(OPTIONS))
