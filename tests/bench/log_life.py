#!/usr/bin/env python3
"""What a log's beginning costs: disks within bounds, a thousand files that go beside live records, old records in a long log,
a broker that comes back to a log that moved on, files that rot and looking for them, a table that is compacted, replicas that are
compared.

    tests/bench/log_life.py [bound] [removal] [oldest] [restore] [repair] [scrub] [compact] [verify] [start]
                                                                    all of them
    tests/bench/log_life.py oldest --gigabytes 20

bound    three replicas with retention_bytes 128 MiB are given 2 GB: what each keeps after 5 s, and where it starts.
removal  1,000 records/s to one topic, alone and while 1,000 files of another are deleted: p99 of the acknowledgement.
oldest   the oldest 100 MB of a log of 1 GB and of a long one, in turn, not in the page cache: MB/s.
restore  a broker is away while the log moves on by more than it keeps: how long until it has all again, at rest and beside
         20,000 records/s, and what a record waits for meanwhile.
repair   a bit of every file of a log of 1 GB flips on one broker: how long until all are whole, what a record waits for
         meanwhile; then one of the leader's: how much longer a reader of the whole log takes.
scrub    1,000 records/s beside a log of 1 GB that is scrubbed at 16 MB/s, in turn with one that is not: p99, and CPU.
compact  a log of 1 KiB records, ten of each key, becomes compacted, on one broker without limit: MB/s of the log, the broker's peak of memory;
         and 1,000 records/s to another topic alone, and beside it at its default pace: p99.
verify   the replicas of a log of 1 KiB records are compared, one alone and three: MB/s a replica, and the brokers' CPU for a GB of each; and
         1,000 records/s to another topic alone, and beside it: p99.
start    one broker with 1,000 partitions and 10 GB, not in the page cache: from its process's start until every partition tells its
         offsets, after a clean stop and after kill -9 beside a load.

Prints ratios of what was measured side by side. It decides nothing.
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import statistics
import threading
import time

from processes import BUILD, LocalCluster, cpu_seconds, default_binary, wait_until

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PARTS = ("bound", "removal", "oldest", "restore", "repair", "scrub", "compact", "verify", "start")
REMOVED_FILES = 1000
SCRUB_ALWAYS = ["--scrub-interval", "1s"]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="of the measurements", default=[])
    parser.add_argument("--gigabytes", type=int, default=20, help="of the long log (20)")
    parser.add_argument("--restored-mib", type=int, default=1024, help="of the log that is restored, or repaired (1024)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=15, help="of a measurement at a fixed rate (15)")
    parser.add_argument("--paces", nargs="+", default=["512MiB", "256MiB", "128MiB"], help="of compaction, a second (512MiB 256MiB 128MiB)")
    parser.add_argument("--folder", type=pathlib.Path, default=BUILD / "bench" / "log-life", help="wiped; its disk is used")
    options = parser.parse_args()
    options.parts = options.parts or list(PARTS)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def stored_bytes(broker, group="[2-9]*"):
    total = 0
    for path in (broker.data_dir / "groups").glob(f"{group}/*/*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            pass  # dropped just now
    return total


def load(cluster, topic, records, *options):
    return cluster.json("bench", "produce", "--topic", topic, "--record-size", KIB, "--records", records, *options, timeout=1800)


def p99(cluster, topic, options, rate=1000):
    return load(cluster, topic, rate * options.seconds, "--rate", rate)["latency_ms"]["p99"]


def row_of(cluster, topic):
    row, = cluster.json("topic", "offsets", topic)["partitions"]
    return row["log_start_offset"], row["high_watermark"]


def create(cluster, topic, replicas, **settings):
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    cluster.run("topic", "create", topic, "--partitions", 1, "--replicas", replicas, *sets)


def measure_bound(options):
    with LocalCluster(default_binary(), options.folder / "bound") as cluster:
        cluster.start_all()
        create(cluster, "r", 3, retention_bytes="128MiB", segment_bytes="16MiB")
        load(cluster, "r", 2_000_000)
        time.sleep(5)
        kept = [stored_bytes(broker) / MIB for broker in cluster.brokers.values()]
        start, end = row_of(cluster, "r")
        print(f"bound: {' '.join(f'{mib:.0f}' for mib in kept)} MiB kept of {end} records, from {start} on")
        cluster.kill(cluster.busiest_leader("r"))
        later, _ = row_of(cluster, "r")
        print(f"bound: after the leader was killed it starts at {later}, {'not ' if later >= start else ''}before")


def fewest_files(cluster):
    return min(sum(1 for _ in (broker.data_dir / "groups").glob("*/*/*")) for broker in cluster.brokers.values())


def measure_removal(options):
    ratios = []
    with LocalCluster(default_binary(), options.folder / "removal") as cluster:
        cluster.start_all()
        create(cluster, "live", 3)
        for number in range(options.rounds):
            topic = f"dying-{number}"
            create(cluster, topic, 3, segment_bytes="64KiB")
            # A file is as large as what is written at once, be it larger than that: at full speed ten times.
            while fewest_files(cluster) < REMOVED_FILES:
                load(cluster, topic, 20_000, "--linger-ms", 1, "--rate", 5000)
            files = fewest_files(cluster)
            quiet = p99(cluster, "live", options)
            timer = threading.Timer(options.seconds / 3, lambda name=topic: cluster.run(
                "topic", "delete-records", name, "--partition", 0, "--before", "latest"))
            timer.start()
            beside = p99(cluster, "live", options)
            timer.join()
            gone = files - fewest_files(cluster)
            print(f"removal: p99 {quiet:.2f} ms alone, {beside:.2f} ms while {gone} files went on each broker")
            ratios.append(beside / quiet)
    print(f"removal: {statistics.median(ratios):.2f} of alone")


def drop_cache():
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def measure_oldest(options):
    rates = {"short": [], "long": []}
    with LocalCluster(default_binary(), options.folder / "oldest", count=1) as cluster:
        cluster.start_all()
        for topic, gigabytes in (("short", 1), ("long", options.gigabytes)):
            create(cluster, topic, 1)
            load(cluster, topic, gigabytes * 1_000_000_000 // KIB, "--memory-mb", 32)
        for _ in range(options.rounds):
            for topic, found in rates.items():
                drop_cache()
                read = cluster.json("bench", "consume", "--topic", topic, "--records", 100_000, timeout=600)
                found.append(read["megabytes_per_second"])
    short, long = (statistics.median(found) for found in rates.values())
    print(f"oldest: {short:.0f} MB/s of 1 GB, {long:.0f} of {options.gigabytes} GB: {long / short:.2f}")


def restored_in(cluster, away):
    """Seconds from its start until its log says so; the bytes, and the milliseconds of the restore itself."""
    began = time.monotonic()
    cluster.start(away)

    def told():
        return re.findall(r"restored a replica .* bytes=(\d+) ms=(\d+)", cluster.brokers[away].log_text())
    wait_until(lambda: told(), "it has the log again", 600)
    size, ms = told()[-1]
    return time.monotonic() - began, int(size), int(ms)


def measure_restore(options):
    with LocalCluster(default_binary(), options.folder / "restore") as cluster:
        cluster.start_all()
        create(cluster, "r", 3, retention_bytes=f"{options.restored_mib}MiB", segment_bytes="64MiB")
        create(cluster, "live", 3)
        records = options.restored_mib * 3 // 2 * KIB
        for rate in (0, 1000, 20_000):
            quiet = p99(cluster, "live", options, rate) if rate else 0
            leader = cluster.busiest_leader("r")
            away = next(broker for broker in cluster.brokers if broker != leader)
            cluster.kill(away)
            load(cluster, "r", records, "--memory-mb", 32)
            time.sleep(3)
            cluster.brokers[away].log_path.write_text("")
            tail = []
            thread = threading.Thread(target=lambda beside=rate: tail.append(beside and p99(cluster, "live", options, beside)))
            thread.start()
            seconds, size, ms = restored_in(cluster, away)
            thread.join()
            beside = f"beside {rate} records/s, whose p99 was {tail[0]:.2f} ms, {quiet:.2f} alone" if rate else "at rest"
            print(f"restore: {size / MIB:.0f} MiB in {ms / 1000:.1f} s ({size / MIB / (ms / 1000):.0f} MiB/s; {seconds:.1f} s from its "
                  f"start) {beside}")
            cluster.wait_alive(cluster.brokers)


def sealed_files(broker):
    """Of the largest group, oldest first."""
    folders = (broker.data_dir / "groups").glob("*/*")
    files = max((sorted(folder.glob("*.segment")) for folder in folders), key=lambda files: sum(file.stat().st_size for file in files))
    return files[:-1]


def flip_bit(path):
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


def await_repairs(broker, count):
    """Until its log tells of so many; the milliseconds of each."""
    def told():
        return re.findall(r"repaired entries .* ms=(\d+)", broker.log_text())
    wait_until(lambda: len(told()) >= count, "every file is whole again", 600)
    return [int(ms) for ms in told()]


def read_all(cluster, topic):
    began = time.monotonic()
    cluster.run("bench", "consume", "--topic", topic, "--records", row_of(cluster, topic)[1], timeout=1800)
    return time.monotonic() - began


def measure_repair(options):
    with LocalCluster(default_binary(), options.folder / "repair", flags=[*SCRUB_ALWAYS, "--scrub-bytes-per-second", "1GiB"]) as cluster:
        cluster.start_all()
        create(cluster, "r", 3, segment_bytes="64MiB")
        create(cluster, "live", 3)
        load(cluster, "r", options.restored_mib * KIB, "--memory-mb", 32)
        quiet = p99(cluster, "live", options)
        victim = cluster.brokers[next(broker for broker in cluster.brokers if broker != cluster.busiest_leader("r"))]
        victim.end(signal.SIGTERM)
        files = sealed_files(victim)
        size = sum(file.stat().st_size for file in files)
        for file in files:
            flip_bit(file)
        victim.log_path.write_text("")
        began = time.monotonic()
        cluster.start(victim.broker_id)
        tail = []
        thread = threading.Thread(target=lambda: tail.append(p99(cluster, "live", options)))
        thread.start()
        each = await_repairs(victim, len(files))
        seconds = time.monotonic() - began
        thread.join()
        print(f"repair: {len(files)} files, {size / MIB:.0f} MiB, whole {seconds:.1f} s after its start, {max(each)} ms for the slowest one; "
              f"p99 {tail[0]:.2f} ms meanwhile, {quiet:.2f} alone")
        whole = [read_all(cluster, "r") for _ in range(options.rounds)]
        leader = cluster.brokers[cluster.busiest_leader("r")]
        leader.log_path.write_text("")
        flip_bit(sealed_files(leader)[1])
        drop_cache()
        damaged = read_all(cluster, "r")
        await_repairs(leader, 1)
        print(f"repair: a reader of all took {damaged:.2f} s where one of the leader's files was damaged, {statistics.median(whole):.2f} s else")


def measure_scrub(options):
    tails = {"0": [], "16MiB": []}
    cores = {"0": [], "16MiB": []}
    for number in range(options.rounds):
        for rate in tails:
            with LocalCluster(default_binary(), options.folder / f"scrub-{number}-{rate}",
                              flags=[*SCRUB_ALWAYS, "--scrub-bytes-per-second", rate]) as cluster:
                cluster.start_all()
                create(cluster, "r", 3, segment_bytes="64MiB")
                create(cluster, "live", 3)
                load(cluster, "r", options.restored_mib * KIB, "--memory-mb", 32)
                time.sleep(5)
                pids = [broker.process.pid for broker in cluster.brokers.values()]
                before = cpu_seconds(pids)
                tails[rate].append(p99(cluster, "live", options))
                cores[rate].append((cpu_seconds(pids) - before) / options.seconds / len(pids))
            shutil.rmtree(options.folder / f"scrub-{number}-{rate}")
    off, on = (statistics.median(tails[rate]) for rate in tails)
    idle, busy = (statistics.median(cores[rate]) for rate in cores)
    print(f"scrub: p99 {on:.2f} ms while each broker scrubs, {off:.2f} else ({on / off:.2f}); {busy - idle:.3f} of a core a broker more")


def peak_mib(broker):
    status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def compacted(broker):
    """Bytes read and milliseconds of the newest pass; None before the first."""
    found = re.findall(r"compacted group=\d+ .*bytes_read=(\d+) ms=(\d+)", broker.log_text())
    return tuple(map(int, found[-1])) if found else None


def measure_compact(options):
    records = options.restored_mib * KIB
    for pace in options.paces:
        with LocalCluster(default_binary(), options.folder / f"compact-{pace}", count=1,
                          flags=["--compaction-bytes-per-second", pace]) as cluster:
            cluster.start_all()
            broker, = cluster.brokers.values()
            create(cluster, "table", 1, cleanup="compact", segment_bytes="64MiB", compaction_lag_min="1d")
            create(cluster, "live", 1)
            load(cluster, "table", records, "--keys", records // 10, "--memory-mb", 32)
            time.sleep(10)
            alone = p99(cluster, "live", options)
            before_mib, before_bytes = peak_mib(broker), stored_bytes(broker)
            cluster.run("topic", "alter", "table", "--set", "compaction_lag_min=0")
            beside = p99(cluster, "live", options)
            wait_until(lambda: compacted(broker), "a pass", 600)
            read_bytes, ms = compacted(broker)
            print(f"compact: a log of {options.restored_mib} MiB at {pace}/s: {options.restored_mib * MIB / 1e6 / (ms / 1000):.0f} MB/s, "
                  f"{read_bytes / MIB:.0f} MiB read, files from {before_bytes / MIB:.0f} to {stored_bytes(broker) / MIB:.0f} MiB, peak of memory "
                  f"{before_mib:.0f} to {peak_mib(broker):.0f} MiB; p99 {beside:.2f} ms beside, {alone:.2f} alone ({beside / alone:.2f})")


def verified_in(cluster):
    began = time.monotonic()
    row, = cluster.json("partition", "verify", "table", timeout=1800)["partitions"]
    assert row["result"] == "same", row
    return row["bytes"], time.monotonic() - began


def measure_verify(options):
    for count in (1, 3):
        with LocalCluster(default_binary(), options.folder / f"verify-{count}", count=count) as cluster:
            cluster.start_all()
            create(cluster, "table", count)
            create(cluster, "live", count)
            load(cluster, "table", options.restored_mib * KIB, "--memory-mb", 32)
            time.sleep(10)
            rates, cpu = [], []
            for _ in range(options.rounds):
                before = cpu_seconds(broker.process.pid for broker in cluster.brokers.values())
                size, seconds = verified_in(cluster)
                cpu.append((cpu_seconds(broker.process.pid for broker in cluster.brokers.values()) - before) / count / (size / 1e9))
                rates.append(size / 1e6 / seconds)
            alone = p99(cluster, "live", options)
            is_over = threading.Event()
            beside_it = threading.Thread(target=lambda: [verified_in(cluster) for _ in iter(is_over.is_set, True)])
            beside_it.start()
            beside = p99(cluster, "live", options)
            is_over.set()
            beside_it.join()
            print(f"verify: {count} replicas of {size / MIB:.0f} MiB: {statistics.median(rates):.0f} MB/s each, {statistics.median(cpu):.2f} CPU s a GB and "
                  f"replica; p99 {beside:.2f} ms beside, {alone:.2f} alone ({beside / alone:.2f})")


def ready_in(cluster, partitions):
    began = time.monotonic()
    cluster.start(1)

    def is_ready():
        rows = cluster.json("topic", "offsets", "many", "--timeout", "60s")["partitions"]
        return len(rows) == partitions and not any("error" in row for row in rows)
    wait_until(is_ready, "every partition is led", 120)
    return time.monotonic() - began


def measure_start(options, partitions=1000):
    found = {signal.SIGTERM: [], signal.SIGKILL: []}
    with LocalCluster(default_binary(), options.folder / "start", count=1) as cluster:
        cluster.start_all()
        broker, = cluster.brokers.values()
        cluster.run("topic", "create", "many", "--partitions", partitions, "--replicas", 1)
        load(cluster, "many", 10_000_000_000 // KIB, "--memory-mb", 64)
        for _ in range(options.rounds):
            for how, seconds in found.items():
                load(cluster, "many", 100_000)
                broker.end(how)
                drop_cache()
                seconds.append(ready_in(cluster, partitions))
        size = stored_bytes(broker)
    clean, killed = (statistics.median(seconds) for seconds in found.values())
    print(f"start: {partitions} partitions with {size / 1e9:.1f} GB: all are led {clean:.2f} s after a clean stop, {killed:.2f} s after kill -9")


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    for part in options.parts:
        shutil.rmtree(options.folder, ignore_errors=True)
        options.folder.mkdir(parents=True)
        globals()[f"measure_{part}"](options)
    shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
