#!/usr/bin/env python3
"""How long writers wait while brokers are restarted one after the other, the next one stopping once the last is ready.

    tests/bench/rolling_restart.py                       20 rounds, four minutes
    tests/bench/rolling_restart.py --rounds 2 --away 1

A round, under 1,000 records/s to three partitions on three brokers: one broker is stopped (SIGTERM), is away, comes
back, and the moment that it says it is ready the next one is stopped. Prints for each round the longest time without
an acknowledgement and the longest that a record waited for its own, then median and worst. It decides nothing.
"""
import argparse
import json
import pathlib
import shutil
import signal
import statistics
import time

from processes import BUILD, Client, LocalCluster, default_binary, wait_until

RATE = 1000
TOPIC = "restarts"
PARTITIONS = 3
# How long the load runs before the first broker stops, and after the second one did.
LEAD_SECONDS = 1
TAIL_SECONDS = 3
READY = "ready broker="


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--away", type=float, default=5, metavar="SECONDS", help="how long a broker is away (5)")
    parser.add_argument("--folder", type=pathlib.Path, default=BUILD / "bench" / "rolling-restart",
                        help="wiped; its disk is used")
    return parser.parse_args()


def restart(cluster, broker_id):
    """Starts the broker again; returns once it says that it is ready."""
    broker = cluster.brokers[broker_id]
    before = broker.log_text().count(READY)
    cluster.start(broker_id)
    wait_until(lambda: broker.log_text().count(READY) > before, f"broker {broker_id} ready")


def stop(cluster, broker_id):
    cluster.brokers[broker_id].end(signal.SIGTERM)


def run_round(cluster, first, away):
    """What the load says of a round in which broker `first` comes back and the one after it stops."""
    second = first % len(cluster.brokers) + 1
    records = int(RATE * (LEAD_SECONDS + away + TAIL_SECONDS))
    load = Client(cluster.command("bench", "produce", "--topic", TOPIC, "--record-size", 100, "--records", records,
                                  "--rate", RATE, "--timeout", 60, "-o", "json"))
    try:
        time.sleep(LEAD_SECONDS)
        stop(cluster, first)
        time.sleep(away)
        restart(cluster, first)
        stop(cluster, second)
        said = json.loads(load.output())
    finally:
        load.stop()
    restart(cluster, second)
    return said["longest_gap_ms"], said["latency_ms"]["max"]


def spread(name, values):
    print(f"{name}: median {statistics.median(values):.0f} ms, worst {max(values):.0f} ms of {len(values)}")


def main():
    options = parse()
    shutil.rmtree(options.folder, ignore_errors=True)
    gaps, waits = [], []
    with LocalCluster(default_binary(), options.folder, name="bench") as cluster:
        cluster.start_all()
        cluster.run("topic", "create", TOPIC, "--partitions", PARTITIONS, "--replicas", 3)
        for number in range(options.rounds):
            first = number % len(cluster.brokers) + 1
            gap, wait = run_round(cluster, first, options.away)
            gaps.append(gap)
            waits.append(wait)
            print(f"round {number + 1}: without an acknowledgement {gap:.0f} ms, a record waited {wait:.0f} ms", flush=True)
    spread("longest time without an acknowledgement", gaps)
    spread("longest wait of a record", waits)


if __name__ == "__main__":
    main()
