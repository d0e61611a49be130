"""`millrace server` as an operator meets it: its log, its signals, its files, its exit codes."""
import os
import re
import signal
import stat
import subprocess

import pytest

from local_cluster import free_ports, wait_until

LINE = re.compile(r"^([IWEF])\d{8} \S+ +\d+ \S+\] (.*)$", re.MULTILINE)
SECONDS_MAX = 10


def lines(broker, levels="IWEF"):
    return [text for level, text in LINE.findall(broker.log_text()) if level in levels]


def says(broker, *texts):
    """Waits for a line with all the texts."""
    def found():
        return any(all(text in line for text in texts) for line in broker.log_text().splitlines())

    wait_until(found, f"the log has {texts}:\n{broker.log_tail(40)}", SECONDS_MAX)


def test_a_default_start_and_stop_warns_of_nothing_and_ends_with_stopped(single):
    single.run("topic", "create", "events", "--partitions", "2")
    single.stop_all()
    broker = single.brokers[1]
    assert lines(broker, "WEF") == []
    assert lines(broker)[-1].startswith("stopped")


def test_lines_name_topic_and_partition(single):
    single.run("topic", "create", "events", "--partitions", "2")
    broker = single.brokers[1]
    for partition in (0, 1):
        says(broker, "became leader", "topic=events", f"partition={partition}")
    says(broker, "became leader", "controller")


def test_deleting_a_topic_is_one_line_and_no_error(single):
    single.run("topic", "create", "events", "--partitions", "20")
    before = len(lines(single.brokers[1]))
    single.run("topic", "delete", "events")
    says(single.brokers[1], "topic deleted", "topic=events", "replicas_here=20")
    single.stop_all()
    after = lines(single.brokers[1])[before:]
    assert [line for line in after if "deleted" in line] == [line for line in after if "events" in line]
    assert len([line for line in after if "events" in line]) == 1
    assert lines(single.brokers[1], "WEF") == []


def test_leader_epochs_never_go_back_for_a_name(single):
    """Clients that remember a larger one by the topic's name would take the new leader for an old one."""
    def epoch():
        return single.partitions("events")[0]["leader_epoch"]

    last = 0
    for _ in range(3):
        single.run("topic", "create", "events")
        created = epoch()
        assert created > last
        single.brokers[1].end(signal.SIGTERM)
        single.start(1)
        single.wait_alive([1])
        wait_until(lambda: single.partitions("events")[0]["leader_id"] == 1, "it leads again")
        last = epoch()
        assert last > created
        single.run("topic", "delete", "events")


def test_each_peer_event_stands_once(cluster):
    cluster.kill(3)
    says(cluster.brokers[1], "peer disconnected", "broker=3")
    cluster.wait_alive([1, 2])
    for what in ("peer connected broker=2", "peer disconnected broker=3"):
        assert len([line for line in lines(cluster.brokers[1]) if what in line]) == 1, cluster.log_tails()


@pytest.mark.parametrize("level", ["warning", "error"])
def test_log_level_leaves_out_what_is_below(make_cluster, level):
    cluster = make_cluster(count=1, flags=["--log-level", level])
    cluster.start_all()
    cluster.stop_all()
    assert cluster.brokers[1].log_text() == ""


def test_sighup_begins_the_log_file_anew(make_cluster, folder):
    path = folder / "server.log"
    cluster = make_cluster(count=1, flags=["--log-file", str(path)])
    cluster.start_all()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    moved = path.rename(folder / "server.log.1")
    process = cluster.brokers[1].process
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: path.exists() and "SIGHUP" in path.read_text(), "the new file is written to", SECONDS_MAX)
    cluster.run("topic", "create", "events")
    cluster.stop_all()
    assert process.returncode == 0
    assert "serving clients" in moved.read_text() and "serving clients" not in path.read_text()
    assert "stopped" in path.read_text() and "stopped" not in moved.read_text()


def test_sighup_without_a_log_file_changes_nothing(single):
    single.brokers[1].process.send_signal(signal.SIGHUP)
    says(single.brokers[1], "SIGHUP", "--log-file")
    single.run("topic", "create", "still-there")
    assert single.brokers[1].is_running()


def test_a_log_file_that_cannot_be_opened_is_named(binary, folder):
    done = server(binary, folder, "--log-file", str(folder))
    assert done.returncode == 1 and str(folder) in done.stderr


def test_the_reason_of_a_failed_start_is_on_standard_error_and_in_the_log_file(binary, folder):
    path = folder / "server.log"
    (folder / "data").write_text("not a folder")
    done = server(binary, folder, "--log-file", str(path))
    assert done.returncode == 1
    assert str(folder / "data") in done.stderr and str(folder / "data") in path.read_text()


def server(binary, folder, *flags, **options):
    """A server that must end by itself."""
    command = [binary, "server", "--data-dir", folder / "data", *flags]
    for flag, port in zip(("--listen", "--internal-listen"), free_ports(2)):
        if flag not in flags:
            command += [flag, f"127.0.0.1:{port}"]
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30, check=False, **options)


@pytest.mark.parametrize("flags, variable, named", [
    (["--segment-bytes", "5x"], {}, "--segment-bytes"),
    (["--controllers", "1@a:1,2@b:1"], {}, "--controllers"),
    (["--log-level", "loud"], {}, "--log-level"),
    ([], {"MILLRACE_BROKER_ID": "zero"}, "MILLRACE_BROKER_ID"),
    (["--no-such-flag"], {}, "--no-such-flag"),
])
def test_a_refused_setting_ends_with_2_and_is_named(binary, folder, flags, variable, named):
    done = server(binary, folder, *flags, env=dict(os.environ, **variable))
    assert done.returncode == 2 and named in done.stderr, done.stderr
    assert not (folder / "data").exists()


def test_a_start_that_cannot_write_says_why_and_waits(make_cluster):
    """The limit of file sizes stands for all that a start may run into; its signal does not end the broker without a
    word, and once there is room the broker goes on by itself."""
    single = make_cluster(count=1)
    broker = single.brokers[1]
    broker.prefix = ["prlimit", f"--fsize={1 << 20}:unlimited"]
    single.start(1)
    says(broker, "File too large")
    assert broker.is_running()
    subprocess.run(["prlimit", "--pid", str(broker.process.pid), "--fsize=unlimited:unlimited"], check=True)
    single.wait_alive([1])
    single.run("topic", "create", "events")


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_waits_is_stopped_by_its_signal(make_cluster, sig):
    single = make_cluster(count=1)
    broker = single.brokers[1]
    broker.prefix = ["prlimit", f"--fsize={1 << 20}:unlimited"]
    single.start(1)
    says(broker, "File too large")
    broker.process.send_signal(signal.SIGUSR1)  # nobody's: it changes nothing
    assert broker.end(sig) == 0
    assert "stopped while starting" in broker.log_text()
    broker.prefix = []
    single.start_all()
    single.run("topic", "create", "events")


def test_what_is_stored_is_for_the_brokers_user_alone(single):
    single.run("topic", "create", "events")
    single.run("produce", "events", input="hello\n", stdin=None)
    paths = [single.brokers[1].data_dir, *single.brokers[1].data_dir.rglob("*")]
    assert any(path.is_file() for path in paths)
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_port_in_use_is_found_before_anything_is_recovered(single, binary, folder):
    for flag, address in (("--listen", single.brokers[1].client_address),
                          ("--internal-listen", single.brokers[1].internal_address)):
        done = server(binary, folder, flag, address)
        assert done.returncode == 1 and address in done.stderr and "in use" in done.stderr
        assert [path.name for path in (folder / "data").iterdir()] == ["LOCK"]
