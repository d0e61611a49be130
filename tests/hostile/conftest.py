"""One real broker for the whole table of hostile input, and what is asked of it after each case."""
import dataclasses
import pathlib
import shutil
import sys
import time

import grpc
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy"), str(ROOT / "proto"), str(ROOT / "tests" / "clients")]

from local_cluster import LocalCluster, default_binary  # noqa: E402
from public_api import load_api  # noqa: E402

MIB = 1 << 20
SECONDS_MAX = 10


@dataclasses.dataclass
class Target:
    """The broker under attack: where it listens, what it holds, and whether it still does its work."""

    broker: object
    api: object
    topic: str = "events"
    topic_id: int = 0

    @property
    def address(self):
        return self.broker.client_address

    @property
    def peer_address(self):
        return self.broker.internal_address

    @property
    def pid(self):
        return self.broker.process.pid

    def status_bytes(self, field):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) << 10
        raise AssertionError(f"no {field}")

    def rss(self):
        return self.status_bytes("VmRSS")

    def log_lines(self):
        return self.broker.log_text().count("\n")

    def open_files(self):
        return len(list(pathlib.Path(f"/proc/{self.pid}/fd").iterdir()))

    def channel(self, *options):
        """A connection of its own. gRPC's own retries may lose a stream's messages, whose call hangs then."""
        return grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0),
                                                    *options])

    def batch(self, value=b"good", partition=0, batch_id=7, **fields):
        api = self.api
        records = fields.pop("records", [api.Record(value=value)])
        return api.ProduceBatch(topic=self.topic, partition=partition, batch_id=batch_id,
                                batch=api.RecordBatch(records=records, **fields))

    def store_one(self, channel):
        """The result of a batch with one record."""
        api = self.api
        messages = [api.ProduceRequest(init=api.ProduceInit(client_id="good")),
                    api.ProduceRequest(batches=[self.batch()])]
        answers = api.ProducerServiceStub(channel).Produce(iter(messages), timeout=SECONDS_MAX)
        (result,) = [result for answer in answers for result in answer.results]
        assert result.batch_id == 7, result
        return result

    def good_request(self, retries_for=0):
        """Stores one record over a new connection and reads it back. Tries again when RetryInfo says, for so many
        seconds."""
        api = self.api
        deadline = time.monotonic() + retries_for
        with self.channel() as channel:
            result = self.store_one(channel)
            while result.HasField("error") and result.error.HasField("retry") and time.monotonic() < deadline:
                delay = result.error.retry.retry_delay
                time.sleep(delay.seconds + delay.nanos / 1e9)
                result = self.store_one(channel)
            assert not result.HasField("error"), result
            add = api.FetchPartition(fetch_id=1, topic=self.topic,
                                     position=api.Position(offset=result.base_offset))
            held = iter([api.FetchRequest(init=api.FetchInit(), add=[add], credit_bytes=1 << 20)])
            fetched = api.ConsumerServiceStub(channel).Fetch(_then_wait(held), timeout=SECONDS_MAX)
            for answer in fetched:
                for partition in answer.partitions:
                    assert not partition.HasField("error"), partition
                    if partition.batches:
                        assert partition.batches[0].base_offset == result.base_offset
                        fetched.cancel()
                        return

    def wait_rss_below(self, bytes_max, seconds_max=SECONDS_MAX):
        """The memory once it is below the bound, or after the time is over."""
        deadline = time.monotonic() + seconds_max
        while (now := self.rss()) > bytes_max and time.monotonic() < deadline:
            time.sleep(0.02)
        return now


def _then_wait(messages):
    """The messages, and then an open stream: the call's end ends it."""
    yield from messages
    time.sleep(SECONDS_MAX)


def start_broker(folder, binary, *flags):
    shutil.rmtree(folder, ignore_errors=True)
    cluster = LocalCluster(binary, folder, count=1, flags=flags)
    cluster.start_all()
    return cluster


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="more clients")


def pytest_configure(config):
    # A client whose thread has died attacks nobody any more, so that its test would pass for the wrong reason.
    config.addinivalue_line("filterwarnings", "error::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture()
def is_long(request):
    return request.config.getoption("--long")


@pytest.fixture(scope="session")
def api():
    return load_api()


@pytest.fixture(scope="session")
def binary():
    return default_binary()


@pytest.fixture(scope="session")
def target(api, binary):
    """The table's broker: the same process from the first case to the last."""
    folder = ROOT / "build" / "hostile" / "table"
    cluster = start_broker(folder, binary, "--tail-bytes-max", "8MiB")
    found = Target(cluster.brokers[1], api)
    try:
        with found.channel() as channel:
            request = api.CreateTopicRequest(name=found.topic, partition_count=4)
            made = api.AdminServiceStub(channel).CreateTopic(request, timeout=SECONDS_MAX)
            found.topic_id = made.topic.topic_id
        yield found
        assert found.broker.is_running(), found.broker.log_tail()
    finally:
        cluster.stop_all()
