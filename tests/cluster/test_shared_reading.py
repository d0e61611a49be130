"""`consume --group` in several processes: each record is printed, and while all end in order, by one of them."""
import collections
import json
import signal
import subprocess

import pytest

from local_cluster import wait_until

GROUP = "billing"
PARTITIONS = 6
RECORDS = 60_000
RATE = 4_000
# How much more of both with --long.
LONG_TIMES = 5
# A reader's session is 6 s: what it had is printed by others by then.
SESSION_SECONDS = 6


class Reader:
    """`consume events --group billing`, and what it printed."""

    def __init__(self, cluster, folder, name, *flags):
        self.path = folder / name
        self.errors = folder / f"{name}.err"
        with open(self.path, "wb") as out, open(self.errors, "wb") as err:
            self.process = subprocess.Popen(
                cluster.command("consume", "events", "--group", GROUP, "-o", "json", *flags), stdout=out, stderr=err)

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """Ends it as a person does."""
        self.signal(signal.SIGINT)
        assert self.process.wait(30) == 0, self.errors.read_text()

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def has_lost(self):
        """Whether partitions went to others before it had committed all."""
        return "went to others" in self.errors.read_text()

    def offsets(self):
        """By partition, in the order in which they were printed. A line that a kill cut off is none."""
        printed = collections.defaultdict(list)
        for line in self.path.read_text().splitlines():
            if line.endswith("}"):
                record = json.loads(line)
                printed[record["partition"]].append(record["offset"])
        return printed


@pytest.fixture(name="readers")
def made_readers(cluster, folder):
    """Makes readers of a topic `events` on three brokers; ends those that are left."""
    cluster.run("topic", "create", "events", "--partitions", str(PARTITIONS), "--replicas", "3")
    readers = []

    def make(*flags):
        readers.append(Reader(cluster, folder, f"reader{len(readers)}", *flags))
        return readers[-1]

    make.all = readers
    yield make
    for reader in readers:
        if reader.process.poll() is None:
            reader.kill()


def members_of(cluster):
    """None while nobody has joined."""
    told = cluster.run("group", "members", GROUP, "-o", "json", check=False)
    return json.loads(told.stdout)["members"] if told.returncode == 0 else []


def owners(cluster):
    """How many partitions each has; none while they change hands."""
    members = members_of(cluster)
    if any(member["state"] != "stable" for member in members):
        return []
    return [sum(len(topic["partitions"]) for topic in member["assigned"]) for member in members]


def wait_shared(cluster, count, **options):
    def is_shared():
        parts = owners(cluster)
        # Who has just come has nothing, and is stable, until it is computed who is to have what.
        return len(parts) == count and sum(parts) == PARTITIONS and min(parts) > 0
    wait_until(is_shared, f"{count} readers that have all partitions", **options)


def wait_all_read(cluster):
    def is_read():
        rows = cluster.json("group", "offsets", GROUP)["partitions"]
        return len(rows) == PARTITIONS and all((row["committed_offset"] or 0) == row.get("high_watermark") for row in rows)
    wait_until(is_read, "all records to be committed", seconds_max=60)


def printed_by_all(readers):
    times = collections.Counter()
    for reader in readers:
        for partition, offsets in reader.offsets().items():
            times.update((partition, offset) for offset in offsets)
    return times


def stored(cluster):
    return {(row["partition"], offset) for row in cluster.json("topic", "offsets", "events")["partitions"]
            for offset in range(row["high_watermark"])}


