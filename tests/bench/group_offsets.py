#!/usr/bin/env python3
"""What groups' committed offsets cost: how many a second, in how much memory, how long nobody answers after a death, and what the
coordinator's shards take from everything else.

    tests/clients/run.sh --version                                        once: makes the Python with gRPC
    build/clients-venv/bin/python tests/bench/group_offsets.py [commits] [many] [failover] [produce] [idle]
                                                                          all of them
    build/clients-venv/bin/python tests/bench/group_offsets.py commits --rounds 1 --seconds 3
    build/clients-venv/bin/python tests/bench/group_offsets.py idle --before BINARY

commits   one broker, then three: requests of 10 and of 100 partitions, as many as are taken, and 100,000 partition offsets a second:
          what a request waits for, and CPU of the brokers and of the client for a million offsets.
many      one broker: 10^7 offsets, 100 of each of 100,000 groups: its memory before and after, and started again; what shards' states are
          on the disk; from its process's start until a group is told its offsets, after a clean stop and after kill -9.
failover  three brokers; a client of one of them commits and fetches every 10 ms while another, which leads the group's shard, is
          killed with SIGKILL: the longest time without an answer.
produce   three brokers: p99 of 1,000 records/s, and MB/s of as many as are taken, alone and beside 10,000 partition offsets a second.
idle      three brokers that nobody asks for anything: CPU and bytes that they wrote in a minute; --before: of another build's in turn.

Prints each round, and the minimum, median and maximum of all. It decides nothing.
"""
import argparse
import collections
import json
import os
import pathlib
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time

import grpc

from processes import BUILD, ROOT, Client, LocalCluster, cpu_seconds, default_binary, machine, memory_megabytes, wait_until

sys.path.insert(0, str(ROOT / "proto"))
protos, services = grpc.protos_and_services("millrace/v1/group_service.proto")

