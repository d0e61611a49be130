"""A full disk refuses produce with its reason, loses nothing, goes on serving reads, and recovers with room."""
import errno
import os
import pathlib
import subprocess

import pytest

from load import read_back
from local_cluster import wait_until

DISK_BYTES = 128 << 20
FLAGS = ["--journal-file-bytes", "1MiB", "--journal-bytes-max", "4MiB"]
LINE = "x" * 1000 + "\n"


@pytest.fixture()
def small_disk(folder):
    """A tmpfs of its own; only root may mount one."""
    path = folder / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", path],
                             capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if mounted is None or mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.fixture()
def full(small_disk, make_cluster):
    """A single broker whose data lives on the small disk. Ends before the disk goes."""
    cluster = make_cluster(count=1, flags=FLAGS)
    cluster.brokers[1].data_dir = pathlib.Path(small_disk) / "data"
    cluster.start_all()
    yield cluster
    cluster.stop_all()


def test_full_disk_refuses_produce_and_serves_reads(full, small_disk, folder):
    full.run("topic", "create", "events")
    (folder / "lines").write_text(LINE * 5000)
    full.run("produce", "events", folder / "lines")
    stored = full.stored_records("events")
    # Something else fills the disk, past the threshold at which the broker still writes safely.
    filler = small_disk / "filler"
    usage = os.statvfs(small_disk)
    filler.write_bytes(bytes(usage.f_bavail * usage.f_bsize - (8 << 20)))
    wait_until(lambda: "refusing to produce" in full.brokers[1].log_text(), "the broker sees the full disk")
    command = full.command("produce", "events", folder / "lines")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as producer:
        assert len(read_back(full, "events")) == stored, "reads go on, and nothing was taken"
        assert producer.poll() is None, "the producer holds its records and tries again"
        filler.unlink()
        wait_until(lambda: "room again" in full.brokers[1].log_text(), "the broker sees the room")
        assert producer.wait(timeout=30) == 0
    assert full.stored_records("events") == stored + 5000
    assert full.brokers[1].is_running()


def fill(path):
    """Takes the last byte that the disk has; the file is the other program's, which may give it back."""
    with open(path, "wb", buffering=0) as filler:
        piece = bytes(1 << 20)
        while piece:
            try:
                filler.write(piece)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                piece = piece[:len(piece) // 2]


def test_disk_that_another_program_fills_for_a_moment_loses_nothing(full, small_disk):
    """Faster than the broker looks: what it acknowledged then finds no room in its segment."""
    full.run("topic", "create", "events")
    log = full.brokers[1].log_text
    sent = 0
    with subprocess.Popen(full.command("produce", "events", "--timeout", "60"), stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL, text=True) as producer:
        def send(count):
            for number in range(sent, sent + count):
                producer.stdin.write(f"{number} {LINE}")
            producer.stdin.flush()
            return sent + count

        while "to be written again" not in log() and sent < 40_000:
            sent = send(2000)
            fill(small_disk / "other")
            sent = send(500)
            wait_until(lambda: "to be written again" in log() or "refusing to produce" in log(), "the broker is hit")
            (small_disk / "other").unlink()
        assert "to be written again" in log(), "a segment's write failed"
        sent = send(500)
        producer.stdin.close()
        assert producer.wait(timeout=90) == 0
    wait_until(lambda: "were written again" in log(), "the replica is back by itself")
    numbers = [int(record["value"].split()[0]) for record in read_back(full, "events")]
    assert numbers == list(range(sent))
    full.stop_all()
    full.start_all()
    assert [int(record["value"].split()[0]) for record in read_back(full, "events")] == numbers