def test_whoever_comes_and_goes_in_order_nothing_is_printed_twice(cluster, readers):
    first = readers()
    load = subprocess.Popen(cluster.command("bench", "produce", "--topic", "events", "--records", RECORDS // 3,
                                            "--rate", RATE, "--record-size", 50), stdout=subprocess.DEVNULL)
    others = [readers(), readers()]
    wait_shared(cluster, 3)
    assert sorted(owners(cluster)) == [2, 2, 2]
    first.end()
    wait_shared(cluster, 2)
    others.append(readers())
    wait_shared(cluster, 3)
    others[0].end()
    assert load.wait(120) == 0
    wait_all_read(cluster)
    for reader in others[1:]:
        reader.end()
    times = printed_by_all(readers.all)
    assert set(times) == stored(cluster)
    # Where everything takes long, a member may be taken out.
    assert set(times.values()) == {1} or any(reader.has_lost() for reader in readers.all)


def test_killed_and_stopped_readers_and_brokers_cost_no_record(cluster, readers, is_long):
    times = LONG_TIMES if is_long else 1
    load = subprocess.Popen(cluster.command("bench", "produce", "--topic", "events", "--records", RECORDS * times,
                                            "--rate", RATE * times, "--record-size", 50), stdout=subprocess.DEVNULL)
    five = [readers() for _ in range(5)]
    wait_shared(cluster, 5)
    stopped = five[0]
    stopped.signal(signal.SIGSTOP)
    five[1].kill()
    cluster.kill(1)
    # The group goes on without the two, whose partitions are others'.
    wait_shared(cluster, 3, seconds_max=SESSION_SECONDS * 5)
    cluster.start(1)
    cluster.wait_alive(cluster.brokers)
    cluster.kill(2)
    stopped.signal(signal.SIGCONT)
    replaced = readers()
    wait_shared(cluster, 5)
    cluster.start(2)
    cluster.wait_alive(cluster.brokers)
    cluster.kill(3)
    five[2].end()
    cluster.start(3)
    assert load.wait(120) == 0
    wait_all_read(cluster)
    for reader in [stopped, *five[3:], replaced]:
        reader.end()
    assert set(printed_by_all(readers.all)) == stored(cluster)
    assert stopped.has_lost()
    for reader in readers.all:
        # Who has lost nothing goes on from what was committed, and never back.
        for offsets in reader.offsets().values():
            assert offsets == sorted(set(offsets)) or reader.has_lost()


def test_count_commits_what_was_printed_and_no_more(cluster, readers):
    cluster.run("bench", "produce", "--topic", "events", "--records", "1000", "--record-size", "10")
    for _ in range(4):
        one = readers("--count", "250")
        assert one.process.wait(30) == 0, one.errors.read_text()
    times = printed_by_all(readers.all)
    assert set(times) == stored(cluster)
    assert set(times.values()) == {1}


def test_a_static_reader_has_its_partitions_again(cluster, readers):
    one = readers("--instance-id", "one")
    readers("--instance-id", "two")
    wait_shared(cluster, 2)

    def of(instance):
        [member] = [m for m in members_of(cluster) if m["instance_id"] == instance]
        return member

    had = of("one")["assigned"]
    epoch = cluster.json("group", "describe", GROUP)["epoch"]
    one.end()
    assert of("one")["state"] == "away"
    readers("--instance-id", "one")
    wait_until(lambda: of("one")["state"] == "stable", "the static reader to be back")
    assert of("one")["assigned"] == had
    assert of("two")["state"] == "stable"
    assert cluster.json("group", "describe", GROUP)["epoch"] > epoch


@pytest.mark.parametrize("flags, says", [
    (("--partition", "0"), "--partition"),
    (("--until-end",), "--until-end"),
    (("--to", "latest"), "--to"),
    (("--from", "7"), "group reset"),
])
def test_what_a_group_has_no_use_for_is_refused(cluster, readers, flags, says):
    del readers
    done = cluster.run("consume", "events", "--group", GROUP, *flags, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_a_topic_that_is_not_there_is_said(cluster, readers):
    del readers
    done = cluster.run("consume", "event", "--group", GROUP, check=False)
    assert done.returncode == 1
    assert "did you mean events" in done.stderr, done.stderr
    assert not cluster.json("group", "list")["groups"]
