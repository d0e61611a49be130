"""Brokers that cannot reach each other: a connected majority goes on, nothing is lost, and all is well after healing."""
import time

from history import HistoryLoad, epochs, hold


def ring(broker_ids, first, count):
    """`count` ids of the list from `first` on, around its end."""
    ids = list(broker_ids)
    at = ids.index(first)
    return [ids[(at + i) % len(ids)] for i in range(count)]


def isolate_leader(network, leader, others):
    del others
    network.isolate(leader)


def leader_hears_nothing(network, leader, others):
    for other in others:
        network.block(other, leader)


def leader_is_not_heard(network, leader, others):
    for other in others:
        network.block(leader, other)


def leader_and_one_follower_cut(network, leader, others):
    """The other follower is the bridge that both reach."""
    network.cut(leader, others[0])


def isolate_follower(network, leader, others):
    del leader
    network.isolate(others[0])


# With which the leader can't go on, and others must.
DEPOSING_FAULTS = (isolate_leader, leader_hears_nothing, leader_is_not_heard)
THREE_BROKER_FAULTS = (*DEPOSING_FAULTS, leader_and_one_follower_cut, isolate_follower)
ROUNDS = 1
ROUNDS_LONG = 10
# Several election timeouts: what goes wrong only while a cut lasts has time to.
CUT_SECONDS = 2


def test_a_connected_majority_goes_on_whatever_is_cut(make_faulty_cluster, folder, is_long):
    cluster = make_faulty_cluster(3, has_network=True)
    network = cluster.network
    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()
        for fault in THREE_BROKER_FAULTS * (ROUNDS_LONG if is_long else ROUNDS):
            leader, *others = ring(cluster.brokers, cluster.busiest_leader("events"), 3)
            led = epochs(cluster, "events", leader)
            began = time.monotonic()
            fault(network, leader, others)
            load.wait_progress(what=f"during {fault.__name__}")
            hold(began, CUT_SECONDS)
            load.wait_progress(what=f"later during {fault.__name__}")
            network.heal()
            load.wait_progress(what=f"after {fault.__name__}")
            cluster.wait_alive(cluster.brokers)
            if fault in DEPOSING_FAULTS:
                now = epochs(cluster, "events")
                assert all(now[partition] > epoch for partition, epoch in led.items()), (fault, led, now)
    load.verify()


def test_leader_that_reaches_one_broker_alone_does_not_hold_up_the_others(make_faulty_cluster, folder):
    """Five brokers; the leader reaches only the bridge, which everyone reaches: the four others must elect."""
    cluster = make_faulty_cluster(5, has_network=True)
    network = cluster.network
    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()
        leader, _, *cut_off = ring(cluster.brokers, cluster.busiest_leader("events"), 5)
        led = epochs(cluster, "events", leader)
        began = time.monotonic()
        for other in cut_off:
            network.cut(leader, other)
        load.wait_progress(what="while the leader reaches the bridge alone")
        hold(began, CUT_SECONDS)
        load.wait_progress(what="later, while the old leader reaches the bridge alone")
        network.heal()
        load.wait_progress(what="after healing")
        cluster.wait_alive(cluster.brokers)
        now = epochs(cluster, "events")
        assert all(now[partition] > epoch for partition, epoch in led.items()), (led, now)
    load.verify()


def test_no_majority_acknowledges_nothing_and_goes_on_after_healing(make_faulty_cluster, folder):
    cluster = make_faulty_cluster(3, has_network=True)
    network = cluster.network
    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()
        for broker_id in cluster.brokers:
            network.isolate(broker_id)
        load.wait_stuck()
        network.heal()
        load.wait_progress(what="after healing")
        cluster.wait_alive(cluster.brokers)
    load.verify()
