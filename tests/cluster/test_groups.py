"""Groups as a person meets them: where one is, moving it there and back while brokers come and go, and what is refused."""
import json
import os
import pty

import pytest

from local_cluster import wait_until

ROWS = 20
GROUP = "billing"


@pytest.fixture(name="events")
def made_events(cluster, folder):
    """Three brokers, and the topic `events` with 20 records in each of two partitions."""
    lines = folder / "lines"
    lines.write_text("".join(f"{number}\n" for number in range(ROWS)))
    cluster.run("topic", "create", "events", "--partitions", "2", "--replicas", "3")
    for partition in range(2):
        cluster.run("produce", "events", lines, "--partition", partition)
    return cluster


def reset(cluster, *words, **options):
    return cluster.json("group", "reset", GROUP, *words, "--yes", **options)["partitions"]


def offsets(cluster, *words):
    """What is committed, by topic and partition."""
    rows = cluster.json("group", "offsets", GROUP, *words)["partitions"]
    return {(row["topic"], row["partition"]): row["committed_offset"] for row in rows}


def refusal(cluster, *words, exit_code=1):
    done = cluster.run("group", *words, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (exit_code, 1), done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr


def test_a_group_is_moved_and_shown_while_one_broker_after_the_other_dies(events):
    expected = {("events", 0): 5, ("events", 1): None}
    reset(events, "--topic", "events:0", "--to", "5")
    for broker_id in events.brokers:
        events.kill(broker_id)
        # Some shard's leader is gone each time, and some partition's.
        assert offsets(events) == expected
        expected["events", 0] += 2
        rows = reset(events, "--topic", "events:0", "--to", "+2")
        assert [(row["before_offset"], row["after_offset"]) for row in rows] == [(expected["events", 0] - 2, expected["events", 0])]
        assert [group["group"] for group in events.json("group", "list")["groups"]] == [GROUP]
        events.start(broker_id)
        events.wait_alive(events.brokers)
    for broker_id in events.brokers:
        events.kill(broker_id)
    events.start_all()
    assert offsets(events) == expected
    described = events.json("group", "describe", GROUP)
    assert (described["state"], described["offset_count"], described["epoch"]) == ("empty", 1, 4)
    assert described["coordinator_id"] in events.brokers


def test_every_target_is_where_it_says_and_a_file_leads_back(events, folder):
    every = ("--topic", "events")
    reset(events, *every, "--to", "1")
    before = offsets(events)
    for target, expected in (("earliest", 0), ("latest", ROWS), ("7", 7), ("+2", 9), ("-4", 5), ("+1000", ROWS), ("-1000", 0),
                             ("2999-01-01", ROWS), ("1970-01-01", 0)):
        planned = events.json("group", "reset", GROUP, *every, "--to", target, "--dry-run")
        assert planned["is_dry_run"]
        assert {row["after_offset"] for row in planned["partitions"]} == {expected}, target
        assert offsets(events) == before, "nothing was changed"
        rows = reset(events, *every, "--to", target)
        assert [row["after_offset"] for row in rows] == [expected, expected], target
        before = offsets(events)
        assert before == {("events", 0): expected, ("events", 1): expected}

    reset(events, "--topic", "events:1", "--to", "3")
    kept = folder / "before.json"
    kept.write_text(events.run("group", "offsets", GROUP, "-o", "json").stdout)
    reset(events, "--all-topics", "--to", "latest")
    assert offsets(events) == {("events", 0): ROWS, ("events", 1): ROWS}
    reset(events, "--from-file", kept)
    assert offsets(events) == {("events", 0): 0, ("events", 1): 3}
    text = events.run("group", "offsets", GROUP, "--topic", "events").stdout.splitlines()
    assert text[0].split() == ["TOPIC", "PARTITION", "COMMITTED", "START", "END", "LAG", "OLDEST", "OWNER", "AT", "METADATA"]
    assert text[2].split()[:6] == ["events", "1", "3", "0", "20", "17"]


def test_records_that_went_before_the_group_read_them_are_told(events):
    reset(events, "--topic", "events:0", "--to", "4")
    events.run("topic", "delete-records", "events", "--partition", "0", "--before", "10")
    rows = events.json("group", "offsets", GROUP)["partitions"]
    assert [(row["lag"], row["lost"]) for row in rows] == [(10, 6), (None, 0)]
    text = events.run("group", "offsets", GROUP).stdout
    assert "topic events, partition 0: 6 offsets are lost to the group: it is at 4, and the log starts at 10\n" in text


def test_what_cannot_be_is_told_in_a_line_and_changes_nothing(events, folder):
    reset(events, "--topic", "events", "--to", "4")
    stays = offsets(events)
    to_4 = ("--to", "4", "--yes")
    assert "offset 21 of partition 0 of topic \"events\" is not from 0 to 20" in refusal(
        events, "reset", GROUP, "--topic", "events", "--to", "21", "--yes")
    assert "UNKNOWN_TOPIC" not in refusal(events, "reset", GROUP, "--topic", "evnts", *to_4)
    assert "partition 2" in refusal(events, "reset", GROUP, "--topic", "events:0-2", *to_4)
    assert "\"__coordinator\"" in refusal(events, "reset", GROUP, "--topic", "__coordinator", *to_4, exit_code=2)
    assert "has committed nothing" in refusal(events, "reset", "nobody", "--all-topics", *to_4)
    assert "--yes goes on" in refusal(events, "reset", GROUP, "--topic", "events", "--to", "5", exit_code=2)
    assert "--yes goes on" in refusal(events, "delete", GROUP, exit_code=2)
    for action in ("describe", "offsets"):
        assert "group \"biling\" does not exist; did you mean billing?" in refusal(events, action, "biling")
    assert "did you mean billing?" in refusal(events, "delete", "biling", "--yes")
    assert "longer than 249" in refusal(events, "describe", "g" * 250, exit_code=2)
    wrong = folder / "wrong.json"
    wrong.write_text(json.dumps({"partitions": [{"topic": "events", "partition": 0, "committed_offset": "4"}]}))
    assert "wrong.json: row" in refusal(events, "reset", GROUP, "--from-file", wrong, "--yes")
    assert offsets(events) == stays


@pytest.fixture(name="answer")
def made_answer():
    """Runs a command at a terminal at which somebody types an answer."""
    master, terminal = pty.openpty()

    def run(cluster, text, *words):
        os.write(master, f"{text}\n".encode())
        return cluster.run("group", *words, check=False, stdin=terminal)
    yield run
    os.close(master)
    os.close(terminal)


def test_at_a_terminal_a_person_is_shown_what_would_be_and_asked(events, answer):
    reset(events, "--topic", "events", "--to", "4")
    to_latest = ("reset", GROUP, "--topic", "events", "--to", "latest")
    refused = answer(events, "n", *to_latest)
    assert refused.returncode == 1
    assert refused.stderr == f"move group {GROUP} so in 2 partitions? [y/N] error: CANCELLED: nothing was changed\n"
    assert refused.stdout.splitlines()[1].split() == ["events", "0", "4", "20"]
    assert offsets(events) == {("events", 0): 4, ("events", 1): 4}
    assert answer(events, "y", *to_latest).stdout.endswith(f"moved group {GROUP} in 2 partitions\n")
    assert offsets(events) == {("events", 0): ROWS, ("events", 1): ROWS}
    assert answer(events, "", "delete", GROUP).returncode == 1
    assert answer(events, "yes", "delete", GROUP).stdout == f"deleted group {GROUP}\n"


def test_what_is_forgotten_is_gone_and_a_topic_made_anew_begins_with_nothing(events):
    events.run("topic", "create", "other", "--partitions", "1", "--replicas", "3")
    reset(events, "--topic", "events", "--topic", "other", "--to", "latest")
    assert events.json("group", "delete-offsets", GROUP, "--topic", "events:0")["deleted_count"] == 1
    assert offsets(events) == {("events", 0): None, ("events", 1): ROWS, ("other", 0): 0}
    events.run("topic", "delete", "events")
    assert offsets(events) == {("other", 0): 0}
    events.run("topic", "create", "events", "--partitions", "2", "--replicas", "3")
    assert offsets(events) == {("other", 0): 0}
    assert events.run("group", "delete", GROUP, "--yes").stdout == f"deleted group {GROUP}\n"
    assert events.run("group", "list", "-o", "name").stdout == ""


def test_the_coordinators_topic_is_shown_to_who_asks(events):
    wait_until(lambda: len(events.json("topic", "list", "--internal")["topics"]) == 2, "the coordinator's topic")
    assert [topic["name"] for topic in events.json("topic", "list")["topics"]] == ["events"]
    internal = [topic for topic in events.json("topic", "list", "--internal")["topics"] if topic["is_internal"]]
    assert [(topic["name"], topic["partition_count"]) for topic in internal] == [("__coordinator", 16)]
    assert len(events.partitions("__coordinator")) == 16
