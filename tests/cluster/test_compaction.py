"""A compacted topic on three brokers that are killed and away meanwhile: what is left is the newest record of each key, at the
offset that it had, on every broker; a broker that was away restores itself from what is left."""
import contextlib
import json
import os
import random
import signal
import subprocess

import pytest

from local_cluster import wait_until

# Small files; few records from memory; and a map of keys that is full several times a pass.
FLAGS = ["--journal-file-bytes", "1MiB", "--journal-bytes-max", "8MiB", "--tail-bytes-max", "1MiB", "--compaction-memory", "64KiB"]
SETTINGS = ["cleanup=compact", "segment_bytes=64KiB", "dirty_ratio_min=0.1", "tombstone_retention=1s"]
KEYS, ROUND_RECORDS, ROUNDS = 4_000, 3_000, 8


class Keyed:
    """Writes records of few keys, and knows the newest of each."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.random = random.Random(7)
        self.newest = {}
        self.next_offset = 0

    def write(self, count):
        lines = []
        for _ in range(count):
            key = f"key-{self.random.randrange(KEYS)}"
            value = None if self.random.random() < 0.1 else f"value-{self.next_offset}-" + "x" * 80
            self.newest[key] = (self.next_offset, value)
            self.next_offset += 1
            lines.append(f"{key}|{value or ''}")
        subprocess.run(self.cluster.command("produce", "table", "--key-separator", "|", "--tombstone", "--timeout", "60s"),
                       input="\n".join(lines) + "\n", text=True, check=True, timeout=120, stdout=subprocess.DEVNULL)

    def check_left(self):
        """What is read is in order, and the newest of each key, but for tombstones; how many records that is."""
        read = self.cluster.run("consume", "table", "--from", "earliest", "--until-end", "-o", "json")
        records = [json.loads(line) for line in read.stdout.splitlines()]
        offsets = [record["offset"] for record in records]
        assert offsets == sorted(set(offsets))
        last = {record["key"]: (record["offset"], record.get("value")) for record in records}
        for key, (offset, value) in self.newest.items():
            if value is not None or key in last:
                assert last.get(key) == (offset, value), key
        return len(records)


def are_all_compacted(cluster):
    """Whether each replica says that it has done the newest pass, and that nothing hinders it."""
    replicas = cluster.json("partition", "describe", "table")["partitions"][0]["replicas"]
    progress = [replica.get("compaction") for replica in replicas]
    newest = max(told["pass_decided"] if told else 0 for told in progress)
    return newest > 0 and all(told and told["pass_done"] == newest and told["failure"] == "" for told in progress)


def compacted_bytes(broker):
    """Of all segments; a replica that restores itself takes its folder away meanwhile."""
    total = 0
    for folder, _, names in os.walk(broker.data_dir / "groups"):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size if name.endswith(".segment") else 0
    return total


def check_same(cluster):
    """Once they have done the same passes."""
    row, = cluster.json("partition", "verify", "table", "--timeout", "120s", timeout=600)["partitions"]
    assert row["result"] == "same", row


def restored(broker):
    return broker.log_text().count("restored a replica")


@pytest.fixture()
def keyed(make_cluster):
    cluster = make_cluster(flags=FLAGS)
    cluster.start_all()
    settings = [argument for setting in SETTINGS for argument in ("--set", setting)]
    cluster.run("topic", "create", "table", "--partitions", 1, "--replicas", 3, *settings)
    return Keyed(cluster)


def test_each_keys_newest_record_is_left_while_brokers_die_and_come_back(keyed):
    cluster = keyed.cluster
    for number in range(ROUNDS):
        keyed.write(ROUND_RECORDS)
        victim = cluster.brokers[1 + number % 3]
        # It is away for one round.
        if number % 2 == 0:
            victim.end(signal.SIGKILL)
            continue
        for broker_id, broker in cluster.brokers.items():
            if not broker.is_running():
                cluster.start(broker_id)
    # Nine of ten records are superseded.
    wait_until(lambda: keyed.check_left() < 1.5 * KEYS, "superseded records go", 60)
    wait_until(lambda: all(compacted_bytes(broker) < 3 * KEYS * 150 for broker in cluster.brokers.values()),
               "every broker's files are compacted", 60)
    wait_until(lambda: are_all_compacted(cluster), "every replica says so", 60)
    for broker in cluster.brokers.values():
        assert broker.is_running(), broker.log_tail()
    cluster.stop_all()
    for broker in cluster.brokers.values():
        verified = subprocess.run([cluster.binary, "inspect", broker.data_dir, "--verify"], capture_output=True, text=True,
                                  timeout=60, check=False)
        assert verified.returncode == 0, verified.stdout
    cluster.start_all()
    keyed.check_left()
    check_same(cluster)


def test_who_was_away_while_it_was_compacted_restores_itself_from_what_is_left(keyed):
    cluster = keyed.cluster
    keyed.write(ROUND_RECORDS)
    away = cluster.brokers[3]
    away.end(signal.SIGTERM)
    for _ in range(3):
        keyed.write(ROUND_RECORDS)
    # What it lacks is not there any more as it was.
    others = [cluster.brokers[1], cluster.brokers[2]]
    wait_until(lambda: all(compacted_bytes(broker) < 2 * KEYS * 150 for broker in others), "the others compact", 60)
    cluster.start(3)
    wait_until(lambda: restored(away) > 0, "the one that was away restores itself", 60)
    check_same(cluster)
    # It leads, and what it has is read from it.
    cluster.brokers[1].end(signal.SIGKILL)
    keyed.write(10)
    keyed.check_left()
    assert away.is_running(), away.log_tail()
