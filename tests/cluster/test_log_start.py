"""Where a log starts, with real brokers: retention keeps the disks within bounds, no restart moves the start back, and a broker
that was away while the others' logs moved on restores itself."""
import pathlib
import signal
import subprocess

import pytest

from local_cluster import wait_until

KIB, MIB = 1 << 10, 1 << 20
RETENTION = 16 * MIB
AWAY = 3


def group_bytes(cluster, broker_id):
    """Of all partitions' segments there; the controller's are group 1."""
    groups = pathlib.Path(cluster.brokers[broker_id].data_dir) / "groups"
    total = 0
    for path in groups.glob("*/*/*"):
        if path.parts[-3] != "1":
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                pass  # dropped just now
    return total


def replicas(cluster, topic, check=True):
    """Of a topic of one partition, by broker."""
    partition, = cluster.json("partition", "describe", topic, check=check)["partitions"]
    return {replica["broker_id"]: replica for replica in partition["replicas"]}


def start_and_end(cluster, topic):
    row, = cluster.json("topic", "offsets", topic)["partitions"]
    return row["log_start_offset"], row["high_watermark"]


def load(cluster, topic, records):
    cluster.run("bench", "produce", "--topic", topic, "--record-size", 1024, "--records", records)


@pytest.fixture()
def cluster(make_cluster):
    cluster = make_cluster()
    cluster.start_all()
    cluster.run("topic", "create", "t", "--partitions", 1, "--replicas", 3, "--set", f"retention_bytes={RETENTION}",
                "--set", f"segment_bytes={MIB}")
    return cluster


def test_retention_bounds_the_disks_and_no_restart_moves_the_start_back(cluster):
    load(cluster, "t", 60_000)
    # What is written at once, and what is written on, beside what is kept.
    wait_until(lambda: all(group_bytes(cluster, broker) < RETENTION * 5 // 4 + 4 * MIB for broker in cluster.brokers),
               "the oldest files are gone everywhere")
    start, end = start_and_end(cluster, "t")
    assert 0 < start < end == 60_000
    for sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        leader = cluster.busiest_leader("t")
        cluster.brokers[leader].end(sig)
        later, end = start_and_end(cluster, "t")
        assert later >= start and end == 60_000
        start = later
        cluster.start(leader)
        cluster.wait_alive(cluster.brokers)
    first = cluster.json("consume", "t", "--count", "1")
    assert first["offset"] == start_and_end(cluster, "t")[0]
    refused = cluster.run("consume", "t", "--partition", 0, "--from", start - 1, "--count", 1, check=False)
    assert refused.returncode != 0 and "OUT_OF_RANGE" in refused.stderr


def test_a_broker_that_was_left_behind_restores_itself_and_can_lead(cluster, folder):
    load(cluster, "t", 3_000)
    cluster.kill(AWAY)
    load(cluster, "t", 60_000)
    wait_until(lambda: start_and_end(cluster, "t")[0] > 3_000, "what it has is not kept any more")
    rows = [f"row {number}" for number in range(500)]
    lines = folder / "lines"
    lines.write_text("".join(f"{row}\n" for row in rows))
    cluster.run("produce", "t", lines)
    cluster.start(AWAY)
    wait_until(lambda: "restored a replica" in cluster.brokers[AWAY].log_text(), "it has the log again")
    load(cluster, "t", 100)
    start, end = start_and_end(cluster, "t")
    assert end == 63_600
    # With one of the others it is a majority, and may have to lead.
    for other in (broker for broker in cluster.brokers if broker != AWAY):
        cluster.kill(other)
        assert start_and_end(cluster, "t") >= (start, end)
        read = cluster.run("consume", "t", "--partition", 0, "--from", 63_000, "--count", len(rows))
        assert read.stdout.splitlines() == rows
        cluster.start(other)
        cluster.wait_alive(cluster.brokers)
    # Its own disk tells the same at the next start, and a verification of it finds nothing.
    cluster.brokers[AWAY].end(signal.SIGKILL)
    verified = subprocess.run([cluster.binary, "inspect", cluster.brokers[AWAY].data_dir, "--verify"], capture_output=True,
                              text=True, timeout=60, check=False)
    assert verified.returncode == 0, verified.stdout
    cluster.start(AWAY)
    cluster.wait_alive(cluster.brokers)
    assert start_and_end(cluster, "t") >= (start, end)


def test_replicas_are_seen_as_their_own_brokers_see_them_and_so_is_a_restore(cluster):
    """By the speed that it may have, to pull 192 MiB takes a second, in which it is looked at again and again."""
    cluster.run("topic", "create", "long", "--replicas", 3, "--set", f"retention_bytes={192 * MIB}",
                "--set", f"segment_bytes={8 * MIB}")
    load(cluster, "long", 1_000)
    seen = replicas(cluster, "long")
    leader = cluster.busiest_leader("long")
    assert {broker: replica["role"] for broker, replica in seen.items()} == {
        broker: "leader" if broker == leader else "follower" for broker in cluster.brokers}
    assert seen[leader]["entries_behind"] is None
    assert seen[leader]["log_end_offset"] == seen[leader]["high_watermark"] == 1_000

    cluster.kill(AWAY)
    table = cluster.run("partition", "describe", "long", check=False)
    assert table.returncode == 1 and table.stderr.startswith(f"error: UNAVAILABLE: broker {AWAY}: ")
    assert table.stdout.count("no answer") == table.stdout.count("leader") == table.stdout.count("follower") == 1
    assert set(replicas(cluster, "long", check=False)[AWAY]) == {"broker_id", "error"}

    load(cluster, "long", 240_000)
    wait_until(lambda: start_and_end(cluster, "long")[0] > 1_000, "what it has is not kept any more")
    cluster.start(AWAY)

    def restoring():
        replica = replicas(cluster, "long", check=False)[AWAY]
        return replica if replica.get("restore") and replica["restore"]["bytes"] > 0 else None
    seen = wait_until(restoring, "it restores itself")
    restore = seen["restore"]
    assert seen["role"] == "restoring" and seen["log_end_offset"] == 1_000, "what it had"
    assert restore["source_id"] == seen["leader_id"]
    assert 1_000 < restore["begin_offset"] < 241_000
    assert restore["entry_count"] <= restore["entry_count_total"]
    wait_until(lambda: replicas(cluster, "long")[AWAY]["role"] == "follower", "it follows again")
    after = replicas(cluster, "long")
    assert after[AWAY]["entries_behind"] == 0 and after[AWAY]["restore"] is None
    assert after[AWAY]["log_end_offset"] == after[leader]["log_end_offset"] == 241_000