KIB, MIB = 1 << 10, 1 << 20
PARTS = ("commits", "many", "failover", "produce", "idle")
LOAD = BUILD / "release" / "bin" / "group_load"
TOPIC, LIVE = "read", "live"
PARTITIONS = 100
ASKED_RATE = 100_000  # partition offsets a second
SEGMENT_TRAILER = struct.Struct("<8sIIQII")  # docs/formats.md, "Segment"


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="of the measurements", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="of a measurement (10)")
    parser.add_argument("--groups", type=int, default=100_000, help="of the many (100,000)")
    parser.add_argument("--deaths", type=int, default=10, help="of leaders (10)")
    parser.add_argument("--idle-seconds", type=int, default=60, help="of a measurement of idle brokers (60)")
    parser.add_argument("--before", type=pathlib.Path, metavar="BINARY", help="another build, to be idle in turn with this one")
    parser.add_argument("--folder", type=pathlib.Path, default=BUILD / "bench" / "group-offsets", help="wiped; its disk is used")
    options = parser.parse_args()
    options.parts = options.parts or list(PARTS)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def shown(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


class Rounds:
    """What was measured, by name, in rounds."""

    def __init__(self):
        self._found = collections.defaultdict(list)

    def add(self, name, **figures):
        self._found[name].append(figures)
        print(f"  {name}: " + ", ".join(f"{key.replace('_', ' ')} {shown(value)}" for key, value in figures.items()), flush=True)

    def median(self, name, figure):
        return statistics.median(figures[figure] for figures in self._found[name])

    def print(self, part):
        for name, rounds in self._found.items():
            def told(figure, rounds=rounds):
                values = [one[figure] for one in rounds]
                return f"{figure.replace('_', ' ')} {shown(min(values))}/{shown(statistics.median(values))}/{shown(max(values))}"
            print(f"{part}: {name}: " + ", ".join(map(told, rounds[0])), flush=True)


def pids_of(cluster):
    return [broker.process.pid for broker in cluster.brokers.values()]


def make_topic(cluster, name=TOPIC, partitions=PARTITIONS):
    cluster.run("topic", "create", name, "--partitions", partitions, "--replicas", len(cluster.brokers))


def load_command(cluster, *options, **named):
    words = [str(word) for name, value in named.items() for word in (f"--{name.replace('_', '-')}", value)]
    return [LOAD, cluster.bootstrap, TOPIC, *words, *options]


def commit(cluster, *options, **named):
    """What the load says, and the brokers' CPU seconds."""
    before = cpu_seconds(pids_of(cluster))
    said = json.loads(Client(load_command(cluster, *options, **named)).output(1800))
    return said, cpu_seconds(pids_of(cluster)) - before


def warm_up(cluster):
    """A second of commits, the first of which wait until the coordinator is there."""
    commit(cluster, seconds=1)


def measure_commits(options):
    rounds = Rounds()
    for count in (1, 3):
        with LocalCluster(default_binary(), options.folder / f"commits-{count}", count=count) as cluster:
            cluster.start_all()
            make_topic(cluster)
            warm_up(cluster)
            for _ in range(options.rounds):
                for partitions in (10, 100):
                    for rate in (0, ASKED_RATE):
                        said, cpu = commit(cluster, partitions=partitions, seconds=options.seconds, rate=rate, in_flight=8 if rate == 0 else 64)
                        millions = said["offsets"] / 1e6
                        rounds.add(f"{count} broker{'s' * (count > 1)}, requests of {partitions}, {rate or 'as many as are taken'}",
                                   offsets_per_second=said["offsets_per_second"], p50_ms=said["latency_ms"]["p50"],
                                   p99_ms=said["latency_ms"]["p99"], brokers_cpu_s_per_million=cpu / millions,
                                   client_cpu_s_per_million=said["cpu_seconds"] / millions)
    rounds.print("commits")


def state_bytes(path):
    """Of the state in a sealed segment, or in a checkpoint; 0 without one."""
    content = path.read_bytes()
    if len(content) <= SEGMENT_TRAILER.size:
        return 0
    magic, footer_size, _, frames_end, _, _ = SEGMENT_TRAILER.unpack(content[-SEGMENT_TRAILER.size:])
    if magic != b"\0MLRTAIL":
        return 0
    begin = 0 if path.name == "checkpoint" else frames_end
    return len(content) - SEGMENT_TRAILER.size - footer_size - begin


def newest_states(broker):
    """Bytes of each replica's newest state, of a broker that is stopped; those of the coordinator's shards are the large ones."""
    found = []
    for folder in (broker.data_dir / "groups").glob("*/*"):
        checkpoint = folder / "checkpoint"
        newest = state_bytes(checkpoint) if checkpoint.exists() else 0
        for segment in sorted(folder.glob("*.segment"), reverse=True):
            newest = newest or state_bytes(segment)
        found.append(newest)
    return found


def answered_in(cluster, group):
    """Seconds from the broker's start until it tells the group's offsets."""
    began = time.monotonic()
    cluster.start(1)
    request = protos.FetchOffsetsRequest(group=group)

    def is_told():
        # A channel that failed waits before it connects again; a new one does not.
        with grpc.insecure_channel(cluster.bootstrap, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                answer = services.GroupServiceStub(channel).FetchOffsets(request, timeout=30)
            except grpc.RpcError:
                return False
        assert sum(len(topic.partitions) for topic in answer.topics) == PARTITIONS, "offsets are missing"
        return True
    wait_until(is_told, "a group is told its offsets", 120)
    return time.monotonic() - began


def resident_mib(cluster):
    return memory_megabytes(pids_of(cluster), "VmRSS") * 1e6 / MIB


def measure_many(options):
    rounds = Rounds()
    offsets = options.groups * PARTITIONS
    with LocalCluster(default_binary(), options.folder / "many", count=1) as cluster:
        cluster.start_all()
        broker, = cluster.brokers.values()
        make_topic(cluster)
        warm_up(cluster)
        before = resident_mib(cluster)
        said, _ = commit(cluster, "--each-group-once", groups=options.groups)
        print(f"many: {offsets:,} offsets of {options.groups:,} groups in {said['seconds']:.0f} s: resident {before:.0f} MiB before, "
              f"{resident_mib(cluster):.0f} after", flush=True)
        for _ in range(options.rounds):
            for name, how in (("clean stop", signal.SIGTERM), ("kill -9", signal.SIGKILL)):
                commit(cluster, groups=options.groups, seconds=1)
                broker.end(how, 60)
                if how == signal.SIGTERM:
                    states = newest_states(broker)
                seconds = answered_in(cluster, f"group-{options.groups - 1}")
                rounds.add(f"{offsets:,} offsets, started after {name}", seconds=seconds, resident_mib=resident_mib(cluster),
                           peak_mib=memory_megabytes(pids_of(cluster), "VmHWM") * 1e6 / MIB)
        print(f"many: states of {sum(states) / MIB:.1f} MiB, the largest {max(states) / MIB:.2f}")
    rounds.print("many")


class Prober:
    """Commits and fetches at one broker, every 10 ms, until it is over; when each pair was answered."""

    def __init__(self, address, group):
        self.answered = []
        self._address, self._group = address, group
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *unused):
        self._is_over.set()
        self._thread.join()

    def _run(self):
        with grpc.insecure_channel(self._address) as channel:
            stub = services.GroupServiceStub(channel)
            while not self._is_over.wait(0.01):
                row = protos.PartitionCommit(partition=0, metadata=str(len(self.answered)))
                request = protos.CommitOffsetsRequest(group=self._group, topics=[protos.TopicCommit(topic=TOPIC, partitions=[row])])
                try:
                    refused = stub.CommitOffsets(request, timeout=10).refused
                    fetched = stub.FetchOffsets(protos.FetchOffsetsRequest(group=self._group), timeout=10).topics[0].partitions[0]
                except grpc.RpcError as error:
                    print(f"  {error.code()}: {error.details()}", flush=True)
                    continue
                assert not refused and fetched.metadata == row.metadata, (refused, fetched)
                self.answered.append(time.monotonic())

    def longest_gap(self):
        return max(after - before for before, after in zip(self.answered, self.answered[1:]))


def led_elsewhere(address, broker_id):
    """A group whose shard another broker leads, and which."""
    with grpc.insecure_channel(address) as channel:
        stub = services.GroupServiceStub(channel)
        for number in range(64):
            group = f"group-{number}"
            leader = stub.DescribeGroup(protos.DescribeGroupRequest(group=group), timeout=10).coordinator_id
            if leader not in (0, broker_id):
                return group, leader
    raise RuntimeError(f"broker {broker_id} leads every shard")


def measure_failover(options):
    rounds = Rounds()
    with LocalCluster(default_binary(), options.folder / "failover") as cluster:
        cluster.start_all()
        make_topic(cluster)
        warm_up(cluster)
        for death in range(options.deaths):
            asked = 1 + death % len(cluster.brokers)
            address = cluster.brokers[asked].client_address
            group, leader = led_elsewhere(address, asked)
            with Prober(address, group) as prober:
                wait_until(lambda: len(prober.answered) > 50, "the client is answered")
                cluster.kill(leader)
                counted = len(prober.answered)
                wait_until(lambda: len(prober.answered) > counted + 200, "the client is answered again")
            rounds.add("leader of the shard killed", gap_ms=prober.longest_gap() * 1000)
            cluster.start(leader)
            cluster.wait_alive(cluster.brokers)
    rounds.print("failover")


def produce(cluster, *options):
    return cluster.json("bench", "produce", "--topic", LIVE, "--record-size", KIB, *options, timeout=600)


def measure_produce(options):
    rounds = Rounds()
    with LocalCluster(default_binary(), options.folder / "produce") as cluster:
        cluster.start_all()
        make_topic(cluster)
        make_topic(cluster, LIVE, 1)
        warm_up(cluster)
        produce(cluster, "--records", 100_000)
        for _ in range(options.rounds):
            for name in ("alone", "beside commits"):
                beside = None
                if name != "alone":
                    beside = Client(load_command(cluster, partitions=10, rate=10_000, seconds=3600, in_flight=64))
                tail = produce(cluster, "--records", 1000 * options.seconds, "--rate", 1000, "--linger-ms", 0)["latency_ms"]["p99"]
                most = produce(cluster, "--records", 100_000 * options.seconds)["megabytes_per_second"]
                if beside is not None:
                    assert beside.process.poll() is None, "the commits ended"
                    beside.stop()
                rounds.add(name, p99_ms=tail, megabytes_per_second=most)
    rounds.print("produce")
    for figure in ("p99_ms", "megabytes_per_second"):
        ratio = rounds.median("beside commits", figure) / rounds.median("alone", figure)
        print(f"produce: {figure.replace('_', ' ')} beside 10,000 partition offsets a second is {ratio:.2f} times that alone")


def written_bytes(pids):
    total = 0
    for pid in pids:
        lines = pathlib.Path(f"/proc/{pid}/io").read_text(encoding="utf-8").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
    return total


def measure_idle(options):
    rounds = Rounds()
    binaries = {"this build": default_binary()} | ({"the one before": options.before} if options.before else {})
    for number in range(options.rounds):
        for name, binary in binaries.items():
            with LocalCluster(binary, options.folder / f"idle-{number}-{name.replace(' ', '-')}") as cluster:
                cluster.start_all()
                time.sleep(5)  # until all is made and said
                pids = pids_of(cluster)
                cpu, written = cpu_seconds(pids), written_bytes(pids)
                time.sleep(options.idle_seconds)
                minutes = options.idle_seconds / 60
                rounds.add(name, cpu_s_per_minute=(cpu_seconds(pids) - cpu) / minutes,
                           kib_per_minute=(written_bytes(pids) - written) / KIB / minutes)
    rounds.print("idle")


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    targets = ["group_load"] if "MILLRACE_BINARY" in os.environ else ["group_load", "millrace"]
    subprocess.run(["cmake", "--build", "--preset", "release", "--target", *targets], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    options.folder.mkdir(parents=True, exist_ok=True)
    facts = machine(options.folder)
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Linux {facts['linux']}, commit {facts['commit']}")
    for part in options.parts:
        shutil.rmtree(options.folder, ignore_errors=True)
        options.folder.mkdir(parents=True)
        print(f"{part}: {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load average {os.getloadavg()[0]:.1f}", flush=True)
        globals()[f"measure_{part}"](options)
    shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
