"""Brokers that stop for a while, and disks that do: nothing is lost, and the others go on without them."""
import contextlib
import signal
import time

import pytest

from history import HistoryLoad, epochs, hold
from power_disk import NotPermitted, PowerDisk

# How long a leader is stopped: too short to be noticed, about an election timeout or three, and far beyond.
PAUSE_SECONDS = (0.1, 1, 5, 30)
# From here on clients must have noticed, by their keepalive, and gone on with the others while it lasts.
NOTICED_SECONDS = 30
STALL_SECONDS = 8


@pytest.fixture()
def stoppable(cluster):
    """Three brokers with a topic; those that a failed test left stopped are continued, so that they can end."""
    cluster.run("topic", "create", "events", "--partitions", "4", "--replicas", "3")
    yield cluster
    for broker in cluster.brokers.values():
        if broker.is_running():
            broker.process.send_signal(signal.SIGCONT)


def test_stopped_leader_loses_nothing_and_holds_nobody_up(stoppable, folder):
    cluster = stoppable
    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()
        for seconds in PAUSE_SECONDS:
            process = cluster.brokers[cluster.busiest_leader("events")].process
            began = time.monotonic()
            process.send_signal(signal.SIGSTOP)
            if seconds >= NOTICED_SECONDS:
                load.wait_progress(seconds_max=seconds, what=f"while a leader is stopped for {seconds} s")
            hold(began, seconds)
            process.send_signal(signal.SIGCONT)
            load.wait_progress(what=f"after a leader was stopped for {seconds} s")
            cluster.wait_alive(cluster.brokers)
    load.verify()


@pytest.fixture()
def stallable(make_cluster, folder):
    """Three brokers with a topic, of which each has a disk that can stall."""
    with contextlib.ExitStack() as stack:
        cluster = make_cluster()
        disks = {}
        for broker_id, broker in cluster.brokers.items():
            try:
                disks[broker_id] = PowerDisk(folder / f"disk-{broker_id}", 256 << 20)
            except NotPermitted as error:
                pytest.skip(f"loop devices cannot be mounted here: {error}")
            stack.callback(disks[broker_id].close)
            broker.data_dir = disks[broker_id].path / "data"
        stack.callback(cluster.stop_all)
        for disk in disks.values():
            stack.callback(disk.resume)
        cluster.start_all()
        cluster.run("topic", "create", "events", "--partitions", "4", "--replicas", "3")
        yield cluster, disks


def test_stalled_disk_of_a_leader_loses_nothing_and_holds_nobody_up(stallable, folder):
    cluster, disks = stallable
    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()
        leader = cluster.busiest_leader("events")
        led = epochs(cluster, "events", leader)
        began = time.monotonic()
        disks[leader].stall()
        load.wait_progress(seconds_max=STALL_SECONDS, what="while a leader's disk is stalled")
        hold(began, STALL_SECONDS)
        disks[leader].resume()
        load.wait_progress(what="after the stall")
        cluster.wait_alive(cluster.brokers)
        now = epochs(cluster, "events")
        assert all(now[partition] > epoch for partition, epoch in led.items()), (led, now)
    load.verify()
