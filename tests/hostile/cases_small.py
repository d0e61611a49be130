"""What is wrong with the calls of small clients: Publish and Subscribe."""
import os

from case import Case, http2, raw_call, subscribe, unary
from cases_produce import field, varint
from http2 import message

PUBLISH = "ProducerService/Publish"
PATH = "/millrace.v1.ConsumerService/Subscribe"
REFUSED = "INVALID_ARGUMENT"
UINT64_MAX = 2**64 - 1
FROM_THE_BEGINNING = field(1, b"events") + b"\x22\x02\x10\x01"


def publish(**fields):
    return unary(PUBLISH, lambda target: target.api.PublishRequest(
        **{"topic": target.topic, "records": [{"value": b"v"}], **fields}))


def publish_raw(fields):
    return unary(PUBLISH, field(1, b"events") + fields)


def subscription(**fields):
    return subscribe(lambda target: target.api.SubscribeRequest(**{"topic": target.topic, "stop_at_end": True, **fields}))


def cancelled(connection):
    for _ in range(200):
        stream = connection.call(PATH)
        connection.data(stream, message(FROM_THE_BEGINNING), end=True)
        connection.reset(stream)
    return connection.connection_outcome()


def never_reads(connection):
    for _ in range(200):
        connection.data(connection.call(PATH), message(FROM_THE_BEGINNING), end=True)
    return connection.connection_outcome()


CASES = [
    # Which of the two depends on whether the first of them happen to be a field.
    Case("publish of random bytes", unary(PUBLISH, os.urandom(1000)), (REFUSED, "UNIMPLEMENTED")),
    Case("publish of nothing", unary(PUBLISH, b""), REFUSED),
    Case("publish without records", publish(records=[]), REFUSED),
    Case("publish to no topic", publish(topic=""), REFUSED),
    Case("publish to a topic that is not there", publish(topic="absent"), "NOT_FOUND"),
    Case("publish to a path", publish(topic="../../etc/passwd"), "NOT_FOUND"),
    Case("publish to an unknown topic id", publish(topic="", topic_id=UINT64_MAX), "NOT_FOUND"),
    Case("publish where a log ends, of any partition", publish(expected_end_offset=0), REFUSED),
    Case("publish where a log cannot end", publish(partition=0, expected_end_offset=-1), REFUSED),
    Case("publish to a partition out of range", publish(partition=4), "NOT_FOUND"),
    Case("publish to partition 2^32-1", publish(partition=2**32 - 1), "NOT_FOUND"),
    Case("publish to a partition past 32 bits", publish_raw(b"\x18" + varint(UINT64_MAX) + field(4, b"")), REFUSED),
    Case("publish of a record of random bytes", publish_raw(field(4, b"\xff" * 100)), REFUSED),
    Case("publish of a record with two keys", publish_raw(field(4, field(1, b"a") + field(1, b"b"))), REFUSED),
    Case("publish of a record with an unknown field", publish_raw(field(4, field(9, b"a"))), "UNIMPLEMENTED"),
    Case("publish with a header key that is no UTF-8", publish_raw(field(4, field(3, field(1, b"\xff")))), REFUSED),
    Case("publish with an offset delta", publish(records=[{"offset_delta": 1}]), REFUSED),
    Case("publish from before 1970", publish(records=[{"timestamp_ms": -1}]), REFUSED),
    Case("publish at the end of time", publish(records=[{"timestamp_ms": 2**63 - 1}]), "OK"),
    Case("publish of a record whose length lies", publish_raw(b"\x22\xff\xff\xff\xff\x07"), REFUSED),
    Case("publish of 10,001 records", publish_raw(field(4, b"") * 10_001), REFUSED),
    Case("publish of two million records", publish_raw(field(4, b"") * 2_000_000), REFUSED),
    Case("publish of a million headers", publish_raw(field(4, field(3, b"") * 1_000_000)), "OK"),
    Case("publish of a record over a batch's size", publish(records=[{"value": bytes(2 << 20)}]), "OK"),
    Case("publish over the limit", publish(records=[{"value": bytes(5 << 20)}]), "RESOURCE_EXHAUSTED"),
    Case("subscribe with random bytes", subscribe(os.urandom(1000)), REFUSED),
    Case("subscribe without a request", subscribe(), REFUSED),
    Case("subscribe with two requests", subscribe(FROM_THE_BEGINNING, FROM_THE_BEGINNING), REFUSED),
    Case("subscribe to no topic", subscription(topic=""), REFUSED),
    Case("subscribe to a topic that is not there", subscription(topic="absent"), "NOT_FOUND"),
    Case("subscribe to a partition out of range", subscription(partitions=[4]), "NOT_FOUND"),
    Case("subscribe to one partition twice", subscription(partitions=[1, 1]), REFUSED),
    Case("subscribe to one partition a million times", subscription(partitions=[0] * 1_000_000), REFUSED),
    Case("subscribe to all from one offset", subscription(position={"offset": 0}), REFUSED),
    Case("subscribe from below zero", subscription(partitions=[0], position={"offset": -1}), "OUT_OF_RANGE"),
    Case("subscribe from the end of time", subscription(partitions=[0], position={"offset": 2**63 - 1}),
         "OUT_OF_RANGE"),
    Case("subscribe from the lowest number", subscription(partitions=[0], position={"offset": -(2**63)}),
         "OUT_OF_RANGE"),
    Case("subscribe from a time below zero", subscription(position={"timestamp_ms": -(2**63)}), "OK"),
    Case("subscribe from the end of times", subscription(position={"timestamp_ms": 2**63 - 1}), "OK"),
    Case("subscribe called by hand without an end", raw_call(PATH, message(b"\xff")), REFUSED),
    Case("subscribe cancelled 200 times", http2(cancelled), "alive"),
    Case("200 subscribers that never read", http2(never_reads), "alive"),
]
