"""Clients that load a server: the commands they run and what their answers say.

A Driver speaks to one running Server for one Contestant. What `produced` and `consumed` return has the fields of
`millrace bench -o json`: records, seconds, records_per_second, megabytes_per_second, latency_ms, longest_gap_ms.
"""
import json
import re

from processes import PEERS, BenchError, ClusterError, run_client, wait_until
from workloads import MEMORY_MB, NATS_PENDING, linger_ms

READY_SECONDS_MAX = 90


class Driver:
    """Base."""

    is_exact = True  # does as many records as it is told, not whole messages

    def __init__(self, server, contestant):
        self.server = server
        self.contestant = contestant

    def create(self, topic, partitions):
        raise NotImplementedError

    def delete(self, topic, partitions):
        raise NotImplementedError

    def leader(self, topic):
        """The id of the server that leads partition 0."""
        raise NotImplementedError

    def produce(self, topic, workload, records, is_retrying=False):
        """The command that produces `records`, at the workload's rate if it has one."""
        raise NotImplementedError

    def consume(self, topic, workload, records, skipped=0):
        """The command that reads `records` after the first `skipped`, and waits for them."""
        raise NotImplementedError

    def produced(self, answer, workload):
        del workload
        return json.loads(answer)

    consumed = produced


class MillraceBench(Driver):
    def command(self, *words):
        return [self.server.binary, *words, "--bootstrap", self.server.bootstrap]

    def create(self, topic, partitions):
        def is_created():
            self.server.check_running()
            try:
                run_client(self.command("topic", "create", topic, "--partitions", partitions, "--replicas", 3,
                                        "--timeout", 20))
            except BenchError as error:
                if "exist" in str(error):
                    return True
                self.refusal = str(error)
                return False
            return True

        self.refusal = ""
        try:
            wait_until(is_created, f"topic {topic}", READY_SECONDS_MAX)
        except ClusterError as error:
            raise BenchError(f"{error}: {self.refusal}") from error

    def delete(self, topic, partitions):
        run_client(self.command("topic", "delete", topic))

    def leader(self, topic):
        described = json.loads(run_client(self.command("topic", "describe", topic, "-o", "json")))
        return described["partitions"][0]["leader_id"]

    def produce(self, topic, workload, records, is_retrying=False):
        return self.command("bench", "produce", "--topic", topic, "--record-size", workload.record_size, "--records",
                            records, "--linger-ms", linger_ms(workload), "--memory-mb", MEMORY_MB, "--rate", workload.rate,
                            "--timeout", READY_SECONDS_MAX, "-o", "json", *(["--stamp"] if workload.is_stamped else []))

    def consume(self, topic, workload, records, skipped=0):
        return self.command("bench", "consume", "--topic", topic, "--records", records, "--skip", skipped,
                            "--timeout", READY_SECONDS_MAX, "-o", "json", *(["--stamped"] if workload.is_stamped else []))


class Peerload(Driver):
    """franz-go or nats.go, in tests/bench/peerload."""

    system = "kafka"

    def command(self, operation, topic, *words):
        return [PEERS / "bin" / "peerload", "-system", self.system, "-bootstrap", self.server.bootstrap, "-topic",
                topic, *words, operation]

    def create(self, topic, partitions):
        flush = ["-flush-each"] if self.contestant.is_flushing else []
        run_client(self.command("create", topic, "-partitions", partitions, "-timeout", f"{READY_SECONDS_MAX}s",
                                *flush))

    def delete(self, topic, partitions):
        run_client(self.command("delete", topic, "-partitions", partitions))

    def leader(self, topic):
        return json.loads(run_client(self.command("leader", topic)))["leader"]

    def sizes(self, workload, records):
        return ["-partitions", workload.partitions, "-record-size", workload.record_size, "-records", records,
                *(["-stamp"] if workload.is_stamped else [])]

    def produce(self, topic, workload, records, is_retrying=False):
        retry = ["-retry"] if is_retrying else []
        return self.command("produce", topic, *self.sizes(workload, records), "-rate", workload.rate, "-linger",
                            f"{linger_ms(workload)}ms", "-memory-mb", MEMORY_MB, "-pending", NATS_PENDING, *retry)

    def consume(self, topic, workload, records, skipped=0):
        return self.command("consume", topic, *self.sizes(workload, records), "-skip", skipped)


