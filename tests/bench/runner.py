"""Runs the workloads: for each round each server is started alone, warmed up, loaded by its contestants in turn, ended.

One server at a time, because an idle cluster of three JVMs takes a tenth of a core from whoever is measured. The order
turns from round to round. Each run gives one sample, a dict that is flat but for threads and profile; what fails is a sample with an `error`, never a gap.
"""
import contextlib
import sys
import time

import perf_profile
from disk import Written, drop_cached
from drivers import DRIVERS
from processes import (BenchError, Client, Threads, check_room, clients_cpu_seconds, cpu_seconds, memory_megabytes,
                       run_client)
from servers import COUNT, SERVERS
from workloads import FAN_OUT, GAP_KILL_SECONDS, WARM_UP, WARM_UP_OTHERS, Workload

SETTLE_SECONDS = 1.0  # consumers connect, deleted files go


def flattened(said, prefix=""):
    """The fields that a driver gives, latency as p50_ms and so on."""
    fields = {key: said[key] for key in ("records", "seconds", "records_per_second", "megabytes_per_second")}
    for name, value in said.get("latency_ms", {}).items():
        fields[f"{prefix}{name}_ms"] = value
    return fields


def check_complete(driver, said, records):
    if driver.is_exact and said["records"] < records:
        raise BenchError(f"the client did {said['records']} of {records} records")


class Costs:
    """CPU of the servers, of their threads and of the clients between two moments."""

    def __init__(self, server):
        self.pids = server.pids()
        self.threads = [Threads(pid) for pid in self.pids]
        self.servers = cpu_seconds(self.pids)
        self.clients = clients_cpu_seconds()

    def since(self, fields, said=None):
        """Adds seconds per GB and per million records to the fields, and each server's threads; raw_limit, which is both,
        tells its own.
        """
        gigabytes = fields["megabytes_per_second"] * fields["seconds"] / 1e3
        millions = fields["records"] / 1e6
        if said and "broker_cpu_seconds" in said:
            spent = {"broker": said["broker_cpu_seconds"], "client": said["cpu_seconds"]}
        else:
            spent = {"broker": cpu_seconds(self.pids) - self.servers,
                     "client": clients_cpu_seconds() - self.clients}
        for who, seconds in spent.items():
            fields[f"{who}_cpu_per_gb"] = seconds / gigabytes
            fields[f"{who}_cpu_per_million"] = seconds / millions
        fields["threads"] = [threads.seconds() for threads in self.threads]
        return fields


