"""Errors that the kernel reports under load: strace makes every so many-th call of a kind fail in one broker. No record is
acknowledged that is not kept, the others go on, and afterwards that broker is whole again: by itself, or by a restart where the
error was one of its journal, after which a broker ends."""
import contextlib
import shutil
import signal
import subprocess

import pytest

from history import HistoryLoad
from local_cluster import wait_until

# The calls, their error, the first that fails, and every how many-th after it.
KINDS = {
    "write-EIO": ("pwrite64,pwritev", "EIO", 20, 40),
    "write-ENOSPC": ("pwrite64,pwritev", "ENOSPC", 20, 40),
    "sync-EIO": ("fdatasync,fsync,sync_file_range", "EIO", 20, 40),
    "open-EIO": ("openat", "EIO", 2, 3),
    "open-EMFILE": ("openat", "EMFILE", 1, 2),
    "rename-EIO": ("rename,renameat,renameat2", "EIO", 1, 2),
    "unlink-EIO": ("unlink,unlinkat", "EIO", 1, 2),
}
FLAGS = ["--journal-file-bytes", "1MiB", "--journal-bytes-max", "8MiB"]
SEGMENT_BYTES = 64 << 10
# Of each kind in the long form, of another broker each.
LONG_ROUNDS = 10


@contextlib.contextmanager
def failing(broker, kind, folder):
    """Calls of the broker fail until the end of the `with`; gives what tells how many have."""
    calls, error, first, every = KINDS[kind]
    trace = folder / "strace"
    command = ["strace", "-f", "-p", str(broker.process.pid), "-o", str(trace), "-e", f"trace={calls}", "-e",
               f"inject={calls}:error={error}:when={first}+{every}"]
    trace.unlink(missing_ok=True)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            yield lambda: trace.read_text(errors="replace").count("(INJECTED)") if trace.exists() else 0
        finally:
            tracer.send_signal(signal.SIGTERM)
            said = tracer.communicate()[1]
    if "Operation not permitted" in said:
        pytest.skip(f"not permitted here: {said}")


@pytest.fixture()
def cluster(make_cluster):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    cluster = make_cluster(flags=FLAGS)
    cluster.start_all()
    # Small segments, and records that go: files come, get their names, are read and removed all the time.
    cluster.run("topic", "create", "events", "--partitions", 3, "--replicas", 3, "--set", f"segment_bytes={SEGMENT_BYTES}")
    return cluster


def fail_for_a_while(cluster, victim, kind, load, folder):
    broker = cluster.brokers[victim]
    with failing(broker, kind, folder) as count:
        wait_until(lambda: count() > 0, f"{kind} at broker {victim}")
        load.wait_progress(what=f"while calls fail: {kind}")
    if not broker.is_running():
        assert broker.process.returncode == 1, broker.log_tail()
        assert "journal" in broker.log_tail() or "SUPERBLOCK" in broker.log_tail(), broker.log_tail()
        cluster.start(victim)
    cluster.wait_alive(cluster.brokers)
    load.wait_progress(what=f"after calls failed: {kind}")


def is_whole(broker):
    """Everything that stalled was written again."""
    text = broker.log_text()
    last_start = text.rfind("starting")
    stalled = set()
    for line in text[last_start:].splitlines():
        group = line.partition("group=")[2].partition(" ")[0]
        if "to be written again" in line:
            stalled.add(group)
        # By itself, or with what another broker sent, where it had fallen too far behind.
        elif "were written again" in line or "restored a replica" in line:
            stalled.discard(group)
    return not stalled


@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_the_kernel_lose_nothing(cluster, folder, kind, is_long):
    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()
        for round_number in range(LONG_ROUNDS if is_long else 1):
            victim = cluster.busiest_leader("events") if round_number == 0 else round_number % len(cluster.brokers) + 1
            fail_for_a_while(cluster, victim, kind, load, folder)
        wait_until(lambda: all(map(is_whole, cluster.brokers.values())), "all segments are written again")
    verify(cluster, load)


def verify(cluster, load):
    load.verify()
    cluster.stop_all()
    for broker in cluster.brokers.values():
        assert "segments are damaged" not in broker.log_text(), "an error that passes is no damage"
        verified = subprocess.run([cluster.binary, "inspect", broker.data_dir, "--verify"], capture_output=True, text=True,
                                  timeout=60, check=False)
        assert verified.returncode == 0, verified.stdout