class NatsPeerload(Peerload):
    system = "nats"


class KafkaTools(Peerload):
    """ProducerPerformance and ConsumerPerformance, which Kafka brings. Their first fifth is theirs to warm up."""

    HEAP = "-Xmx512m"
    SENT = re.compile(r"(\d+)[^\n]*records? sent, ([\d.]+) records/sec [^\n]*?, ([\d.]+) ms max latency, (\d+) ms 50th, "
                      r"\d+ ms 95th, (\d+) ms 99th, (\d+) ms 99.9th")

    def produce(self, topic, workload, records, is_retrying=False):
        settings = {"acks": "all", "linger.ms": linger_ms(workload), "batch.size": 512 << 10,
                    "buffer.memory": MEMORY_MB << 20, "compression.type": "none"}
        return self.server.java(
            self.HEAP, "org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server", self.server.bootstrap,
            "--topic", topic, "--num-records", records, "--record-size", workload.record_size, "--throughput",
            workload.rate or -1, "--warmup-records", records // 5, "--reporting-interval", 600_000,
            "--command-property", *(f"{key}={value}" for key, value in settings.items()))

    def produced(self, answer, workload):
        sent = self.SENT.findall(answer)
        if not sent:
            raise BenchError(f"ProducerPerformance said: {answer[-800:]}")
        records = int(sent[0][0])  # all; what follows is of the last line, which leaves the warm-up out
        rate, longest, p50, p99, p999 = map(float, sent[-1][1:])
        return {"records": records, "seconds": records / rate, "records_per_second": rate,
                "megabytes_per_second": rate * workload.record_size / 1e6,
                "latency_ms": {"p50": p50, "p99": p99, "p999": p999, "max": longest}}

    def consume(self, topic, workload, records, skipped=0):
        return self.server.java(
            self.HEAP, "org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", self.server.bootstrap,
            "--topic", topic, "--num-records", records, "--hide-header", "--timeout", 30_000)

    def consumed(self, answer, workload):
        """Its columns: start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, fetch MB/s, fetch records/s."""
        rows = [line.split(",") for line in answer.splitlines() if line.count(",") >= 9]
        if not rows:
            raise BenchError(f"ConsumerPerformance said: {answer[-800:]}")
        records, rate = int(rows[-1][4]), float(rows[-1][9])
        return {"records": records, "seconds": records / rate, "records_per_second": rate,
                "megabytes_per_second": rate * workload.record_size / 1e6}


class RawLimit(Driver):
    """At full speed in messages of 256 KiB, what a batching client would send; at a rate one by one."""

    MESSAGE_BYTES = 256 << 10
    is_exact = False

    def create(self, topic, partitions):
        pass

    def delete(self, topic, partitions):
        pass

    def produce(self, topic, workload, records, is_retrying=False):
        if workload.rate:
            size, count = workload.record_size, records
        else:
            size, count = self.MESSAGE_BYTES, max(1, records * workload.record_size // self.MESSAGE_BYTES)
        return [PEERS / "bin" / "raw_limit", self.server.folder, size, count, workload.rate]

    def produced(self, answer, workload):
        said = json.loads(answer)
        said["records"] = int(said["megabytes_per_second"] * said["seconds"] * 1e6) // workload.record_size
        said["records_per_second"] = said["records"] / said["seconds"]
        return said


DRIVERS = {"millrace": MillraceBench, "kafka": Peerload, "kafka-tools": KafkaTools, "nats": NatsPeerload,
           "raw": RawLimit}
