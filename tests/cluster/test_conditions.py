"""Who appends where the log ended when it looked: of several that contend one wins each time, and kill -9 of a leader changes nothing
of that. The log is a counter: every record says the offset at which it is to be."""
import concurrent.futures
import json

CONTENDERS = 3
COUNT = 60
TOO_LATE = 4


def end_of(cluster, topic):
    row, = cluster.json("topic", "offsets", topic)["partitions"]
    return row["high_watermark"]


def append_at(cluster, topic, end, *values):
    return cluster.run("produce", topic, "--partition", 0, "--expect-end", end, "-o", "json", check=False, stdin=None,
                       input="".join(f"{value}\n" for value in values))


def values_of(cluster, topic):
    lines = cluster.run("consume", topic, "--from", "earliest", "--until-end", "-o", "json").stdout.splitlines()
    return {record["offset"]: record["value"] for record in map(json.loads, lines)}


def contend(cluster, topic, name):
    """Counts on until the counter has come so far; what it was told is where."""
    won = {}
    while (end := end_of(cluster, topic)) < COUNT:
        done = append_at(cluster, topic, end, f"{end} {name}")
        assert done.returncode in (0, TOO_LATE), done.stderr
        if done.returncode == TOO_LATE:
            assert "ends at offset" in done.stderr, done.stderr
            continue
        won[end] = f"{end} {name}"
    return won


def test_of_those_that_contend_one_wins_each_offset_whoever_dies(cluster):
    cluster.run("topic", "create", "counter", "--partitions", 1, "--replicas", 3)
    with concurrent.futures.ThreadPoolExecutor(CONTENDERS) as pool:
        contenders = [pool.submit(contend, cluster, "counter", f"of {number}") for number in range(CONTENDERS)]
        killed_at = 0
        while not all(contender.done() for contender in contenders):
            end = end_of(cluster, "counter")
            if end >= killed_at + COUNT // 4 and end < COUNT:
                killed_at = end
                partition, = cluster.partitions("counter")
                if partition["leader_id"] != 0:
                    cluster.kill(partition["leader_id"])
                    cluster.start(partition["leader_id"])
                    cluster.wait_alive(cluster.brokers)
        won = [contender.result() for contender in contenders]
    assert killed_at > 0
    told = {offset: value for each in won for offset, value in each.items()}
    assert len(told) == sum(map(len, won)), "two were told that they are at one offset"
    assert values_of(cluster, "counter") == told


def test_the_lines_that_follow_go_on_from_there_up_to_the_first_that_is_late(single):
    single.run("topic", "create", "t", "--partitions", 1)
    assert append_at(single, "t", 0, "a", "b", "c").returncode == 0
    late = append_at(single, "t", 1, "x", "y", "z")
    assert late.returncode == TOO_LATE
    assert late.stderr.startswith("error: FAILED_PRECONDITION") and "ends at offset 3" in late.stderr, late.stderr
    assert len(late.stderr.splitlines()) == 1
    assert json.loads(late.stdout)["records"] == 0
    assert values_of(single, "t") == {0: "a", 1: "b", 2: "c"}
