"""client/python/group_consumer.py as it is, at three brokers: two members share a topic, one is killed, a broker dies."""
import pathlib
import signal
import subprocess
import sys

import grpc
import pytest

from conftest import ROOT
from local_cluster import LocalCluster, wait_until

SCRIPT = ROOT / "client" / "python" / "group_consumer.py"
LINES_MAX = 120
PARTITIONS = 4
TOPIC = "t"
GROUP = "g"
SESSION_MS = 6000
SECONDS_MAX = 60


@pytest.fixture()
def cluster(binary, tmp_path):
    with LocalCluster(binary, tmp_path) as cluster:
        cluster.start_all()
        cluster.run("topic", "create", TOPIC, "--partitions", str(PARTITIONS), "--replicas", "3")
        yield cluster


class Member:
    """The program as a process, and what it printed: by partition, the offsets as they came."""

    def __init__(self, folder, name, addresses):
        self.output = pathlib.Path(folder) / name
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen([sys.executable, SCRIPT, ",".join(addresses), GROUP, TOPIC, str(SESSION_MS)],
                                            stdout=output)

    def records(self):
        """Whole lines, as (partition, offset, value)."""
        rows = [line.split() for line in self.output.read_text().split("\n")[:-1]]
        assert all(topic == TOPIC for topic, *_ in rows)
        return [(int(partition), int(offset), value) for _, partition, offset, value in rows]

    def end(self, signal_number):
        self.process.send_signal(signal_number)
        return self.process.wait(timeout=SECONDS_MAX)


@pytest.fixture()
def start_member(tmp_path):
    members = []

    def start(name, addresses):
        members.append(Member(tmp_path, name, addresses))
        return members[-1]
    yield start
    for member in members:
        if member.process.poll() is None:
            member.end(signal.SIGKILL)


class Producer:
    """Stores records, each with a value of its own. One whose answer was lost may be stored twice."""

    def __init__(self, api, address):
        self.api = api
        self.channel = grpc.insecure_channel(address)
        self.values = set()

    def publish(self, count):
        for partition in range(PARTITIONS):
            values = [f"value-{len(self.values) + place}" for place in range(count)]
            records = [self.api.Record(value=value.encode()) for value in values]
            request = self.api.PublishRequest(topic=TOPIC, partition=partition, records=records)
            wait_until(lambda: self.is_stored(request), "a record is stored", SECONDS_MAX)
            self.values |= set(values)

    def is_stored(self, request):
        try:
            results = self.api.ProducerServiceStub(self.channel).Publish(request, timeout=10).results
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            return False
        return not any(result.HasField("error") for result in results)

    def is_all_committed(self):
        """Whether the group has committed up to the end of each partition."""
        fetched = self.api.GroupServiceStub(self.channel).FetchOffsets(self.api.FetchOffsetsRequest(group=GROUP), timeout=10)
        listed = self.api.ConsumerServiceStub(self.channel).ListOffsets(self.api.ListOffsetsRequest(topic=TOPIC), timeout=10)
        committed = {row.partition: row.offset for topic in fetched.topics for row in topic.partitions}
        return committed == {row.partition: row.end_offset for row in listed.partitions}


def test_it_is_short():
    assert len(SCRIPT.read_text().splitlines()) < LINES_MAX


def test_two_members_share_a_topic_and_nothing_is_lost_whoever_dies(api, cluster, start_member):
    addresses = [broker.client_address for broker in cluster.brokers.values()]
    one = start_member("one", addresses)
    two = start_member("two", addresses[1:] + addresses[:1])
    producer = Producer(api, addresses[0])

    def wait_read():
        def is_all_read():
            return producer.values <= {value for member in (one, two) for _, _, value in member.records()}
        wait_until(is_all_read, "what is stored is read", SECONDS_MAX)

    def wait_committed():
        """What is committed now: nobody may read it again."""
        wait_until(producer.is_all_committed, "what was read is committed", SECONDS_MAX)
        return len(one.records()), len(two.records()), {row[:2] for row in one.records() + two.records()}

    def read_since(member, place):
        return {row[:2] for row in member.records()[place:]}

    def do_share():
        places = [len(member.records()) for member in (one, two)]
        producer.publish(5)
        wait_read()
        shares = [{partition for partition, _ in read_since(*pair)} for pair in zip((one, two), places)]
        return [len(share) for share in shares] == [2, 2]
    wait_until(do_share, "two partitions each", SECONDS_MAX)

    # One dies in the middle of its work.
    place_one, place_two, done = wait_committed()
    producer.publish(50)
    one.process.kill()
    producer.publish(50)
    wait_read()
    assert {partition for partition, _ in read_since(two, place_two)} == set(range(PARTITIONS))
    assert not done & (read_since(one, place_one) | read_since(two, place_two))

    # The broker that has its stream dies: it goes on at another one.
    _, place_two, done = wait_committed()
    list(cluster.brokers.values())[2].end(signal.SIGKILL)
    producer.publish(20)
    wait_read()
    assert not done & read_since(two, place_two)

    # It leaves, and has committed what it printed.
    assert two.end(signal.SIGTERM) == 0
    assert producer.is_all_committed()
    described = api.GroupServiceStub(producer.channel).DescribeGroup(api.DescribeGroupRequest(group=GROUP), timeout=10)
    assert not described.members
