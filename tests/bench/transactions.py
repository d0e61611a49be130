#!/usr/bin/env python3
"""What transactions cost on three brokers: `millrace bench transaction`, several runs, each on topics of its own.

    tests/bench/transactions.py                                 one and eight producers, and readers; five runs, a quarter of an hour
    tests/bench/transactions.py --runs 1 --records 20000        that it works
    tests/bench/transactions.py --partitions 6 --only 1

A run has phases that take turns, so that ratios are of phases of the same seconds; of several runs the medians, and
the lowest and highest, are printed. It decides nothing.
"""
import argparse
import json
import pathlib
import shutil
import statistics

from processes import BUILD, LocalCluster, default_binary, machine

# Eight producers with 8 MiB of unanswered records each, as `bench` has them, and with 2 MiB each.
PARTS = {"1": ("--producers", 1), "8": ("--producers", 8), "8-small": ("--producers", 8, "--memory-mb", 2), "read": ("--read",)}
# Reading is so much faster that a phase of as many records would be over at once.
READ_FACTOR = 10


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5, help="of each run (5)")
    parser.add_argument("--records", type=int, default=100_000, help="of each phase of a round (100000)")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--folder", type=pathlib.Path, default=BUILD / "bench" / "transactions", help="wiped; its disk is used")
    return parser.parse_args()


def run_once(cluster, options, part, number):
    """The phases of one run, on a topic that goes afterwards."""
    topic = f"{part}-{number}"
    cluster.run("topic", "create", topic, "--partitions", options.partitions, "--replicas", 3)
    records = options.records * (READ_FACTOR if part == "read" else 1)
    measured = cluster.json("bench", "transaction", "--topic", topic, "--records", records, "--rounds", options.rounds,
                            *PARTS[part], timeout=1200)
    cluster.run("topic", "delete", topic)
    return measured["phases"]


def spread(values, decimals):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{low:.{decimals}f}/{middle:.{decimals}f}/{high:.{decimals}f}"


def report(part, runs):
    for phases in zip(*runs):
        commits = [phase["commit_ms"] for phase in phases if phase["commit_ms"]]
        latency = "".join(f", commit {name} {spread([one[name] for one in commits], 2)} ms" for name in ("p50", "p99") if commits)
        print(f"{part}: {phases[0]['phase']}: {spread([phase['records_per_second'] / 1000 for phase in phases], 1)} thousand "
              f"records/s, ratio {spread([phase['ratio'] for phase in phases], 3)}{latency}", flush=True)


def main():
    options = parse()
    shutil.rmtree(options.folder, ignore_errors=True)
    with LocalCluster(default_binary(), options.folder, name="bench") as cluster:
        cluster.start_all()
        print(json.dumps(machine(options.folder)))
        runs = {part: [] for part in options.only}
        for number in range(options.runs):
            for part, known in runs.items():
                known.append(run_once(cluster, options, part, number))
                report(f"run {number + 1}, {part}", known[-1:])
        for part, known in runs.items():
            report(part, known)


if __name__ == "__main__":
    main()
