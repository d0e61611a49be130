"""Two builds of different feature levels in one cluster: what the older one does not understand it stores, votes on and
sends on; it stops where it would have to apply it, and says so; nothing else is disturbed."""
import json
import re
import signal

from local_cluster import wait_until

SMALL_FILES = ["--journal-file-bytes", "1MiB", "--journal-bytes-max", "4MiB", "--segment-bytes", "64KiB"]
NEWER = 3  # the broker of the newer build
ROWS = 2000
PARTITIONS = 3


def restart_as(cluster, broker_id, build):
    """Stops the broker and starts it as another build; None: the older one."""
    broker = cluster.brokers[broker_id]
    broker.end(signal.SIGTERM)
    broker.prefix = ["env", f"MILLRACE_MUTANT={build}"] if build else []
    cluster.start(broker_id)
    cluster.wait_alive(cluster.brokers)


def leaders(cluster):
    """Each partition's leader."""
    return [partition["leader_id"] for partition in cluster.json("topic", "describe", "events")["partitions"]]


def produce(cluster, partition, lines, check=True, timeout="20"):
    return cluster.run("produce", "events", lines, "--partition", partition, "-o", "json", "--timeout", timeout,
                       check=check)


def consumed(cluster, partition):
    done = cluster.run("consume", "events", "--partition", partition, "--until-end", "-o", "value")
    return done.stdout.splitlines()


def levels_told(cluster):
    """The cluster's feature levels that each broker has told of, in order."""
    return {broker_id: [int(level) for level in re.findall(r"cluster is of feature level=(\d+)", broker.log_text())]
            for broker_id, broker in cluster.brokers.items()}


def test_older_build_stores_what_it_does_not_understand(make_cluster, debug_binary, folder):
    cluster = make_cluster(flags=SMALL_FILES, binary=debug_binary)
    cluster.start_all()  # so that it is founded at the older build's level
    [level] = levels_told(cluster)[NEWER]
    restart_as(cluster, NEWER, "next_level_too_soon")
    cluster.run("topic", "create", "events", "--partitions", "6", "--replicas", "3")
    led = leaders(cluster)
    newer = led.index(NEWER)
    older = next(partition for partition, leader in enumerate(led) if leader != NEWER)

    rows = [f"{number:06d} " + "x" * 100 for number in range(ROWS)]
    lines = folder / "lines"
    lines.write_text("\n".join(rows) + "\n")
    assert json.loads(produce(cluster, newer, lines).stdout)["records"] == ROWS
    assert json.loads(produce(cluster, older, lines).stdout)["records"] == ROWS

    for broker_id in (1, 2):
        broker = cluster.brokers[broker_id]
        wait_until(lambda broker=broker: f"feature level {level + 1}" in broker.log_text(),
                   f"broker {broker_id} says why it stops")
        said = broker.log_text()
        assert "DATA_LOSS" not in said, said  # what ends a session, or a replica
    assert consumed(cluster, newer) == rows
    assert consumed(cluster, older) == rows

    # Again after restarts, from journal and segments; one at a time, so that the newer build leads on.
    for broker_id in (1, 2):
        broker = cluster.brokers[broker_id]
        before = broker.log_text().count("applies no further")
        broker.end(signal.SIGTERM)
        cluster.start(broker_id)
        cluster.wait_alive(cluster.brokers)
        wait_until(lambda broker=broker, before=before: broker.log_text().count("applies no further") > before,
                   "it stops there again")
    assert json.loads(produce(cluster, newer, lines).stdout)["records"] == ROWS
    assert consumed(cluster, newer) == rows + rows

    # Without the newer build nobody leads that partition, and the error says why; all others go on.
    cluster.brokers[NEWER].end(signal.SIGTERM)
    assert produce(cluster, newer, lines, check=False, timeout="3").returncode != 0
    assert json.loads(produce(cluster, older, lines).stdout)["records"] == ROWS

    # It comes back, and what the others stored counts: nothing is lost.
    cluster.start(NEWER)
    cluster.wait_alive(cluster.brokers)
    wait_until(lambda: leaders(cluster)[newer] == NEWER, "the newer build leads its partition again")
    assert consumed(cluster, newer) == rows + rows


def produce_everywhere(cluster, lines):
    for partition in range(PARTITIONS):
        assert json.loads(produce(cluster, partition, lines).stdout)["records"] == ROWS


def test_the_level_rises_once_every_broker_knows_it_and_refuses_older_builds_then(make_cluster, debug_binary, folder):
    cluster = make_cluster(flags=SMALL_FILES, binary=debug_binary)
    cluster.start_all()
    cluster.run("topic", "create", "events", "--partitions", PARTITIONS, "--replicas", "3")
    rows = [f"{number:06d} " + "x" * 100 for number in range(ROWS)]
    lines = folder / "lines"
    lines.write_text("\n".join(rows) + "\n")

    # A mixed cluster stays at the older builds' level, and everybody understands everything.
    for broker_id in (1, 2):
        restart_as(cluster, broker_id, "next_feature_level")
        produce_everywhere(cluster, lines)
    told = levels_told(cluster)
    level = told[1][0]
    assert told == {1: [level], 2: [level], 3: [level]}
    for broker in cluster.brokers.values():
        assert "applies no further" not in broker.log_text()

    # The last one raises it.
    restart_as(cluster, 3, "next_feature_level")
    wait_until(lambda: levels_told(cluster) == dict.fromkeys((1, 2, 3), [level, level + 1]), "every broker knows the new level")
    produce_everywhere(cluster, lines)
    for partition in range(PARTITIONS):
        assert consumed(cluster, partition) == 3 * rows

    # From then on the older build is refused, and says why; the newer one comes back.
    broker = cluster.brokers[1]
    broker.end(signal.SIGTERM)
    broker.prefix = []
    cluster.start(1)
    assert broker.process.wait(20) == 1
    said = broker.log_text().splitlines()[-1]
    assert f"feature level {level + 1}" in said and f"this build of broker 1 knows {level}" in said, said
    restart_as(cluster, 1, "next_feature_level")
    produce_everywhere(cluster, lines)
