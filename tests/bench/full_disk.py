#!/usr/bin/env python3
"""What a read and a deletion wait for where the disks are full: their p99 with room, at the limit, and without a byte left.

    tests/clients/run.sh --version                                        once: makes the Python with gRPC
    build/clients-venv/bin/python tests/bench/full_disk.py                as root, who alone may mount

Three brokers on small disks of their own. Reads of one record at a random offset and deletions of one record, one after the
other, in rounds: with room; with one MiB less than --free-bytes-min, so that records are refused; with nothing free at
all. Prints the ratios of the medians of the rounds. It decides nothing.
"""
import argparse
import pathlib
import random
import shutil
import statistics
import sys
import time

import grpc

from processes import BUILD, ROOT, LocalCluster, default_binary, wait_until

sys.path[:0] = [str(ROOT / "proto"), str(ROOT / "tests" / "cluster")]
from small_disk import SmallDisk  # noqa: E402

admin, admin_services = grpc.protos_and_services("millrace/v1/admin_service.proto")
consumer, consumer_services = grpc.protos_and_services("millrace/v1/consumer_service.proto")

KIB, MIB = 1 << 10, 1 << 20
DISK_BYTES = 512 * MIB
FREE_BYTES_MIN = 64 * MIB
RECORDS = 100_000
LEFT_BYTES = {"with room": None, "at the limit": FREE_BYTES_MIN - MIB, "no byte left": 0}
TOPIC = "log"


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000, help="of each kind in a round (1,000)")
    parser.add_argument("--folder", type=pathlib.Path, default=BUILD / "bench" / "full-disk", help="wiped; its disk is used")
    return parser.parse_args()


class Clients:
    def __init__(self):
        self._deleted = 0

    def connect(self, address):
        channel = grpc.insecure_channel(address)
        self._admin = admin_services.AdminServiceStub(channel)
        self._consumer = consumer_services.ConsumerServiceStub(channel)

    def delete(self):
        before = admin.RecordsBefore(partition=0, before_offset=self._deleted + 1)
        answer, = self._admin.DeleteRecords(admin.DeleteRecordsRequest(topic=TOPIC, partitions=[before]), timeout=30).partitions
        assert answer.log_start_offset == before.before_offset, answer
        self._deleted += 1

    def read(self):
        offset = random.randrange(RECORDS // 2, RECORDS)
        call = self._consumer.Subscribe(consumer.SubscribeRequest(topic=TOPIC, partitions=[0],
                                                                  position=consumer.Position(offset=offset)), timeout=30)
        first = next(call).records[0]
        call.cancel()
        assert first.offset == offset, first


def p99_ms(call, calls):
    waited = []
    for _ in range(calls):
        began = time.monotonic()
        call()
        waited.append((time.monotonic() - began) * 1000)
    return statistics.quantiles(waited, n=100)[98]


def leave(cluster, disks, left):
    """So many bytes on each disk; the leader's is full last and has room first, so that it goes on leading."""
    leader = cluster.busiest_leader(TOPIC)
    for broker_id in sorted(disks, key=lambda broker_id: (broker_id == leader) == (left is not None)):
        disks[broker_id].empty()
        if left is not None:
            disks[broker_id].fill(left)
        broker = cluster.brokers[broker_id]
        wait_until(lambda broker=broker: says_full(broker) == (left is not None), f"broker {broker_id} looks at its disk")


def settle(cluster, clients):
    """Until deletions go through at whoever leads; another broker may have had to."""
    def is_settled():
        clients.connect(cluster.brokers[cluster.busiest_leader(TOPIC)].client_address)
        try:
            for _ in range(10):
                clients.delete()
        except AssertionError:
            return False
        return True

    wait_until(is_settled, "deletions go through")


def measure(cluster, disks, options):
    found = {name: {"read": [], "deletion": []} for name in LEFT_BYTES}
    clients = Clients()
    for _ in range(options.rounds):
        for name, left in LEFT_BYTES.items():
            if left != 0:
                leave(cluster, disks, left)
            else:
                for disk in disks.values():  # full already
                    disk.fill()
            settle(cluster, clients)
            for kind, call in (("read", clients.read), ("deletion", clients.delete)):
                found[name][kind].append(p99_ms(call, options.calls))
    return found


def says_full(broker):
    text = broker.log_text()
    return text.rfind("the disk is nearly full") > text.rfind("the disk has room again")


def main():
    options = parse()
    shutil.rmtree(options.folder, ignore_errors=True)
    disks = {}
    with LocalCluster(default_binary(), options.folder, flags=["--free-bytes-min", str(FREE_BYTES_MIN), "--journal-file-bytes",
                                                               "4MiB", "--journal-bytes-max", "32MiB"]) as cluster:
        try:
            for broker_id, broker in cluster.brokers.items():
                disks[broker_id] = SmallDisk(options.folder / f"disk-{broker_id}", DISK_BYTES)
                broker.data_dir = disks[broker_id].path / "data"
            cluster.start_all()
            cluster.run("topic", "create", TOPIC, "--partitions", 1, "--replicas", 3)
            cluster.run("bench", "produce", "--topic", TOPIC, "--record-size", KIB, "--records", RECORDS)
            found = measure(cluster, disks, options)
        finally:
            cluster.stop_all()
            for disk in disks.values():
                disk.close()
    for kind in ("read", "deletion"):
        medians = {name: statistics.median(of[kind]) for name, of in found.items()}
        quiet = medians["with room"]
        print(f"{kind}: p99 " + ", ".join(f"{value:.2f} ms {name} ({value / quiet:.2f})" for name, value in medians.items()))


if __name__ == "__main__":
    main()
