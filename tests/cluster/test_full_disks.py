"""Disks of a cluster without a byte left: reads go on, nothing acknowledged is lost, and what is deleted or expires gives room
back by itself. Nobody restarts a broker, and nobody removes a file."""
import contextlib
import subprocess

import pytest

from history import STAYS_STUCK_SECONDS, HistoryLoad
from local_cluster import wait_until
from privileged import NotPermitted
from small_disk import SmallDisk

MIB = 1 << 20
DISK_BYTES = 160 * MIB
FREE_BYTES_MIN = 8 * MIB
# A spare file of the journal has room for several of the largest batches.
FLAGS = ["--journal-file-bytes", "4MiB", "--journal-bytes-max", "16MiB", "--free-bytes-min", str(FREE_BYTES_MIN)]
BALLAST_RECORDS = 30_000


@pytest.fixture()
def cluster(make_cluster, folder):
    """Three brokers on disks of their own, with what may go later: `deleted` and `expired`, of 30 MB each."""
    with contextlib.ExitStack() as stack:
        cluster = make_cluster(flags=FLAGS)
        cluster.disks = {}
        try:
            for broker_id, broker in cluster.brokers.items():
                cluster.disks[broker_id] = SmallDisk(folder / f"disk-{broker_id}", DISK_BYTES)
                stack.callback(cluster.disks[broker_id].close)
                broker.data_dir = cluster.disks[broker_id].path / "data"
        except NotPermitted as error:
            pytest.skip(f"not permitted here: {error}")
        stack.callback(cluster.stop_all)
        cluster.start_all()
        cluster.run("topic", "create", "events", "--partitions", 3, "--replicas", 3)
        for topic in ("deleted", "expired"):
            cluster.run("topic", "create", topic, "--partitions", 2, "--replicas", 3, "--set", f"segment_bytes={MIB}")
            cluster.run("bench", "produce", "--topic", topic, "--record-size", 1024, "--records", BALLAST_RECORDS)
        yield cluster


@contextlib.contextmanager
def written_to(cluster, topic):
    """Records for `topic` all the time: what finds the disk full is then what is to make room."""
    command = cluster.command("bench", "produce", "--topic", topic, "--record-size", 1024, "--records", 10**6, "--rate", 500)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as producer:
        try:
            yield
        finally:
            producer.kill()


def delete(cluster):
    for partition in range(2):
        cluster.run("topic", "delete-records", "deleted", "--partition", partition, "--before", "latest")


def expire(cluster):
    cluster.run("topic", "alter", "expired", "--set", f"retention_bytes={4 * MIB}")


def fill(cluster, filled):
    for broker_id in filled:
        cluster.disks[broker_id].fill()


@pytest.mark.parametrize("filled", [(1,), (1, 2), (1, 2, 3)], ids=["one", "two", "all"])
def test_full_disks_get_room_by_themselves(cluster, folder, filled):
    # The load itself deletes nothing: room comes from elsewhere.
    with HistoryLoad(cluster, "events", folder, delete_ms=0) as load, written_to(cluster, "deleted"), \
            written_to(cluster, "expired"):
        load.wait_progress()
        for make_room, topic in ((delete, "expired"), (expire, "events")):
            fill(cluster, filled)
            if len(filled) == 1:
                load.wait_progress(what="while one disk of three is full")
            else:
                # Of what went a round before, files are removed as late as the next try to write theirs.
                load.wait_silent(STAYS_STUCK_SECONDS, meanwhile=lambda: fill(cluster, filled))
            read = cluster.run("consume", topic, "--from", "earliest", "--count", 100)
            assert len(read.stdout.splitlines()) == 100, "reads go on"
            make_room(cluster)
            wait_until(lambda: all(cluster.disks[broker_id].free_bytes() > FREE_BYTES_MIN for broker_id in filled),
                       f"{make_room.__name__} gives room back")
            load.wait_progress(what=f"after {make_room.__name__}")
    load.verify()
    for broker in cluster.brokers.values():
        assert "segments are damaged" not in broker.log_text(), "no room is no damage"
    cluster.stop_all()
    for broker in cluster.brokers.values():
        verified = subprocess.run([cluster.binary, "inspect", broker.data_dir, "--verify"], capture_output=True, text=True,
                                  timeout=60, check=False)
        assert verified.returncode == 0, verified.stdout
