"""Several faults at once, drawn from a seed, on brokers with obedient disks and network; mended, and again."""
import os
import random
import signal
import time

from history import HistoryLoad, hold

ROUNDS = 6
ROUNDS_LONG = 100
FAULTS_PER_ROUND = 3
HOLD_SECONDS_MAX = 2.0
FLAGS = ["--journal-file-bytes", "1MiB", "--journal-bytes-max", "8MiB", "--segment-bytes", "256KiB",
         "--large-write-bytes", "4KiB"]


def kill(cluster, broker_id, chosen):
    del chosen
    cluster.disks[broker_id].resume()  # or it could not die
    cluster.kill(broker_id)


def cut_power(cluster, broker_id, chosen):
    cluster.disks[broker_id].resume()
    cluster.disks[broker_id].cut_power()
    kill(cluster, broker_id, chosen)
    cluster.disks[broker_id].restore_power()


def stop(cluster, broker_id, chosen):
    del chosen
    if cluster.brokers[broker_id].is_running():
        cluster.brokers[broker_id].process.send_signal(signal.SIGSTOP)


def stall_disk(cluster, broker_id, chosen):
    del chosen
    cluster.disks[broker_id].resume()
    cluster.disks[broker_id].stall()


def isolate(cluster, broker_id, chosen):
    del chosen
    cluster.network.isolate(broker_id)


def block_one_way(cluster, broker_id, chosen):
    other = chosen.choice([other for other in cluster.brokers if other != broker_id])
    cluster.network.block(*chosen.sample([broker_id, other], 2))


FAULTS = (kill, cut_power, stop, stall_disk, isolate, block_one_way)


def mend(cluster):
    cluster.network.heal()
    for broker_id, broker in cluster.brokers.items():
        cluster.disks[broker_id].resume()
        if broker.is_running():
            broker.process.send_signal(signal.SIGCONT)
        else:
            cluster.start(broker_id)
    cluster.wait_alive(cluster.brokers)


def test_nothing_is_lost_whatever_happens_at_once(make_faulty_cluster, folder, is_long):
    seed = int(os.environ.get("MILLRACE_FAULT_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed={seed}; the same faults again: MILLRACE_FAULT_SEED={seed}")
    chosen = random.Random(seed)
    cluster = make_faulty_cluster(has_disks=True, has_network=True, flags=FLAGS)
    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()
        for number in range(ROUNDS_LONG if is_long else ROUNDS):
            faults = []
            for _ in range(FAULTS_PER_ROUND):
                fault, broker_id = chosen.choice(FAULTS), chosen.choice(list(cluster.brokers))
                faults.append(f"{fault.__name__} {broker_id}")
                began = time.monotonic()
                fault(cluster, broker_id, chosen)
                hold(began, chosen.uniform(0, HOLD_SECONDS_MAX / FAULTS_PER_ROUND))
            mend(cluster)
            load.wait_progress(what=f"after round {number}: {', '.join(faults)}")
    load.verify()
