"""A topic that gets partitions in a cluster whose brokers come and go: what is stored stays, who follows it misses nothing."""
import collections
import json
import signal
import subprocess

import pytest

from local_cluster import wait_until

AWAY = 3
ROWS = 200


class Follower:
    """`consume` of all of a topic, from its start on, for as long as the test lasts."""

    def __init__(self, cluster, folder, topic):
        self.path = folder / "followed"
        with open(self.path, "wb") as output, open(folder / "follower.err", "wb") as errors:
            self.process = subprocess.Popen(cluster.command("consume", topic, "-o", "json"), stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=errors)

    def values(self):
        """By partition, in order."""
        values = collections.defaultdict(list)
        for line in self.path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                record = json.loads(line)
                values[record["partition"]].append(record["value"])
        return values


@pytest.fixture()
def follow(folder):
    followers = []

    def start(cluster, topic):
        followers.append(Follower(cluster, folder, topic))
        return followers[-1]
    yield start
    for follower in followers:
        follower.process.terminate()
        assert follower.process.wait(30) == 0  # nobody had to start it again


def fill(cluster, folder, topic, partition, begin):
    rows = [f"{partition}.{number}" for number in range(begin, begin + ROWS)]
    lines = folder / "lines"
    lines.write_text("".join(f"{row}\n" for row in rows))
    cluster.run("produce", topic, lines, "--partition", partition)
    return rows


def test_a_topic_grows_while_a_broker_is_away_and_everybody_restarts(make_cluster, follow, folder):
    cluster = make_cluster()
    cluster.start_all()
    cluster.run("topic", "create", "events", "--partitions", "2", "--replicas", "3")
    expected = {partition: fill(cluster, folder, "events", partition, 0) for partition in range(2)}
    follower = follow(cluster, "events")
    wait_until(lambda: follower.values() == expected, "what is there is read")

    cluster.kill(AWAY)
    cluster.run("topic", "alter", "events", "--partitions", "4", "--set", "batch_bytes_max=64KiB")
    cluster.run("topic", "create", "between", "--partitions", "2", "--replicas", "3")
    cluster.run("topic", "alter", "events", "--partitions", "5")
    placed = [partition["replica_ids"] for partition in cluster.partitions("events")]
    assert sorted(replicas[0] for replicas in placed[:3]) == sorted(replicas[0] for replicas in placed[2:]) == [1, 2, 3]
    for partition in range(5):
        expected[partition] = expected.get(partition, []) + fill(cluster, folder, "events", partition, ROWS)
    cluster.start(AWAY)
    cluster.wait_alive(cluster.brokers)

    # Every broker from its own disk, one after the other and then all together.
    for broker_id in cluster.brokers:
        cluster.brokers[broker_id].end(signal.SIGTERM)
        cluster.start(broker_id)
        cluster.wait_alive(cluster.brokers)
    for broker_id in cluster.brokers:
        cluster.kill(broker_id)
    cluster.start_all()
    described = cluster.json("topic", "describe", "events")
    assert (len(described["partitions"]), described["settings"]) == (5, {"batch_bytes_max": "64KiB"})
    assert [partition["replica_ids"] for partition in described["partitions"]] == placed
    for partition in range(5):
        expected[partition] += fill(cluster, folder, "events", partition, 2 * ROWS)
    wait_until(lambda: follower.values() == expected, "who followed all the time has read all, in order", 90)

    # What was away has them, too: any two of three are a majority.
    cluster.kill(1)
    for partition in range(5):
        read = cluster.run("consume", "events", "--partition", partition, "--until-end").stdout.splitlines()
        assert read == expected[partition]
    cluster.start(1)
    cluster.wait_alive(cluster.brokers)
    cluster.run("topic", "delete", "between")
    assert cluster.json("topic", "list")["topics"][0]["partition_count"] == 5


def test_a_deleted_topic_takes_the_partitions_that_it_got(make_cluster):
    cluster = make_cluster()
    cluster.start_all()
    for topic in ("a", "b"):
        cluster.run("topic", "create", topic, "--partitions", "1", "--replicas", "3")
    cluster.run("topic", "alter", "a", "--partitions", "3")
    cluster.run("topic", "alter", "b", "--partitions", "2")
    cluster.run("topic", "delete", "a")
    broker = cluster.brokers[1]

    def groups():
        return {path.name for path in (broker.data_dir / "groups").iterdir()}
    kept = 3 + len(cluster.json("topic", "describe", "__coordinator")["partitions"])
    wait_until(lambda: len(groups()) == kept, "the controller's folder, two of topic b, and the coordinator's")
    broker.end(signal.SIGTERM)
    cluster.start(1)
    cluster.wait_alive(cluster.brokers)
    assert len(groups()) == kept
    assert [topic["name"] for topic in cluster.json("topic", "list")["topics"]] == ["b"]
    assert cluster.json("cluster", "describe")["partition_count"] == 2
