#!/usr/bin/env python3
"""What a record waits for while large states are encoded: the tail of 1,000 records/s with and without rolls beside it.

    tests/clients/run.sh --version                                        once: makes the Python with gRPC
    build/clients-venv/bin/python tests/bench/state_rolls.py

One broker, whose partitions remember so many producers that their states take 64 MiB together in segments' footers. Then
a fixed rate to another topic, in turn alone and while all these partitions roll once a second, which encodes, writes and
syncs all of it each time. Prints both tails, in rounds, and the ratio of their medians. It decides nothing.
"""
import argparse
import itertools
import json
import pathlib
import shutil
import statistics
import sys
import threading
import time

import grpc

from processes import BUILD, ROOT, Client, LocalCluster, default_binary

sys.path.insert(0, str(ROOT / "proto"))
protos, services = grpc.protos_and_services("millrace/v1/producer_service.proto")
batch_protos = grpc.protos("millrace/v1/record.proto")

PRODUCERS = 50_000  # of a partition, as many as it may remember
BATCHES = 5         # of a producer, as many as are kept
RATE = 1000
STATEFUL, LIVE = "stateful", "live"
BATCHES_PER_MESSAGE = 2_000
FILLER = b"x" * (80 << 10)  # more than a segment: the next batch rolls


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--partitions", type=int, default=13, help="with a state each of some 5 MiB (13)")
    parser.add_argument("--producers", type=int, default=PRODUCERS, help="of each partition (50,000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement (10)")
    parser.add_argument("--folder", type=pathlib.Path, default=BUILD / "bench" / "state-rolls",
                        help="wiped; its disk is used")
    return parser.parse_args()


def producer_ids(stub, count):
    """Given by the broker, many calls at a time."""
    calls = []
    for _ in range(count):
        calls.append(stub.InitProducer.future(protos.InitProducerRequest()))
        if len(calls) == 500:
            yield from (call.result().producer_id for call in calls)
            calls = []
    yield from (call.result().producer_id for call in calls)


def produce(stub, batches):
    """Sends the batches on one stream, with at most two messages unanswered, and waits for every result."""
    def message(some):
        request = protos.ProduceRequest()
        request.batches.extend(some)
        return request

    room = threading.Semaphore(2 * BATCHES_PER_MESSAGE)

    def requests():
        yield protos.ProduceRequest(init=protos.ProduceInit(client_id="state-rolls"))
        while some := list(itertools.islice(batches, BATCHES_PER_MESSAGE)):
            for _ in some:
                room.acquire()
            yield message(some)

    for response in stub.Produce(requests()):
        for result in response.results:
            if result.HasField("error"):
                raise RuntimeError(result.error)
            room.release()


def batch_of(partition, value, producer_id=0, first_sequence=0):
    batch = batch_protos.RecordBatch(producer_id=producer_id, first_sequence=first_sequence)
    batch.records.add(value=value)
    return protos.ProduceBatch(topic=STATEFUL, partition=partition, batch=batch)


def fill(stub, options):
    ids = list(producer_ids(stub, options.producers))
    produce(stub, (batch_of(partition, b"", producer, sequence) for producer in ids
                   for sequence in range(BATCHES) for partition in range(options.partitions)))


def measure(cluster, options):
    """The tail of records at a fixed rate, milliseconds."""
    load = Client(cluster.command("bench", "produce", "--topic", LIVE, "--record-size", 100,
                                  "--records", RATE * options.seconds, "--rate", RATE, "-o", "json"))
    return json.loads(load.output())["latency_ms"]


class Rolls:
    """All stateful partitions roll once a second, until it is over."""

    def __init__(self, stub, options):
        self.stub, self.options = stub, options
        self.count = 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.is_over.set()
        self.thread.join()

    def run(self):
        while not self.is_over.wait(1):
            produce(self.stub, (batch_of(partition, FILLER) for partition in range(self.options.partitions)))
            self.count += 1


def state_bytes(folder):
    """What the newest sealed segments' ends take: their files' sizes less what was filled in."""
    sizes = []
    for group in sorted((folder / "broker-1" / "groups").iterdir()):
        sealed = sorted(group.glob("*/*.segment"))[:-1]
        sizes.append(max((file.stat().st_size for file in sealed[1:]), default=0) - len(FILLER))
    return sum(size for size in sizes if size > 0)


def main():
    options = parse()
    shutil.rmtree(options.folder, ignore_errors=True)
    flags = ["--producers-per-partition-max", str(PRODUCERS), "--producers-max", "10000000"]
    with LocalCluster(default_binary(), options.folder, count=1, flags=[*flags, "--segment-bytes", "1GiB"]) as cluster:
        cluster.start_all()
        cluster.run("topic", "create", STATEFUL, "--partitions", options.partitions, "--replicas", 1)
        cluster.run("topic", "create", LIVE, "--replicas", 1)
        with grpc.insecure_channel(cluster.bootstrap) as channel:
            began = time.monotonic()
            fill(services.ProducerServiceStub(channel), options)
            print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
        cluster.stop_all()
        cluster.flags = [*flags, "--segment-bytes", "64KiB"]
        cluster.start_all()
        tails = {"alone": [], "beside rolls": []}
        with grpc.insecure_channel(cluster.bootstrap) as channel:
            stub = services.ProducerServiceStub(channel)
            produce(stub, (batch_of(partition, FILLER) for partition in range(options.partitions)))
            for number in range(options.rounds):
                alone = measure(cluster, options)
                with Rolls(stub, options) as rolls:
                    beside = measure(cluster, options)
                tails["alone"].append(alone)
                tails["beside rolls"].append(beside)
                print(f"round {number + 1}: alone p99 {alone['p99']:.2f} ms, beside {rolls.count} rolls of all "
                      f"p99 {beside['p99']:.2f} ms, max {alone['max']:.0f} and {beside['max']:.0f} ms", flush=True)
        print(f"states of {state_bytes(options.folder) / 2**20:.0f} MiB together")
    medians = {name: statistics.median(tail["p99"] for tail in measured) for name, measured in tails.items()}
    print(f"p99 in the median: alone {medians['alone']:.2f} ms, beside rolls {medians['beside rolls']:.2f} ms, "
          f"ratio {medians['beside rolls'] / medians['alone']:.2f}")


if __name__ == "__main__":
    main()
