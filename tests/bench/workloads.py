"""What is measured and who is measured: tables, no code to speak of. MB = 10^6 bytes of record values.

Every producer waits LINGER_MS for company, not at all at a fixed rate, and holds at most MEMORY_MB of unanswered
records; every topic has three replicas and a record is answered once a majority has it. Slow contestants get a `share` of the records, so that their
runs last as long as the others'; a rate stays a rate.
"""
import dataclasses

LINGER_MS = 5
MEMORY_MB = 32
NATS_PENDING = 4096  # its client counts unanswered publishes, not bytes
FAN_OUT = 5
# Before a produce is measured, every partition gets so many bytes, and the topic at least a tenth of the load. It is
# also where clients without keys stay with a partition before they turn to the next.
TOUCH_BYTES = 64 << 10
GAP_RATE = 1000
GAP_KILL_SECONDS = 1
GAP_SECONDS = 3  # of sending; the run lasts until all is answered


@dataclasses.dataclass(frozen=True)
class Workload:
    """One row of the report. `kind`: produce (and read back), fanout, rate, end-to-end (a rate with a reader), gap."""

    name: str
    kind: str
    record_size: int = 1024
    partitions: int = 1
    megabytes: float = 0
    rate: int = 0
    seconds: float = 0
    is_read_cold: bool = False  # once more, out of the disk

    def records(self, share=1.0):
        if self.rate:
            return int(self.rate * self.seconds)
        return max(1, int(self.megabytes * share * 1e6) // self.record_size)

    def touches(self, share=1.0):
        """Records to send before the measured ones; at a rate it takes a second."""
        return self.rate or max(self.records(share) // 10, self.partitions * TOUCH_BYTES // self.record_size)

    @property
    def is_stamped(self):
        """Whether each value says when it was due."""
        return self.kind == "end-to-end"

    @property
    def title(self):
        size = "1 KiB" if self.record_size == 1024 else f"{self.record_size} B"
        load = f"{self.rate:,} records/s of {size}" if self.rate else size
        return f"{load}, {self.partitions:,} partition{'s' if self.partitions > 1 else ''}"


WORKLOADS = (
    Workload("1k-p1", "produce", 1024, 1, megabytes=800, is_read_cold=True),
    Workload("1k-p16", "produce", 1024, 16, megabytes=800, is_read_cold=True),
    Workload("100b-p1", "produce", 100, 1, megabytes=240),
    Workload("100b-p16", "produce", 100, 16, megabytes=240),
    Workload("1k-p1000", "produce", 1024, 1000, megabytes=100),
    Workload("100b-p1000", "produce", 100, 1000, megabytes=50),
    Workload("fanout", "fanout", 1024, 1, megabytes=200),
    Workload("rate-1000", "rate", 1024, 1, rate=1000, seconds=10),
    Workload("rate-10000", "rate", 1024, 1, rate=10000, seconds=5),
    Workload("end-to-end", "end-to-end", 1024, 1, rate=1000, seconds=10),
    Workload("gap", "gap", 100, 1, rate=GAP_RATE, seconds=GAP_SECONDS),
)


def linger_ms(workload):
    return 0 if workload.rate else LINGER_MS


def quick(workload):
    """The same with hardly any load: shows that it runs, not how fast."""
    seconds = workload.seconds if workload.kind == "gap" else min(workload.seconds, 1)
    return dataclasses.replace(workload, partitions=min(workload.partitions, 32), seconds=seconds,
                               megabytes=min(workload.megabytes, 4))


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A server with a client and a promise: a column of the report."""

    name: str
    title: str
    server: str
    driver: str
    is_flushing: bool = False  # asked of the topic; the others' servers flush as they are configured
    share: float = 1.0
    workloads: tuple = ()  # empty: all


_FEW = ("1k-p1", "1k-p16", "100b-p1", "fanout", "rate-1000")
_TOOLS = ("1k-p1", "1k-p16", "100b-p1", "rate-1000")
_FEW_STREAMS = ("1k-p1", "1k-p16", "100b-p1", "100b-p16", "fanout", "rate-1000", "rate-10000",
                "end-to-end", "gap")

BEFORE = "millrace-before"  # only where run_bench.py is given its binary
CONTESTANTS = (
    Contestant("millrace", "Millrace", "millrace", "millrace"),
    Contestant("kafka", "Kafka, franz-go", "kafka", "kafka"),
    Contestant("kafka-java", "Kafka, its own tools", "kafka", "kafka-tools", share=0.25, workloads=_TOOLS),
    Contestant("kafka-fsync", "Kafka flushing each append, franz-go", "kafka", "kafka", is_flushing=True, share=0.25,
               workloads=_FEW),
    Contestant("kafka-fsync-java", "Kafka flushing each append, its own tools", "kafka", "kafka-tools",
               is_flushing=True, share=0.2, workloads=_TOOLS[:2]),
    Contestant("nats", "NATS JetStream", "nats", "nats", share=0.15, workloads=_FEW_STREAMS),
    Contestant("nats-fsync", "NATS JetStream, sync always", "nats-fsync", "nats", share=0.15,
               workloads=_FEW + ("gap",)),
    Contestant("raw", "raw sockets, O_DIRECT, fdatasync", "raw", "raw", workloads=("1k-p1", "rate-1000")),
    Contestant(BEFORE, "Millrace before", BEFORE, "millrace"),
)

# What a server is warmed up with before anything is measured, in MB of 1 KiB records and of 100-byte records, and in
# seconds at 1,000 records/s: the JVMs compile what is hot for a long time.
WARM_UP = {"kafka": (2000, 200, 4)}
WARM_UP_OTHERS = (100, 20, 1)


@dataclasses.dataclass(frozen=True)
class Target:
    """What issue 4 expects: the median of a field of Millrace's samples, alone or over another contestant's."""

    title: str
    workload: str
    field: str
    limit: float
    over: str = ""
    is_at_most: bool = False
    unit: str = ""


TARGETS = (
    Target("1 KiB into one partition, over Kafka without fsync", "1k-p1", "megabytes_per_second", 1.0, "kafka"),
    Target("1 KiB into 16 partitions, over Kafka without fsync", "1k-p16", "megabytes_per_second", 0.5, "kafka"),
    Target("100 B into one partition, over Kafka without fsync", "100b-p1", "megabytes_per_second", 0.5, "kafka"),
    Target("catch-up read of 1 KiB, one partition", "read-1k-p1", "megabytes_per_second", 400, unit=" MB/s"),
    Target("p50 at 1,000 records/s", "rate-1000", "p50_ms", 1.0, is_at_most=True, unit=" ms"),
    Target("p99 at 1,000 records/s", "rate-1000", "p99_ms", 4.0, is_at_most=True, unit=" ms"),
    Target("gap after kill -9 of the leader", "gap", "gap_ms", 1000, is_at_most=True, unit=" ms"),
)
