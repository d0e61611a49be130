#!/usr/bin/env python3
"""Measures three brokers on this machine with `millrace bench`, and prints the table of docs/benchmarks.md.

Everything durable: acknowledged means fsynced on a majority. Client and brokers share the machine. Each figure is the
median of several runs. Standard library only.

    tests/bench/run_bench.py [--runs 3] [--binary build/release/bin/millrace] [--folder build/bench]
"""
import argparse
import json
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))

from local_cluster import LocalCluster, default_binary, wait_until  # noqa: E402

MEGABYTES = 400
RATE = 1000
RATE_SECONDS = 20
KILL_SECONDS = 8


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def machine(folder):
    """The facts without which the figures say nothing."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="ascii")
                if line.startswith("model name")), platform.processor())
    cores = output_of("nproc")
    memory = next(line.split()[1] for line in open("/proc/meminfo", encoding="ascii"))
    file_system = output_of("findmnt", "-n", "-o", "FSTYPE", "-T", str(folder))
    return (f"{cpu}, {cores} cores, {int(memory) >> 20} GiB, {file_system}, Linux {platform.release()}, "
            f"commit {output_of('git', '-C', str(ROOT), 'rev-parse', '--short', 'HEAD')}")


def bench(cluster, *arguments):
    done = cluster.run("bench", *arguments, "-o", "json", timeout=600)
    return json.loads(done.stdout)


def produce(cluster, topic, partitions, record_size, records, *more):
    cluster.run("topic", "create", topic, "--partitions", partitions, "--replicas", 3)
    return bench(cluster, "produce", "--topic", topic, "--record-size", record_size, "--records", records,
                   *more)


def cpu_seconds(cluster):
    """User and system time of all brokers so far."""
    ticks = 0
    for broker in cluster.brokers.values():
        fields = pathlib.Path(f"/proc/{broker.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def resident_megabytes(process_id):
    for line in pathlib.Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise ValueError("no VmRSS")


def medians(samples, *path):
    def value(sample):
        for key in path:
            sample = sample[key]
        return sample

    return statistics.median(value(sample) for sample in samples)


def measure_throughput(options, partitions, record_size):
    """Megabytes and records a second into `partitions`; consumed once, too."""
    records = MEGABYTES * 1_000_000 // record_size // (4 if record_size < 1000 else 1)
    written, read, cpu = [], [], []
    for run in range(options.runs):
        with fresh_cluster(options) as cluster:
            cluster.start_all()
            before = cpu_seconds(cluster)
            topic = f"bench-{run}"
            written.append(produce(cluster, topic, partitions, record_size, records))
            cpu.append(cpu_seconds(cluster) - before)
            read.append(bench(cluster, "consume", "--topic", topic, "--records", records))
    gigabytes = records * record_size / 1e9
    name = f"{record_size} B records, {partitions} partition{'s' if partitions > 1 else ''}"
    yield (f"produce, {name}", f"{medians(written, 'megabytes_per_second'):.0f} MB/s, "
           f"{medians(written, 'records_per_second') / 1000:.0f} thousand/s",
           f"p99 {medians(written, 'latency_ms', 'p99'):.0f} ms; CPU per GB: brokers "
           f"{statistics.median(cpu) / gigabytes:.1f} s, client {medians(written, 'cpu_seconds') / gigabytes:.1f} s")
    yield (f"consume, {name}", f"{medians(read, 'megabytes_per_second'):.0f} MB/s, "
           f"{medians(read, 'records_per_second') / 1000:.0f} thousand/s", "")


def measure_latency(options):
    samples = []
    for _ in range(options.runs):
        with fresh_cluster(options) as cluster:
            cluster.start_all()
            samples.append(produce(cluster, "steady", 1, 1024, RATE * RATE_SECONDS, "--rate", RATE))
    figures = {name: medians(samples, "latency_ms", name) for name in ("p50", "p99", "p999", "max")}
    yield (f"latency at {RATE} records/s of 1 KiB", f"p50 {figures['p50']:.2f} ms",
           f"p99 {figures['p99']:.1f}, p99.9 {figures['p999']:.1f}, max {figures['max']:.0f} ms")


def measure_gap(options):
    """The longest wait of a record at a steady rate while its leader is killed."""
    gaps = []
    for _ in range(options.runs):
        with fresh_cluster(options) as cluster:
            cluster.start_all()
            cluster.run("topic", "create", "gap", "--replicas", 3)
            command = cluster.command("bench", "produce", "--topic", "gap", "--record-size", 100, "--records",
                                      RATE * KILL_SECONDS, "--rate", RATE, "-o", "json")
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
                wait_until(lambda: cluster.stored_records("gap") > RATE, "the load under way")
                cluster.kill(cluster.busiest_leader("gap"))
                answer, _ = process.communicate(timeout=60)
            gaps.append(json.loads(answer)["latency_ms"]["max"])
    yield ("longest gap after kill -9 of the leader", f"{statistics.median(gaps):.0f} ms",
           f"worst of {len(gaps)}: {max(gaps):.0f} ms")


def measure_resident(options):
    with fresh_cluster(options, count=1) as cluster:
        cluster.start_all()
        cluster.run("topic", "create", "idle")
        resident = resident_megabytes(cluster.brokers[1].process.pid)
    yield "single idle broker, resident", f"{resident:.0f} MB", ""


def fresh_cluster(options, count=3):
    folder = pathlib.Path(options.folder)
    shutil.rmtree(folder, ignore_errors=True)
    return LocalCluster(options.binary, folder, count=count)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--binary", default=default_binary())
    parser.add_argument("--folder", default=ROOT / "build" / "bench", help="wiped; its disk is measured")
    options = parser.parse_args()
    pathlib.Path(options.folder).mkdir(parents=True, exist_ok=True)
    print(f"Machine: {machine(options.folder)}. Median of {options.runs}.\n")
    print("| what | figure | more |\n|---|---|---|")
    for rows in (measure_throughput(options, 1, 1024), measure_throughput(options, 16, 1024),
                 measure_throughput(options, 1, 100), measure_throughput(options, 16, 100),
                 measure_latency(options), measure_gap(options), measure_resident(options)):
        for what, figure, more in rows:
            print(f"| {what} | {figure} | {more} |", flush=True)
    shutil.rmtree(options.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
