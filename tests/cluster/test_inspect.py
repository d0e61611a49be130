"""`millrace inspect` on real data directories: whole after a kill, refused while open, a wrong byte named, never changed."""
import hashlib
import json
import os
import pwd
import signal
import subprocess

import pytest

from local_cluster import wait_until

ROWS = 1000
ROUNDS = 10
DONE, FAILED, DAMAGED = 0, 1, 3
# Small files, so that some thousand rows reach sealed segments.
SMALL_FILES = ["--journal-file-bytes", "1MiB", "--journal-bytes-max", "4MiB", "--segment-bytes", "64KiB"]


def facts_of(folder):
    """Everything below the folder: what it is, when it was changed, and what is in it."""
    facts = {}
    for path in sorted([folder, *folder.rglob("*")]):
        stat = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else sorted(os.listdir(path))
        facts[path] = (stat.st_ino, stat.st_mode, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, content)
    return facts


class Inspector:
    """Runs `millrace inspect` on one directory, and holds that nothing in it changed."""

    def __init__(self, broker):
        self.binary = broker.binary
        self.folder = broker.data_dir

    def run(self, *options, folder=None, prefix=()):
        return subprocess.run([*prefix, self.binary, "inspect", str(folder or self.folder), *options],
                              capture_output=True, text=True, timeout=60, check=False)

    def report(self, *options, exit_code=DONE):
        before = facts_of(self.folder)
        done = self.run("-o", "json", *options)
        assert facts_of(self.folder) == before
        assert done.returncode == exit_code, done.stderr
        assert len(done.stderr.splitlines()) == (0 if exit_code == DONE else 1), done.stderr
        return json.loads(done.stdout)


@pytest.fixture()
def filled(make_cluster, folder):
    """A single broker with a topic of two partitions in sealed segments."""
    single = make_cluster(count=1, flags=SMALL_FILES)
    single.start_all()
    single.run("topic", "create", "events", "--partitions", "2")
    lines = folder / "lines"
    lines.write_text("".join(f"{number:08d} {'x' * 90}\n" for number in range(ROWS)))
    for _ in range(ROUNDS):  # a batch at least each, so that segments are rolled
        single.run("produce", "events", lines)
    return single


def partitions_of(report):
    return [group for group in report["groups"] if group["kind"] == "partition"]


def test_a_broker_that_was_killed_is_whole_and_its_topics_are_named(filled):
    broker = filled.brokers[1]
    inspector = Inspector(broker)
    broker.end(signal.SIGKILL)
    for options in ((), ("--verify",)):
        report = inspector.report(*options)
        assert report["superblock"]["broker_id"] == 1 and not report["superblock"]["was_stopped_cleanly"]
        assert [(group["topic"], group["partition"]) for group in partitions_of(report)] == [("events", 0), ("events", 1)]
        assert sum(group["end_offset"] - group["first_offset"] for group in partitions_of(report)) == ROWS * ROUNDS
        assert sum(group["segment_files"] for group in partitions_of(report)) > 4
        assert report["damage"] == report["unreadable"] == []
    text = inspector.run("--verify")
    assert text.returncode == DONE and "events" in text.stdout and "no damage was found" in text.stdout


def test_an_open_directory_is_refused_and_a_stopped_one_was_stopped_cleanly(filled):
    broker = filled.brokers[1]
    inspector = Inspector(broker)
    broker.end(signal.SIGKILL)
    inspector.report()
    starts = broker.log_text().count("starting version")
    broker.start(*SMALL_FILES)
    # An inspector that comes before keeps the broker out.
    wait_until(lambda: broker.log_text().count("starting version") > starts, "the broker has its directory")

    def is_serving():
        refused = inspector.run()
        assert refused.returncode == FAILED and refused.stdout == ""
        assert f"already in use by process {broker.process.pid}" in refused.stderr
        return filled.run("topic", "list", check=False).returncode == 0

    wait_until(is_serving, "the broker serves again")
    filled.stop_all()
    report = inspector.report("--verify")
    assert report["superblock"]["was_stopped_cleanly"] and report["superblock"]["boot_epoch"] == 2


def test_a_wrong_byte_of_a_segment_is_named_by_verify(filled):
    broker = filled.brokers[1]
    inspector = Inspector(broker)
    filled.stop_all()
    longest = max(partitions_of(inspector.report()), key=lambda group: group["segment_files"])
    sealed = min(broker.data_dir.glob(f"groups/{longest['group']}/*/*.segment"))
    with open(sealed, "r+b") as file:
        file.seek(sealed.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))
    inspector.report()
    report = inspector.report("--verify", exit_code=DAMAGED)
    path = str(sealed.relative_to(broker.data_dir))
    assert {finding["path"] for finding in report["damage"]} == {path}
    assert 0 < report["damage"][0]["position"] < sealed.stat().st_size
    states = {group["group"]: group["state"] for group in report["groups"]}
    assert states.pop(report["damage"][0]["group"]) == "damaged" and set(states.values()) == {"whole"}
    text = inspector.run("--verify")
    assert text.returncode == DAMAGED and f"{path}, byte {report['damage'][0]['position']}" in text.stdout


def test_what_is_no_data_directory_is_said_and_stays_as_it_is(filled, folder):
    broker = filled.brokers[1]
    inspector = Inspector(broker)
    filled.stop_all()
    empty = folder / "empty"
    empty.mkdir()
    link = folder / "link"
    link.symlink_to(broker.data_dir)
    for path in (link, f"{broker.data_dir}/"):
        assert inspector.run(folder=path).returncode == DONE
    for path, said in ((empty, "no SUPERBLOCK"), (folder / "absent", "No such file"),
                       (broker.data_dir / "SUPERBLOCK", "is no directory")):
        done = inspector.run(folder=path)
        assert done.returncode == FAILED and said in done.stderr, done.stderr
    assert list(empty.iterdir()) == []
    assert not (folder / "absent").exists()
    (broker.data_dir / "LOCK").unlink()  # as in a copy
    inspector.report("--verify")


def test_what_may_not_be_read_is_no_damage(filled):
    if os.geteuid() != 0:
        pytest.skip("needs another user")
    broker = filled.brokers[1]
    inspector = Inspector(broker)
    filled.stop_all()
    nobody = pwd.getpwnam("nobody")
    as_nobody = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--")
    done = inspector.run(prefix=as_nobody)
    assert done.returncode == FAILED and "Permission denied" in done.stderr, done.stderr


def test_three_brokers_know_the_names_each_by_itself(make_cluster):
    cluster = make_cluster(flags=SMALL_FILES)
    cluster.start_all()
    cluster.run("topic", "create", "events", "--partitions", "3", "--replicas", "3")
    for broker in cluster.brokers.values():
        broker.end(signal.SIGKILL)
    for broker in cluster.brokers.values():
        report = Inspector(broker).report("--verify")
        assert [group["topic"] for group in partitions_of(report)] == ["events"] * 3
        assert len(report["superblock"]["controllers"]) == 3
