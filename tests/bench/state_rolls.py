#!/usr/bin/env python3
"""What a record waits for while large states are encoded: the tail of 1,000 records/s with and without rolls beside it.

    tests/clients/run.sh --version                                        once: makes the Python with gRPC
    build/clients-venv/bin/python tests/bench/state_rolls.py

One broker, whose partitions remember so many producers that their states are some 18 MB together in segments' footers.
Then a fixed rate to one topic while megabytes go to these partitions, one after the other: with segments so large that
nothing rolls, and so small that a partition rolls whenever its log grew by four times its state, as often as it may, which
encodes, writes and syncs all of it again. Prints both tails, in rounds, how many states were written, and the ratio
of the medians. Where the disk's own waits hide the rest, --folder /dev/shm/state-rolls leaves it out. It decides nothing.
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

from processes import BUILD, ROOT, Client, LocalCluster, default_binary, wait_until

sys.path.insert(0, str(ROOT / "proto"))
protos, services = grpc.protos_and_services("millrace/v1/producer_service.proto")
batch_protos = grpc.protos("millrace/v1/record.proto")

PRODUCERS = 50_000  # of a partition, as many as it may remember
BATCHES = 5         # of a producer
RATE = 1000
STATEFUL, LIVE = "stateful", "live"
BATCHES_PER_MESSAGE = 2_000
FILLER = b"x" * (1_000_000)  # of one batch
SEGMENT_BYTES = {"without rolls": "4GiB", "with rolls": "2MiB"}  # the live topic, without a state, hardly rolls
FLAGS = ["--producers-per-partition-max", str(PRODUCERS), "--producers-max", "10000000"]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--partitions", type=int, default=13, help="with a state each of some 1.4 MB (13)")
    parser.add_argument("--producers", type=int, default=PRODUCERS, help="of each partition (50,000)")
    parser.add_argument("--fill-every", type=float, default=1, metavar="SECONDS",
                        help="a megabyte to each stateful partition in so long: each rolls after six of them (1)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=20, help="of each measurement (20)")
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


def produce(stub, batches, per_message=BATCHES_PER_MESSAGE):
    """Sends the batches on one stream, with at most two messages unanswered, and waits for every result."""
    def message(some):
        request = protos.ProduceRequest()
        request.batches.extend(some)
        return request

    room = threading.Semaphore(2 * per_message)

    def requests():
        yield protos.ProduceRequest(init=protos.ProduceInit(client_id="state-rolls"))
        while some := list(itertools.islice(batches, per_message)):
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


def fill_up(stub, partitions):
    """A megabyte to each of them."""
    produce(stub, (batch_of(partition, FILLER) for partition in partitions), per_message=1)


def is_led(stub, options):
    """Whether every partition takes records, after a start."""
    try:
        fill_up(stub, range(options.partitions))
    except RuntimeError:
        return False
    return True


def measure(cluster, options):
    """The tail of records at a fixed rate, milliseconds."""
    load = Client(cluster.command("bench", "produce", "--topic", LIVE, "--record-size", 100,
                                  "--records", RATE * options.seconds, "--rate", RATE, "--linger-ms", 0, "-o", "json"))
    return json.loads(load.output())["latency_ms"]


class Filler:
    """A megabyte to one stateful partition after the other, until it is over."""

    def __init__(self, stub, options):
        self.stub, self.options = stub, options
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.is_over.set()
        self.thread.join()

    def run(self):
        partitions = itertools.cycle(range(self.options.partitions))
        while not self.is_over.wait(self.options.fill_every / self.options.partitions):
            fill_up(self.stub, [next(partitions)])


def sealed_files(folder, groups):
    return sum(len(list((folder / "broker-1" / "groups" / str(group)).glob("*/*.segment"))) - 1 for group in groups)


def run_with(cluster, segment_bytes, options):
    """The tail, and how many states were written meanwhile."""
    cluster.flags = [*FLAGS, "--segment-bytes", segment_bytes]
    cluster.start_all()
    try:
        with grpc.insecure_channel(cluster.bootstrap) as channel:
            stub = services.ProducerServiceStub(channel)
            wait_until(lambda: is_led(stub, options), "all partitions led")
            groups = range(2, 2 + options.partitions)  # after the controller's, in the order of their making
            before = sealed_files(options.folder, groups)
            with Filler(stub, options):
                tail = measure(cluster, options)
            return tail, sealed_files(options.folder, groups) - before
    finally:
        cluster.stop_all()


def main():
    options = parse()
    shutil.rmtree(options.folder, ignore_errors=True)
    with LocalCluster(default_binary(), options.folder, count=1, flags=[*FLAGS, "--segment-bytes", "4GiB"]) as cluster:
        cluster.start_all()
        cluster.run("topic", "create", STATEFUL, "--partitions", options.partitions, "--replicas", 1)
        cluster.run("topic", "create", LIVE, "--replicas", 1)
        with grpc.insecure_channel(cluster.bootstrap) as channel:
            began = time.monotonic()
            fill(services.ProducerServiceStub(channel), options)
            print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
        cluster.stop_all()
        tails = {name: [] for name in SEGMENT_BYTES}
        for number in range(options.rounds):
            for name, segment_bytes in SEGMENT_BYTES.items():
                tail, states = run_with(cluster, segment_bytes, options)
                tails[name].append(tail)
                print(f"round {number + 1} {name}: p99 {tail['p99']:.2f} ms, max {tail['max']:.0f} ms, "
                      f"{states} states written", flush=True)
    medians = [statistics.median(tail["p99"] for tail in measured) for measured in tails.values()]
    print(f"p99 in the median: without rolls {medians[0]:.2f} ms, with rolls {medians[1]:.2f} ms, "
          f"ratio {medians[1] / medians[0]:.2f}")


if __name__ == "__main__":
    main()
