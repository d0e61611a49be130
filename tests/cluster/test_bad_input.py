"""What a person may type wrongly at a client command: one clear line that names it, and nothing changes."""
import pytest


def refused(cluster, *arguments, **options):
    """The one line on stderr of a command that must fail, but for notes of what it waits for on a slow machine."""
    done = cluster.run(*arguments, "--timeout", "10", check=False, **options)
    assert done.returncode != 0, f"accepted: {done.stdout}"
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("note: still trying")]
    assert len(lines) == 1, f"not one line: {done.stderr}"
    return lines[0]


@pytest.mark.parametrize("name, says", [
    ("", "empty"),
    (".", '"."'),
    ("..", '".."'),
    ("a/b", "character"),
    ("../escape", "character"),
    ("a\tb", "character"),
    ("a\nb", "character"),
    ("a\x01b", "character"),
    ("sp ace", "character"),
    ("ümlaut", "character"),
    ("x" * 250, "249"),
])
def test_topic_name_is_refused(single, name, says):
    error = refused(single, "topic", "create", name)
    assert "INVALID_ARGUMENT" in error and says in error
    assert single.json("topic", "list")["topics"] == []


def test_longest_topic_name_is_taken(single):
    single.run("topic", "create", "x" * 249)
    assert [topic["name"] for topic in single.json("topic", "list")["topics"]] == ["x" * 249]


def test_topic_that_exists_is_refused(single):
    single.run("topic", "create", "twice")
    error = refused(single, "topic", "create", "twice")
    assert "ALREADY_EXISTS" in error and "twice" in error


def test_more_replicas_than_brokers_is_refused(single):
    error = refused(single, "topic", "create", "wide", "--replicas", "3")
    assert "INVALID_ARGUMENT" in error and "3" in error and "1 broker" in error


def test_more_replicas_than_three_brokers_is_refused(cluster):
    error = refused(cluster, "topic", "create", "wide", "--replicas", "5")
    assert "INVALID_ARGUMENT" in error and "5" in error and "3 broker" in error
    cluster.run("topic", "create", "wide", "--replicas", "3")


def test_too_many_partitions_are_refused(single):
    error = refused(single, "topic", "create", "wide", "--partitions", "10001")
    assert "partition" in error


def test_unknown_setting_is_refused_by_name(single):
    error = refused(single, "topic", "create", "set", "--set", "no_such_setting=1")
    assert "INVALID_ARGUMENT" in error and "no_such_setting" in error


def test_setting_out_of_range_is_refused_by_name(single):
    error = refused(single, "topic", "create", "set", "--set", "batch_bytes_max=1")
    assert "INVALID_ARGUMENT" in error and "batch_bytes_max" in error


def test_setting_without_value_is_refused(single):
    assert "KEY=VALUE" in refused(single, "topic", "create", "set", "--set", "batch_bytes_max")


@pytest.mark.parametrize("command", [
    ("topic", "describe", "absent"),
    ("topic", "delete", "absent"),
    ("consume", "absent", "--until-end"),
    ("produce", "absent"),
    ("bench", "produce", "--topic", "absent", "--records", "1"),
])
def test_unknown_topic_is_refused_by_name(single, command):
    error = refused(single, *command)
    assert "NOT_FOUND" in error and '"absent"' in error


def test_unknown_partition_is_refused_by_number(single, folder):
    single.run("topic", "create", "two", "--partitions", "2")
    assert "no partition 7" in refused(single, "consume", "two", "--partition", "7", "--until-end")
    (folder / "lines").write_text("a\n")
    error = refused(single, "produce", "two", folder / "lines", "--partition", "7")
    assert "partition 7" in error
    assert single.stored_records("two") == 0


def test_offset_past_the_end_is_refused(single, folder):
    single.run("topic", "create", "short")
    (folder / "lines").write_text("a\nb\n")
    single.run("produce", "short", folder / "lines")
    error = refused(single, "consume", "short", "--partition", "0", "--from", "99", "--until-end")
    assert "OUT_OF_RANGE" in error and "99" in error


def test_start_that_is_no_offset_is_refused(single):
    single.run("topic", "create", "short")
    assert "--from: yesterday" in refused(single, "consume", "short", "--from", "yesterday")


def test_file_that_is_not_there_is_refused_by_name(single, folder):
    single.run("topic", "create", "filled")
    assert "absent.jsonl" in refused(single, "produce", "filled", folder / "absent.jsonl")


def test_line_without_the_key_field_is_named_and_what_came_before_is_kept(single, folder):
    single.run("topic", "create", "keyed")
    (folder / "lines").write_text('{"carrier":"UA"}\n{"other":1}\n{"carrier":"AA"}\n')
    error = refused(single, "produce", "keyed", folder / "lines", "--key-field", "carrier")
    assert "line 2" in error and "carrier" in error
    assert single.stored_records("keyed") == 1


def test_record_over_the_limit_is_refused(single, folder):
    single.run("topic", "create", "small", "--set", "batch_bytes_max=1KiB")
    (folder / "lines").write_text("x" * 5000 + "\n")
    refused(single, "produce", "small", folder / "lines")
    assert single.stored_records("small") == 0


def test_produce_to_a_deleted_topic_is_refused(single, folder):
    single.run("topic", "create", "gone")
    (folder / "lines").write_text("a\n")
    single.run("produce", "gone", folder / "lines")
    single.run("topic", "delete", "gone")
    assert "NOT_FOUND" in refused(single, "produce", "gone", folder / "lines")
    assert "NOT_FOUND" in refused(single, "consume", "gone", "--until-end")


def test_topic_made_again_under_its_name_is_empty(single, folder):
    (folder / "lines").write_text("a\n")
    for _ in range(2):
        single.run("topic", "create", "again")
        assert single.stored_records("again") == 0
        single.run("produce", "again", folder / "lines")
        single.run("topic", "delete", "again")


def test_nobody_at_the_address_is_said(make_cluster):
    absent = make_cluster(count=1)
    done = absent.run("cluster", "describe", "--timeout", "2", check=False)
    assert done.returncode != 0
    *notes, error = done.stderr.strip().splitlines()
    assert error.startswith("error: ") and absent.brokers[1].client_address in error
    assert all(note.startswith("note: still trying") for note in notes), notes
