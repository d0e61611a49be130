"""Power loss for real: brokers on disks that lose what was not flushed; everything acknowledged is there afterwards."""
import contextlib
import itertools

from history import HistoryLoad
from local_cluster import ClusterError

# Small files, so that the rounds meet recycled journal files, segment rolls and checkpoints.
FLAGS = ["--journal-file-bytes", "1MiB", "--journal-bytes-max", "8MiB", "--segment-bytes", "256KiB",
         "--large-write-bytes", "4KiB"]
ROUNDS = 14
ROUNDS_LONG = 140
RECORDS_BETWEEN = 200  # in each partition
# Whose power goes, in turn: every broker alone, every pair, all.
VICTIMS = [victims for count in (1, 3, 2) for victims in itertools.combinations((1, 2, 3), count)]


def lose_power(cluster, victims):
    """The disks first, while the brokers still write and answer; then the processes, as a machine would go."""
    for broker_id in victims:
        cluster.disks[broker_id].cut_power()
    for broker_id in victims:
        cluster.kill(broker_id)
        cluster.disks[broker_id].restore_power()


def test_everything_acknowledged_survives_power_loss(make_faulty_cluster, folder, is_long):
    cluster = make_faulty_cluster(has_disks=True, flags=FLAGS)
    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()
        for victims in itertools.islice(itertools.cycle(VICTIMS), ROUNDS_LONG if is_long else ROUNDS):
            lose_power(cluster, victims)
            if len(victims) == 1:
                load.wait_progress()  # the others go on
            for broker_id in victims:
                cluster.start(broker_id)
            cluster.wait_alive(cluster.brokers)
            load.wait_progress(RECORDS_BETWEEN)
    load.verify()


def test_broker_that_acknowledges_before_fsync_is_caught(make_faulty_cluster, folder, debug_binary, monkeypatch):
    """Who tests the test: with the broken variant of the test build, what was acknowledged must turn out lost."""
    cluster = make_faulty_cluster(has_disks=True, flags=FLAGS, binary=debug_binary)
    cluster.stop_all()
    # Only now, or the journal's very first file would be gone, which every start refuses.
    monkeypatch.setenv("MILLRACE_MUTANT", "ack_before_fsync")
    cluster.start_all()
    with HistoryLoad(cluster, "events", folder, drain_seconds=5) as load:
        load.wait_progress()
        lose_power(cluster, cluster.brokers)
        for broker_id in cluster.brokers:
            cluster.start(broker_id)
        with contextlib.suppress(ClusterError):  # what lost its tail may be unable to go on
            cluster.wait_alive(cluster.brokers)
            load.wait_progress()
    code, said = load.check()
    # What was not read back in time alone may only be slow.
    names = {line.split()[0] for line in said.splitlines()[1:] if line and not line.startswith(" ")} - {"unseen"}
    assert code == 1 and names, f"the broken variant was not caught: {said}{load.last_line}\n{cluster.log_tails()}"
    print(said)
