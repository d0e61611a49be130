"""Segments that rot, are cut or go, behind running and stopped brokers' backs: they are repaired from the other replicas, and in
the end every file of every broker is whole and every record there."""
import signal
import struct
import subprocess

import pytest

from load import Load
from local_cluster import wait_until

# Small files, so that some thousand rows reach many sealed segments; and a round of scrubbing whenever the last one ended.
FLAGS = ["--journal-file-bytes", "1MiB", "--journal-bytes-max", "4MiB", "--segment-bytes", "64KiB", "--tail-bytes-max", "1MiB",
         "--scrub-interval", "1s", "--scrub-bytes-per-second", "1GiB"]
ROWS = 20_000
SEGMENT_HEADER, FRAME_HEADER, TRAILER = 64, 128, 32
TRAILER_MAGIC = b"\0MLRTAIL"
PAYLOAD_SIZE_AT, INDEX_AT = 12, 32
REPAIRED_SECONDS_MAX = 60


def sealed_segments(broker):
    """Of all partitions, oldest first; never the one that is written on."""
    files = []
    for folder in sorted((broker.data_dir / "groups").glob("*/*")):
        files += sorted(folder.glob("*.segment"))[:-1]
    return files


def largest_group(broker):
    groups = {}
    for path in sealed_segments(broker):
        groups.setdefault(path.parent, []).append(path)
    return max(groups.values(), key=len)


def frames(path):
    """Index, position and size of each entry (docs/formats.md, "Frame")."""
    content = path.read_bytes()
    at = SEGMENT_HEADER
    while content[at:at + 4] == b"MLRF":
        (payload_size,) = struct.unpack_from("<I", content, at + PAYLOAD_SIZE_AT)
        (index,) = struct.unpack_from("<Q", content, at + INDEX_AT)
        size = (FRAME_HEADER + payload_size + 7) // 8 * 8
        yield index, at, size
        at += size