class Turn:
    """One server in one round."""

    def __init__(self, server, contestants, report, options):
        self.server = server
        self.contestants = contestants
        self.report = report  # called with contestant, workload's name, fields
        self.is_quick = options.quick
        self.is_profiled = options.profile
        self.topics = 0

    def new_topic(self):
        self.topics += 1
        return f"t{self.topics}"

    def run(self, workloads):
        self.server.wipe()
        began = time.monotonic()
        try:
            self.server.start()
            if self.server.pids():
                self.first_use(began)
                self.warm_up()
            for workload in workloads:
                for contestant in self.contestants:
                    if not contestant.workloads or workload.name in contestant.workloads:
                        self.attempt(contestant, workload)
            self.memory("memory-loaded")
            if any(workload.kind == "gap" for workload in workloads):
                self.gaps([workload for workload in workloads if workload.kind == "gap"])
        finally:
            self.server.stop()
            self.server.wipe()

    def driver(self, contestant):
        return DRIVERS[contestant.driver](self.server, contestant)

    def first_use(self, began):
        """From the start of the processes until a record in a new topic is acknowledged."""
        contestant = self.contestants[0]
        driver = self.driver(contestant)
        topic = self.new_topic()
        driver.create(topic, 1)
        run_client(driver.produce(topic, Workload("first", "produce"), 1))
        self.report(contestant, "start", {"start_seconds": time.monotonic() - began})
        driver.delete(topic, 1)
        time.sleep(SETTLE_SECONDS)
        self.memory("memory-fresh")

    def memory(self, name):
        pids = self.server.pids()
        if pids:
            self.report(self.contestants[0], name, {"resident_mb": memory_megabytes(pids, "VmRSS"),
                                                    "peak_mb": memory_megabytes(pids, "VmHWM")})

    def warm_up(self):
        big, small, seconds = WARM_UP.get(self.contestants[0].server, WARM_UP_OTHERS)
        if self.is_quick:
            big, small, seconds = 1, 1, 1
        contestant = self.contestants[0]
        driver = self.driver(contestant)
        for workload in (Workload("warm", "produce", 1024, 4, megabytes=big),
                         Workload("warm", "produce", 100, 4, megabytes=small),
                         Workload("warm", "rate", 1024, 4, rate=1000, seconds=seconds)):
            topic = self.new_topic()
            driver.create(topic, workload.partitions)
            records = workload.records(contestant.share)
            run_client(driver.produce(topic, workload, records))
            if not workload.rate:
                run_client(driver.consume(topic, workload, records))
            driver.delete(topic, workload.partitions)

    def attempt(self, contestant, workload):
        measure = {"produce": self.throughput, "rate": self.throughput, "fanout": self.fan_out,
                   "end-to-end": self.end_to_end}.get(workload.kind)
        if measure is None:
            return
        check_room(self.server.folder)
        driver, topic = self.driver(contestant), self.new_topic()
        try:
            driver.create(topic, workload.partitions)
            measure(driver, topic, workload)
            driver.delete(topic, workload.partitions)
        except BenchError as error:
            self.failed(contestant, workload.name, error)
        time.sleep(SETTLE_SECONDS if self.server.pids() else 0)

    def failed(self, contestant, name, error):
        print(f"FAILED {contestant.name} {name}: {error}", file=sys.stderr, flush=True)
        self.report(contestant, name, {"error": str(error)[:500]})

    def throughput(self, driver, topic, workload):
        contestant = driver.contestant
        records = workload.records(contestant.share)
        if not self.is_quick:
            run_client(driver.produce(topic, workload, workload.touches(contestant.share)))
        with self.profile(driver, topic) as profile:
            written = Written(self.server.folder, self.server.pids())
            costs = Costs(self.server)
            said = driver.produced(run_client(driver.produce(topic, workload, records)), workload)
            check_complete(driver, said, records)
            fields = costs.since(flattened(said), said)
        if profile:
            fields["profile"] = profile
        if self.server.pids():  # raw_limit first fills the files that it then writes again
            fields.update(written.per_byte(said["records"] * workload.record_size * COUNT))
        self.report(contestant, workload.name, fields)
        if workload.kind != "produce" or contestant.driver == "raw" or contestant.is_flushing:
            return  # nothing to read, or what its other contestant reads
        self.catch_up(driver, topic, workload, f"read-{workload.name}")
        if workload.is_read_cold:
            drop_cached(self.server.folder)
            self.catch_up(driver, topic, workload, f"cold-{workload.name}")

    def catch_up(self, driver, topic, workload, name):
        records = workload.records(driver.contestant.share)
        costs = Costs(self.server)
        said = driver.consumed(run_client(driver.consume(topic, workload, records)), workload)
        check_complete(driver, said, records)
        said.pop("latency_ms", None)
        self.report(driver.contestant, name, costs.since(flattened(said)))

    def profile(self, driver, topic):
        """Of the leader, where it is asked for and the names of functions are known."""
        if not self.is_profiled or driver.contestant.driver != "millrace":
            return contextlib.nullcontext()
        return perf_profile.sampled(self.server.processes[driver.leader(topic)].pid, self.server.folder)

    def fan_out(self, driver, topic, workload):
        """Consumers at the tail while one producer runs; the rate is that of all deliveries together."""
        records = workload.records(driver.contestant.share)
        costs = Costs(self.server)
        consumers = [Client(driver.consume(topic, workload, records)) for _ in range(FAN_OUT)]
        try:
            time.sleep(SETTLE_SECONDS)
            began = time.monotonic()
            run_client(driver.produce(topic, workload, records))
            for consumer in consumers:
                consumer.output()
            seconds = time.monotonic() - began
        finally:
            for consumer in consumers:
                consumer.stop()
        delivered = records * FAN_OUT
        fields = {"records": delivered, "seconds": seconds, "records_per_second": delivered / seconds,
                  "megabytes_per_second": delivered * workload.record_size / 1e6 / seconds}
        self.report(driver.contestant, workload.name, costs.since(fields))

    def end_to_end(self, driver, topic, workload):
        """A consumer at the tail while one producer sends at a rate: from when a record was due until the consumer has it."""
        records = workload.records(driver.contestant.share)
        touches = 0 if self.is_quick else workload.touches(driver.contestant.share)
        consumer = Client(driver.consume(topic, workload, records, skipped=touches))
        try:
            if touches:
                run_client(driver.produce(topic, workload, touches))
            time.sleep(SETTLE_SECONDS)
            costs = Costs(self.server)
            run_client(driver.produce(topic, workload, records))
            said = driver.consumed(consumer.output(), workload)
        finally:
            consumer.stop()
        check_complete(driver, said, records)
        self.report(driver.contestant, workload.name, costs.since(flattened(said)))

    def gaps(self, workloads):
        """Last of all, since it costs a server."""
        contestant = self.contestants[0]
        for workload in workloads:
            if contestant.workloads and workload.name not in contestant.workloads:
                continue
            driver, topic = self.driver(contestant), self.new_topic()
            try:
                driver.create(topic, 1)
                load = Client(driver.produce(topic, workload, workload.records(), is_retrying=True))
                try:
                    time.sleep(GAP_KILL_SECONDS)
                    self.server.kill(driver.leader(topic))
                    said = driver.produced(load.output(), workload)
                finally:
                    load.stop()
                self.report(contestant, workload.name, {"gap_ms": said["longest_gap_ms"]})
            except BenchError as error:
                self.failed(contestant, workload.name, error)


def run_rounds(options, contestants, workloads, add_sample):
    """Every server in every round; the order turns by one each time.

    Two builds are so close that it tells who ran first, on memory that nobody had used yet: of such a pair a round before
    the first is run and not reported.
    """
    names = list(dict.fromkeys(contestant.server for contestant in contestants))
    for number in range(-1 if options.before and not options.quick else 0, options.rounds):
        turned = names[number % len(names):] + names[:number % len(names)]
        for name in turned:
            chosen = [contestant for contestant in contestants if contestant.server == name]

            def report(contestant, workload, fields, number=number):
                if number < 0 and "error" not in fields:
                    return
                add_sample({"round": number + 1, "contestant": contestant.name, "workload": workload, **fields})

            server = SERVERS[name](options.folder / name)
            try:
                Turn(server, chosen, report, options).run(workloads)
            except Exception as error:  # the others' figures are still worth having
                print(f"FAILED {name}: {error}", file=sys.stderr, flush=True)
                report(chosen[0], "turn", {"error": str(error)[:500]})
