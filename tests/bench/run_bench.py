#!/usr/bin/env python3
"""Millrace, Kafka, NATS JetStream and the bare hardware, side by side on the same work.

    tests/bench/run_bench.py                        all of it, 3 rounds, into build/bench/figures.json
    tests/bench/run_bench.py --quick                hardly any load: shows that everything runs
    tests/bench/run_bench.py --systems millrace kafka --workloads 1k-p1 gap --rounds 2
    tests/bench/run_bench.py --before BINARY        what a change did: another build beside this one
    tests/bench/run_bench.py --disk-limit 400MB     a slow disk under a fast machine, where that can be had
    tests/bench/run_bench.py --profile              also what the leader's CPU is spent for, where perf is there
    tests/bench/run_bench.py --report FILE.json     tables and plots of docs/benchmarks.md from a run; further files,
                                                    of other machines or disks, follow below without plots

Prints minimum/median/maximum of the rounds and Millrace's ratio. Exits 1 if a run failed, never for a slow one.
"""
import argparse
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import fetch
import limit
import perf_profile
import report
import workloads as table
from processes import BUILD, ROOT, machine, output_of
from runner import run_rounds

DOCUMENT = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"


def parse():
    names = [contestant.name for contestant in table.CONTESTANTS if contestant.name != table.BEFORE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=names, metavar="NAME",
                        help=" ".join(names))
    parser.add_argument("--workloads", nargs="+", metavar="NAME",
                        choices=[workload.name for workload in table.WORKLOADS],
                        default=[workload.name for workload in table.WORKLOADS],
                        help=" ".join(workload.name for workload in table.WORKLOADS))
    parser.add_argument("--before", type=pathlib.Path, metavar="BINARY",
                        help="the release binary of another commit; the peers are left out unless they are named")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="hardly any load, one round")
    parser.add_argument("--out", type=pathlib.Path, default=BUILD / "bench" / "figures.json")
    parser.add_argument("--folder", type=pathlib.Path, default=BUILD / "bench" / "data", help="wiped; its disk is used")
    parser.add_argument("--disk-limit", type=limit.parse_rate, metavar="RATE",
                        help="as 400MB: what the disk of the servers reads and writes a second at most")
    parser.add_argument("--profile", action="store_true", help="what the leader's CPU is spent for, where perf is there")
    parser.add_argument("--report", type=pathlib.Path, metavar="FILE.json", nargs="+",
                        help="measures nothing: writes docs/benchmarks.md and its plots from such files")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.systems = options.systems or (["millrace"] if options.before else names)
    if options.before:
        os.environ["MILLRACE_BEFORE"] = str(options.before.resolve(strict=True))
        options.systems.append(table.BEFORE)
    return options


def versions(options):
    if options.before:
        commit = output_of("git", "-C", str(options.before.resolve().parent), "describe", "--always", "--dirty")
        return {table.BEFORE: f"Before: {commit or options.before}"}
    return fetch.VERSIONS


def measure(options):
    """The run as it goes into the JSON file."""
    contestants = [one for one in table.CONTESTANTS if one.name in options.systems]
    workloads = [one for one in table.WORKLOADS if one.name in options.workloads]
    if options.quick:
        workloads = [table.quick(workload) for workload in workloads]
    fetch.fetch(dict.fromkeys(contestant.server for contestant in contestants))
    options.folder.mkdir(parents=True, exist_ok=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    no_profile = options.profile and perf_profile.why_not()
    options.profile = options.profile and not no_profile
    with limit.limited(options.folder, options.disk_limit) as (folder, disk_limit):
        print(report.disk_limit(disk_limit), flush=True)
        on_it = argparse.Namespace(**{**vars(options), "folder": folder})
        return measure_on({"disk_limit": disk_limit, "no_profile": no_profile}, on_it, contestants, workloads)


def measure_on(conditions, options, contestants, workloads):
    """The file is written after every sample."""
    run = {"date": datetime.date.today().isoformat(), "rounds": options.rounds, "is_quick": options.quick,
           "machine": machine(options.folder), **conditions, "versions": versions(options),
           "settings": {"linger_ms": table.LINGER_MS, "memory_mb": table.MEMORY_MB,
                        "nats_pending": table.NATS_PENDING, "fan_out": table.FAN_OUT}, "samples": []}
    began = time.monotonic()

    def add(sample):
        run["samples"].append(sample)
        run["minutes"] = (time.monotonic() - began) / 60
        options.out.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
        print(f"{time.monotonic() - began:6.0f} s  {report.line(sample)}", flush=True)

    run_rounds(options, contestants, workloads, add)
    return run


def write_document(sources):
    """The tables between the document's markers, and the plots, with the plotter's own Python."""
    runs = [json.loads(source.read_text(encoding="utf-8")) for source in sources]
    report.write(DOCUMENT, *runs)
    if report.is_pair(runs[0]):
        return
    IMAGES.mkdir(parents=True, exist_ok=True)
    plots = pathlib.Path(__file__).resolve().parent / "plots.py"
    subprocess.run([fetch.plotter(), plots, sources[0], IMAGES], check=True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # what was started is ended, as by Ctrl-C
    options = parse()
    if options.report:
        write_document(options.report)
        return 0
    run = measure(options)
    rendered = report.render_pair(run) if report.is_pair(run) else report.render(run)
    print(f"\n{rendered}\n{options.out}: {len(run['samples'])} samples in {run['minutes']:.1f} minutes")
    return 1 if any("error" in sample for sample in run["samples"]) else 0


if __name__ == "__main__":
    sys.exit(main())
