"""Small clients of three brokers: any of them serves any partition, also while a leader dies."""
import signal
import threading
import time

import grpc
import pytest

from local_cluster import LocalCluster

PARTITIONS = 4
RECORDS = 400


@pytest.fixture()
def cluster(binary, tmp_path):
    with LocalCluster(binary, tmp_path) as cluster:
        cluster.start_all()
        yield cluster


class Subscriber(threading.Thread):
    """Reads a topic at one broker until it is closed; what came, by partition, and how the call ended."""

    def __init__(self, api, address, topic):
        super().__init__()
        self.received = {partition: [] for partition in range(PARTITIONS)}
        self.ended = None
        self.channel = grpc.insecure_channel(address)
        request = api.SubscribeRequest(topic=topic, position=api.Position(earliest=True))
        self.call = api.ConsumerServiceStub(self.channel).Subscribe(request, timeout=120)
        self.start()

    def run(self):
        try:
            for answer in self.call:
                for record in answer.records:
                    self.received[record.partition].append((record.offset, record.record.value))
        except grpc.RpcError as error:
            self.ended = error.code()

    def close(self):
        self.call.cancel()
        self.join(timeout=20)
        self.channel.close()


def publish_until_stored(api, stub, topic, number):
    """Each record is tried until its partition has taken it: it may be stored twice, and is never lost."""
    value = str(number).encode()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        request = api.PublishRequest(topic=topic, partition=number % PARTITIONS, records=[{"value": value}])
        try:
            [result] = stub.Publish(request, timeout=5).results
            if not result.HasField("error"):
                return result.offset
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), error
        time.sleep(0.02)
    raise AssertionError(f"record {number} could not be stored")


def test_subscribers_at_every_broker_see_a_leaders_death_as_a_pause(api, cluster):
    topic = "t"
    cluster.run("topic", "create", topic, "--partitions", str(PARTITIONS), "--replicas", "3")
    victim = cluster.busiest_leader(topic)
    survivors = [broker for number, broker in cluster.brokers.items() if number != victim]
    subscribers = [Subscriber(api, broker.client_address, topic) for broker in survivors]
    stored = {partition: {} for partition in range(PARTITIONS)}
    with grpc.insecure_channel(survivors[0].client_address) as channel:
        stub = api.ProducerServiceStub(channel)
        for number in range(RECORDS):
            if number == RECORDS // 2:
                cluster.brokers[victim].end(signal.SIGKILL)
            offset = publish_until_stored(api, stub, topic, number)
            stored[number % PARTITIONS][offset] = str(number).encode()

    def has_all(subscriber):
        return all(subscriber.received[partition] and subscriber.received[partition][-1][0] >= max(stored[partition])
                   for partition in stored)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not all(has_all(subscriber) for subscriber in subscribers):
        time.sleep(0.02)
    for subscriber in subscribers:
        subscriber.close()
        assert subscriber.ended == grpc.StatusCode.CANCELLED, "the call went on until it was cancelled"
        for partition, expected in stored.items():
            received = subscriber.received[partition]
            assert [offset for offset, _ in received] == list(range(len(received))), "in order, nothing twice"
            assert expected.items() <= dict(received).items(), "everything acknowledged"
