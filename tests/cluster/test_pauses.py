"""Brokers that stop for a while, and disks that do: nothing is lost, and the others go on without them."""
import signal
import time

from history import HistoryLoad, epochs, hold

# How long a leader is stopped at least: too short to be noticed, about an election timeout or three, and far beyond.
PAUSE_SECONDS = (0.1, 1, 5, 30)
# From here on clients, too, must have noticed, and gone on with the others while it lasts.
NOTICED_SECONDS = 5
STALL_SECONDS = 8


def test_stopped_leader_loses_nothing_and_holds_nobody_up(make_faulty_cluster, folder):
    cluster = make_faulty_cluster()
    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()
        for seconds in PAUSE_SECONDS:
            process = cluster.brokers[cluster.busiest_leader("events")].process
            began = time.monotonic()
            process.send_signal(signal.SIGSTOP)
            if seconds >= NOTICED_SECONDS:
                load.wait_progress(what="while a leader is stopped")
            hold(began, seconds)
            process.send_signal(signal.SIGCONT)
            load.wait_progress(what=f"after a leader was stopped for {seconds} s")
            cluster.wait_alive(cluster.brokers)
    load.verify()


def test_stalled_disk_of_a_leader_loses_nothing_and_holds_nobody_up(make_faulty_cluster, folder):
    cluster = make_faulty_cluster(has_disks=True)
    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()
        leader = cluster.busiest_leader("events")
        led = epochs(cluster, "events", leader)
        began = time.monotonic()
        cluster.disks[leader].stall()
        load.wait_progress(what="while a leader's disk is stalled")
        hold(began, STALL_SECONDS)
        cluster.disks[leader].resume()
        load.wait_progress(what="after the stall")
        cluster.wait_alive(cluster.brokers)
        now = epochs(cluster, "events")
        assert all(now[partition] > epoch for partition, epoch in led.items()), (led, now)
    load.verify()
