"""What is wrong with calls: unknown ones, deadlines, numbers out of range, and names that look like paths."""
import os

from case import GOOD_CALL, INFO, Case, raw_call, unary
from cases_produce import field, varint
from http2 import SECONDS_MAX

CREATE = "AdminService/CreateTopic"
DELETE = "AdminService/DeleteTopic"
ALTER = "AdminService/AlterTopic"
REPLICAS = "AdminService/DescribeReplicas"
DIGEST = "AdminService/DigestReplica"
OFFSETS = "ConsumerService/ListOffsets"
REFUSED = "INVALID_ARGUMENT"


def create(**fields):
    return lambda target: target.api.CreateTopicRequest(**{"name": "refused", **fields})


def alter(**fields):
    return lambda target: target.api.AlterTopicRequest(**{"name": "events", **fields})


def offsets(**fields):
    return lambda target: target.api.ListOffsetsRequest(**{"topic": target.topic, **fields})


def digest(**fields):
    return lambda target: target.api.DigestReplicaRequest(**{"topic": "events", **fields})


def after(epoch):
    """Asks for the epoch after this one, of an id that the broker gave."""
    def make(target):
        with target.channel() as channel:
            stub = target.api.ProducerServiceStub(channel)
            told = stub.InitProducer(target.api.InitProducerRequest(), timeout=SECONDS_MAX)
        return target.api.InitProducerRequest(producer_id=told.producer_id, producer_epoch=epoch)
    return make


NAMES = {
    "empty name": b"",
    "name of one dot": b".",
    "name of two dots": b"..",
    "name of a path upwards": b"../../etc/passwd",
    "name of an absolute path": b"/etc/passwd",
    "name with a slash": b"a/b",
    "name with a backslash": b"..\\..\\a",
    "name with a NUL": b"a\0b",
    "name with a line end": b"a\nb",
    "name with an escape": b"\x1b[2J",
    "name with a percent escape": b"%2e%2e%2f",
    "name of 250 characters": b"x" * 250,
    "name of 1 MiB": b"x" * (1 << 20),
    "name with a Cyrillic letter": "еvents".encode(),
    "name that reads from right to left": "\u202estneve".encode(),
    "name with full-width dots": "．．".encode(),
    "name that is no UTF-8": b"\xff\xfe",
    "name with a space": b"a b",
    "name of a format": b"%s%n%n",
    "name of a command": b"$(reboot)",
}