def overwrite(path, offset, content):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def flip_bit(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def flip_in_the_middle(broker):
    path = largest_group(broker)[1]
    flip_bit(path, path.stat().st_size // 2)


def zero_a_block(broker):
    overwrite(largest_group(broker)[2], 4096, bytes(4096))


def put_a_stale_block(broker):
    path = largest_group(broker)[3]
    overwrite(path, 8192, path.read_bytes()[:4096])


def cut(broker):
    path = largest_group(broker)[0]
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


def remove(broker):
    largest_group(broker)[1].unlink()


def remove_two_in_a_row(broker):
    for path in largest_group(broker)[1:3]:
        path.unlink()


def damage_the_header(broker):
    flip_bit(largest_group(broker)[2], 20)


def damage_the_footer(broker):
    path = largest_group(broker)[1]
    flip_bit(path, path.stat().st_size - TRAILER - 8)


def helical(broker, place, count):
    """Of each stretch of eight entries one broker's copy rots, in every file: of some their records, of others their headers."""
    for path in largest_group(broker):
        found = [frame for frame in frames(path) if frame[0] // 8 % count == place and frame[2] > FRAME_HEADER]
        for _, at, size in found[::3]:
            flip_bit(path, at + FRAME_HEADER + (size - FRAME_HEADER) // 2)
        for _, at, _ in found[1::3]:
            flip_bit(path, at + INDEX_AT)


def damage_the_states(broker):
    """Of every file that was sealed with one (docs/formats.md, "Segment"), be it the newest; again and again they stay damaged."""
    for path in largest_group(broker)[0].parent.glob("*.segment"):
        content = path.read_bytes()
        magic, footer_size, _, frames_end = struct.unpack("<8sIIQ", content[-TRAILER:-TRAILER + 24])
        state_size = len(content) - TRAILER - footer_size - frames_end
        if magic == TRAILER_MAGIC and state_size > 0:
            overwrite(path, frames_end, b"\xde" * min(state_size, 8))


ROUNDS = [flip_in_the_middle, zero_a_block, put_a_stale_block, cut, remove, remove_two_in_a_row, damage_the_header, damage_the_footer]


class Watched:
    """A broker's log from now on."""

    def __init__(self, broker):
        self.broker = broker
        self.begin = len(broker.log_text())

    def count(self, text):
        return self.broker.log_text()[self.begin:].count(text)

    def await_repair(self):
        def is_repaired():
            assert self.broker.is_running(), self.broker.log_tail()
            return 0 < self.count("repaired entries") == self.count("repairing entries")
        wait_until(is_repaired, f"broker {self.broker.broker_id} repaired\n{self.broker.log_tail()}", REPAIRED_SECONDS_MAX)


@pytest.fixture()
def cluster(make_cluster):
    cluster = make_cluster(flags=FLAGS)
    cluster.start_all()
    cluster.run("topic", "create", "events", "--replicas", "3")
    return cluster


def assert_all_is_whole(cluster):
    for broker in cluster.brokers.values():
        broker.end(signal.SIGTERM)
        done = subprocess.run([broker.binary, "inspect", str(broker.data_dir)], capture_output=True, text=True, timeout=60,
                              check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_rots_on_one_broker_is_repaired_from_the_others(cluster):
    with Load(cluster, "events") as load:
        load.wait_stored(ROWS)
        for number, damage in enumerate(ROUNDS):
            victim = cluster.brokers[number % 3 + 1]
            victim.end(signal.SIGKILL)
            watched = Watched(victim)
            damage(victim)
            cluster.start(victim.broker_id)
            watched.await_repair()
            load.wait_stored(load.stored() + 100)
        # Behind a running broker's back.
        watched = Watched(victim)
        flip_in_the_middle(victim)
        watched.await_repair()
    load.verify()
    assert_all_is_whole(cluster)


def test_what_rots_on_every_broker_is_repaired_where_each_entry_is_whole_somewhere(cluster):
    with Load(cluster, "events") as load:
        load.wait_stored(ROWS)
    for broker in cluster.brokers.values():
        broker.end(signal.SIGKILL)
    watched = [Watched(broker) for broker in cluster.brokers.values()]
    for place, broker in enumerate(cluster.brokers.values()):
        helical(broker, place, len(cluster.brokers))
    remove(cluster.brokers[2])
    cluster.start_all()
    for one in watched:
        one.await_repair()
    load.verify()
    assert_all_is_whole(cluster)


def test_a_lost_state_is_taken_from_another_broker_and_the_log_with_it_where_that_went_on(cluster):
    victim = cluster.brokers[2]
    with Load(cluster, "events") as load:
        load.wait_stored(ROWS // 2)
    # Nobody can begin with the log's first entry any more.
    end = cluster.json("topic", "offsets", "events")["partitions"][0]["high_watermark"]
    cluster.run("topic", "delete-records", "events", "--partition", "0", "--before", str(end // 2))
    wait_until(lambda: int(largest_group(victim)[0].name.split(".")[0]) > 1, "the first file went", REPAIRED_SECONDS_MAX)
    for goes_on in (False, True):
        victim.end(signal.SIGKILL)
        damage_the_states(victim)
        if goes_on:
            with Load(cluster, "events") as load:
                load.wait_stored(1000)
        watched = Watched(victim)
        cluster.start(victim.broker_id)
        wait_until(lambda: watched.count("took another replica's state") or watched.count("restored a replica group="),
                   "the victim takes part", REPAIRED_SECONDS_MAX)
        assert watched.count("restored a replica group=") or not goes_on, victim.log_tail()
        if not watched.count("restored a replica group="):
            watched.await_repair()
    done = cluster.run("consume", "events", "--from", "earliest", "--until-end")
    assert len(done.stdout.splitlines()) > end - end // 2
    assert_all_is_whole(cluster)


def test_what_no_broker_has_is_named_and_the_rest_is_served(cluster):
    with Load(cluster, "events") as load:
        load.wait_stored(ROWS)
    for broker in cluster.brokers.values():
        broker.end(signal.SIGTERM)
    rotten = next(index for index, _, size in frames(largest_group(cluster.brokers[1])[1]) if size > FRAME_HEADER)
    for broker in cluster.brokers.values():
        for path in largest_group(broker):
            for index, at, size in frames(path):
                if index == rotten:
                    flip_bit(path, at + FRAME_HEADER + (size - FRAME_HEADER) // 2)
    watched = [Watched(broker) for broker in cluster.brokers.values()]
    cluster.start_all()
    for one in watched:
        wait_until(lambda one=one: one.count("no replica has entry") > 0, "the loss is named", REPAIRED_SECONDS_MAX)
    done = cluster.run("consume", "events", "--until-end", "--timeout", "10", check=False, timeout=60)
    assert done.returncode != 0 and "DATA_LOSS" in done.stderr, done.stderr
    # A person gives it up.
    end = cluster.json("topic", "offsets", "events")["partitions"][0]["high_watermark"]
    cluster.run("topic", "delete-records", "events", "--partition", "0", "--before", str(end // 2))
    done = cluster.run("consume", "events", "--from", "earliest", "--until-end")
    assert len(done.stdout.splitlines()) == end - end // 2


def test_where_a_partition_has_one_replica_its_damage_is_named(make_cluster):
    cluster = make_cluster(count=1, flags=FLAGS)
    cluster.start_all()
    cluster.run("topic", "create", "events", "--replicas", "1")
    with Load(cluster, "events") as load:
        load.wait_stored(ROWS)
    broker = cluster.brokers[1]

    def fault():
        partition, = cluster.json("partition", "describe", "events", check=False)["partitions"]
        return partition["replicas"][0].get("fault", "")

    # Behind a running broker's back, then found by a start, which reads no records.
    path = largest_group(broker)[1]
    flip_in_the_middle(broker)
    wait_until(lambda: path.name in fault(), "the damage is described", REPAIRED_SECONDS_MAX)
    assert "no replica has" in fault(), fault()
    broker.end(signal.SIGKILL)
    path = largest_group(broker)[2]
    damage_the_header(broker)
    cluster.start(1)
    wait_until(lambda: path.name in fault(), "the damage is described", REPAIRED_SECONDS_MAX)
    assert any("there is no other replica" in line and path.name in line for line in broker.log_text().splitlines())
