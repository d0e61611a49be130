"""Files damaged behind a stopped broker's back: it boots and names them, and the cluster keeps every record."""
import signal
import struct

import pytest

from load import Load
from local_cluster import wait_until

NAME_SECONDS_MAX = 15
ROWS = 20_000
JOURNAL_MAGIC = b"MRLJ"
# Small files, so that some thousand rows reach synced and sealed segments.
SMALL_FILES = ["--journal-file-bytes", "1MiB", "--journal-bytes-max", "4MiB", "--segment-bytes", "64KiB"]


def flip_bit(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def truncate(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


def size_of(path):
    return path.stat().st_size


def journal_files(broker):
    """Those that a start replays, oldest first. Names do not tell: files are recycled (docs/formats.md, "Journal")."""
    heads = {}
    for path in (broker.data_dir / "journal").glob("*.journal"):
        with open(path, "rb") as file:
            magic, sequence, oldest = struct.unpack("<4s20xQQ", file.read(40))
        if magic == JOURNAL_MAGIC:
            heads[sequence] = (path, oldest)
    newest = max(heads)
    return [path for sequence, (path, _) in sorted(heads.items()) if sequence >= heads[newest][1]]


def segment_files(broker):
    """The largest group's, oldest first."""
    groups = {folder: sorted(folder.rglob("*.segment")) for folder in (broker.data_dir / "groups").iterdir()}
    return max(groups.values(), key=lambda files: sum(map(size_of, files)))


def written_bytes(path):
    """Up to the last byte that is not zero: what follows was never written."""
    return len(path.read_bytes().rstrip(b"\0"))


def damage_journal_bit(broker):
    """In the header of the block after the head, with other blocks behind it."""
    oldest = journal_files(broker)[0]
    assert written_bytes(oldest) > 4 * 4096
    flip_bit(oldest, 4096 + 16)
    return oldest


def damage_journal_head(broker):
    oldest = journal_files(broker)[0]
    flip_bit(oldest, 8)
    return oldest


def damage_journal_cut(broker):
    oldest = journal_files(broker)[0]
    truncate(oldest, 8192)
    return oldest


def damage_journal_empty(broker):
    oldest = journal_files(broker)[0]
    truncate(oldest, 0)
    return oldest


def damage_segment_cut(broker):
    oldest = segment_files(broker)[0]
    truncate(oldest, size_of(oldest) // 2)
    return oldest


def damage_segment_gone(broker):
    oldest = segment_files(broker)[0]
    oldest.unlink()
    return oldest


DAMAGES = [damage_journal_bit, damage_journal_head, damage_journal_cut, damage_journal_empty,
           damage_segment_cut, damage_segment_gone]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.removeprefix("damage_"))
def test_damage_is_named_and_the_rest_serve(make_cluster, damage):
    cluster = make_cluster(flags=SMALL_FILES)
    cluster.start_all()
    cluster.run("topic", "create", "events", "--partitions", "2", "--replicas", "3")
    with Load(cluster, "events") as load:
        load.wait_stored(ROWS)
    victim = cluster.brokers[3]
    victim.end(signal.SIGKILL)
    damaged = damage(victim)
    said_before = len(victim.log_text())
    cluster.start(3)

    def is_named():
        assert victim.is_running(), f"broker 3 did not boot:\n{victim.log_tail()}"
        said = victim.log_text()[said_before:]
        # By its file, or by the group whose folder it lies in.
        return damaged.name in said or f"group={damaged.parents[1].name}" in said

    wait_until(is_named, f"{damaged} named", NAME_SECONDS_MAX)
    cluster.wait_alive([1, 2, 3])
    cluster.run("topic", "create", "more", "--partitions", "2", "--replicas", "3")
    with Load(cluster, "more") as more:
        more.wait_stored(2000)
    load.verify()
    more.verify()
    assert victim.is_running(), victim.log_tail()


def test_a_single_broker_whose_controller_is_in_doubt_says_so(make_cluster):
    single = make_cluster(count=1)
    single.start_all()
    single.run("topic", "create", "events", "--partitions", "3")
    broker = single.brokers[1]
    broker.end(signal.SIGKILL)
    damage_journal_bit(broker)
    single.start(1)
    wait_until(lambda: "silent" in broker.log_text(), "the log names the replica", NAME_SECONDS_MAX)
    for command in (["cluster", "describe"], ["topic", "list"], ["topic", "describe", "events"],
                    ["topic", "create", "more"], ["consume", "events", "--until-end"]):
        done = single.run(*command, "--timeout", "5", check=False)
        assert done.returncode == 1, (command, done.stdout)
        assert "DATA_LOSS" in done.stderr and "see the broker's log" in done.stderr, (command, done.stderr)


def test_rotten_record_in_a_segment_is_never_served(make_cluster, folder):
    """A sealed segment is not read through at boot: the rot is found by the read that meets it."""
    single = make_cluster(count=1, flags=[*SMALL_FILES, "--tail-bytes-max", "1MiB"])
    single.start_all()
    lines = folder / "lines"
    rows = [f"{number:08d} " + "x" * 1000 for number in range(ROWS)]
    lines.write_text("\n".join(rows) + "\n")
    for topic in ("rotten", "sound"):
        single.run("topic", "create", topic)
        single.run("produce", topic, lines)
    broker = single.brokers[1]
    broker.end(signal.SIGTERM)
    oldest = segment_files(broker)[0]
    flip_bit(oldest, size_of(oldest) // 2)
    single.start_all()
    served = {}
    for topic in ("rotten", "sound"):
        done = single.run("consume", topic, "--until-end", "--timeout", "5", check=False, timeout=60)
        served[topic] = done.stdout.splitlines()
        assert served[topic] == rows[:len(served[topic])], "what was served is not what was sent"
        if len(served[topic]) < ROWS:
            assert done.returncode != 0 and done.stderr.strip(), "records are missing, and nobody says so"
    assert sorted(len(lines) == ROWS for lines in served.values()) == [False, True]
    assert oldest.name in broker.log_text() or f"group={oldest.parents[1].name}" in broker.log_text()


def test_torn_journal_tail_is_cut_and_nothing_acknowledged_is_lost(make_cluster):
    cluster = make_cluster(flags=SMALL_FILES)
    cluster.start_all()
    cluster.run("topic", "create", "events", "--replicas", "3")
    with Load(cluster, "events") as load:
        load.wait_stored(2000)
        cluster.kill(3)
    newest = [path for path in journal_files(cluster.brokers[3]) if written_bytes(path) > 0][-1]
    flip_bit(newest, written_bytes(newest) - 1)
    cluster.start(3)
    cluster.wait_alive(cluster.brokers)
    load.verify()