CASES = [
    *[Case(name, unary(CREATE, field(1, value)), REFUSED) for name, value in NAMES.items()],
    *[Case(f"delete of a {name}", unary(DELETE, field(1, value)), (REFUSED, "NOT_FOUND"))
      for name, value in NAMES.items() if name not in ("name of 1 MiB", "name of a command")],
    Case("delete of a topic that is not there", unary(DELETE, field(1, b"absent")), "NOT_FOUND"),
    Case("alteration of a topic that is not there", unary(ALTER, field(1, b"absent")), "NOT_FOUND"),
    Case("alteration of a path", unary(ALTER, field(1, b"../../etc/passwd")), "NOT_FOUND"),
    Case("alteration of an unknown setting", unary(ALTER, alter(set={"no_such": "1"})), REFUSED),
    Case("alteration below zero", unary(ALTER, alter(set={"batch_bytes_max": "-1"})), REFUSED),
    Case("10,000 settings altered", unary(ALTER, alter(set={f"k{i}": "v" for i in range(10_000)})), REFUSED),
    Case("one setting unset 300,000 times", unary(ALTER, alter(unset=["protected"] * 300_000)), REFUSED),
    Case("topic that exists", unary(CREATE, create(name="events")), "ALREADY_EXISTS"),
    Case("name given twice, the last counts", unary(CREATE, field(1, b"ok") + field(1, b"../bad")), REFUSED),
    Case("10,001 partitions", unary(CREATE, create(partition_count=10_001)), REFUSED),
    Case("2^32-1 partitions", unary(CREATE, create(partition_count=2**32 - 1)), REFUSED),
    Case("2 replicas", unary(CREATE, create(replication_factor=2)), REFUSED),
    Case("2^32-1 replicas", unary(CREATE, create(replication_factor=2**32 - 1)), REFUSED),
    Case("unknown setting", unary(CREATE, create(settings={"no_such": "1"})), REFUSED),
    Case("setting below zero", unary(CREATE, create(settings={"batch_bytes_max": "-1"})), REFUSED),
    Case("setting past 64 bits", unary(CREATE, create(settings={"batch_bytes_max": "9" * 400})), REFUSED),
    Case("10,000 settings", unary(CREATE, create(settings={f"k{i}": "v" for i in range(10_000)})), REFUSED),
    Case("call of random bytes", unary(CREATE, os.urandom(1000)), REFUSED),
    Case("call over the limit", unary(CREATE, b"\0" * (5 << 20)), "RESOURCE_EXHAUSTED"),
    Case("call of 4 MiB of nothing", unary("MetadataService/GetServerInfo", field(99, bytes((4 << 20) - 10))), "OK"),
    Case("call nested 10,000 deep", unary("MetadataService/GetServerInfo", b"\xa3\x06" * 10_000), ("OK", REFUSED)),
    Case("100,000 names described", unary("MetadataService/DescribeTopics", field(1, b"events") * 100_000), REFUSED),
    Case("10,000 times the same name described", unary("MetadataService/DescribeTopics", field(1, b"events") * 10_000),
         "OK"),
    Case("topic described that is not there", unary("MetadataService/DescribeTopics", field(1, b"absent")),
         "NOT_FOUND"),
    Case("replicas of a topic that is not there", unary(REPLICAS, field(1, b"absent")), "NOT_FOUND"),
    Case("replicas of no topic", unary(REPLICAS, b""), REFUSED),
    Case("replicas of 2^32-1 partitions from 2^32-1 on", unary(REPLICAS, lambda target: target.api.DescribeReplicasRequest(
        topic="events", first_partition=2**32 - 1, partition_count_max=2**32 - 1)), "OK"),
    Case("digest of a topic that is not there", unary(DIGEST, field(1, b"absent")), "NOT_FOUND"),
    Case("digest of no topic", unary(DIGEST, b""), REFUSED),
    Case("digest of a partition out of range", unary(DIGEST, digest(partition=2**32 - 1)), "NOT_FOUND"),
    Case("digest from below zero on", unary(DIGEST, digest(begin_offset=-1)), REFUSED),
    Case("digest that ends before it begins", unary(DIGEST, digest(begin_offset=5, end_offset=4)), REFUSED),
    Case("digest past the end", unary(DIGEST, digest(begin_offset=2**63 - 1, end_offset=2**63 - 1)), "OUT_OF_RANGE"),
    Case("digest of all there could be", unary(DIGEST, digest(end_offset=2**63 - 1)), "OK"),
    Case("offsets of a topic that is not there", unary(OFFSETS, offsets(topic="absent")), "NOT_FOUND"),
    Case("offsets of no topic", unary(OFFSETS, offsets(topic="")), REFUSED),
    Case("offsets of an unknown topic id", unary(OFFSETS, offsets(topic="", topic_id=1 << 63)), "NOT_FOUND"),
    Case("offsets of a partition out of range", unary(OFFSETS, offsets(partitions=[4])), "NOT_FOUND"),
    Case("offsets of one partition 1,000,000 times", unary(OFFSETS, lambda t: offsets(
        partitions=[0] * 1_000_000)(t)), REFUSED),
    Case("producer id that was never given", unary("ProducerService/InitProducer", b"\x08" + varint(2**64 - 1)),
         "NOT_FOUND"),
    Case("producer id that somebody made up, asked for again", unary("ProducerService/InitProducer", b"\x08\x07"), "NOT_FOUND"),
    Case("epoch after 2^32-1", unary("ProducerService/InitProducer", after(2**32 - 1)), REFUSED),
    Case("epoch after the last", unary("ProducerService/InitProducer", after(32_766)), "OK"),
    Case("deadline of nothing", unary("MetadataService/GetServerInfo", b"", timeout=0), ("DEADLINE_EXCEEDED", "OK")),
    Case("deadline below zero", unary("MetadataService/GetServerInfo", b"", timeout=-5), "DEADLINE_EXCEEDED"),
    Case("deadline of a millisecond", unary(CREATE, create(name="events"), timeout=0.001),
         ("DEADLINE_EXCEEDED", "ALREADY_EXISTS")),
    Case("a thousand small headers",
         unary("MetadataService/GetServerInfo", b"", metadata=[(f"k{i}", "v") for i in range(1000)]),
         ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNKNOWN", "INTERNAL")),
    Case("unknown method", raw_call("/millrace.v1.MetadataService/Absent", GOOD_CALL), "UNIMPLEMENTED"),
    Case("unknown service", raw_call("/millrace.v9.Absent/Method", GOOD_CALL), "UNIMPLEMENTED"),
    Case("internal service", raw_call("/millrace.internal.v1.PeerService/Append", GOOD_CALL), "UNIMPLEMENTED"),
    Case("method in another case", raw_call(INFO.lower(), GOOD_CALL), "UNIMPLEMENTED"),
    Case("empty path", raw_call("", GOOD_CALL), ("UNIMPLEMENTED", "UNKNOWN", "INTERNAL", "RST_STREAM")),
    Case("path of a slash", raw_call("/", GOOD_CALL), "UNIMPLEMENTED"),
    Case("path upwards", raw_call("/../../etc/passwd", GOOD_CALL), "UNIMPLEMENTED"),
    Case("path with a query", raw_call(INFO + "?x=1", GOOD_CALL), "UNIMPLEMENTED"),
    Case("path of 8 KiB", raw_call("/" + "a" * 7000, GOOD_CALL), ("UNIMPLEMENTED", "UNKNOWN", "RESOURCE_EXHAUSTED")),
    Case("path of a URL", raw_call("http://127.0.0.1/x", GOOD_CALL), "UNIMPLEMENTED"),
    Case("stream called as a call", unary("ProducerService/Produce", b"\x0a\x00"),
         ("OK", "INTERNAL", "UNKNOWN", "UNIMPLEMENTED")),
]
