"""What is wrong on Fetch streams."""
from case import Case, fetch, http2
from cases_produce import field, varint
from http2 import message

PATH = "/millrace.v1.ConsumerService/Fetch"
INIT = b"\x0a\x00"
UINT64_MAX = 2**64 - 1
INT64_MAX = 2**63 - 1


def add(init=True, credit=1 << 20, count=1, position=None, **fields):
    """A FetchRequest that adds `count` times the same partition, under different fetch_ids."""
    def make(target):
        api = target.api
        fields.setdefault("topic", target.topic)
        where = api.Position(**(position if position is not None else {"earliest": True}))
        first = fields.pop("fetch_id", 1)
        adds = [api.FetchPartition(fetch_id=first + i, position=where, **fields) for i in range(count)]
        return api.FetchRequest(init=api.FetchInit() if init else None, add=adds, credit_bytes=credit)
    return make


def without_position(target):
    api = target.api
    return api.FetchRequest(init=api.FetchInit(), add=[api.FetchPartition(topic=target.topic)], credit_bytes=1)


def cancelled(connection):
    for _ in range(200):
        stream = connection.call(PATH)
        connection.data(stream, message(INIT + field(2, field(2, b"events") + b"\x2a\x02\x10\x01") + b"\x20\x40"))
        connection.reset(stream)
    return connection.connection_outcome()


def never_reads(connection):
    """200 streams with all the credit there is, and a window of nothing."""
    for _ in range(200):
        stream = connection.call(PATH)
        connection.data(stream, message(INIT + field(2, field(2, b"events") + b"\x2a\x02\x10\x01")
                                        + b"\x20" + varint(INT64_MAX)))
    return connection.connection_outcome()


LATEST = b"\x2a\x02\x18\x01"

CASES = [
    Case("fetch before init", fetch(add(init=False)), "INVALID_ARGUMENT"),
    Case("fetch init twice", fetch(add(), add()), ("INVALID_ARGUMENT", "INVALID_ARGUMENT [OK]")),
    Case("fetch with an empty first message", fetch(b""), "INVALID_ARGUMENT"),
    Case("fetch of random bytes", fetch(bytes(range(255, 0, -1))), "INVALID_ARGUMENT"),
    Case("fetch client id of 250 bytes", fetch(field(1, field(1, b"c" * 250))), "INVALID_ARGUMENT"),
    Case("fetch client id that is no UTF-8", fetch(field(1, field(1, b"\xff\xff"))), "INVALID_ARGUMENT"),
    Case("fetch of a topic that is not there", fetch(add(topic="absent")), "OK [NOT_FOUND]"),
    Case("fetch of no topic", fetch(add(topic="")), "OK [INVALID_ARGUMENT]"),
    Case("fetch of a topic id that is not there", fetch(add(topic="", topic_id=UINT64_MAX)), "OK [NOT_FOUND]"),
    Case("fetch of a partition out of range", fetch(add(partition=4)), "OK [NOT_FOUND]"),
    Case("fetch of partition 2^32-1", fetch(add(partition=2**32 - 1)), "OK [NOT_FOUND]"),
    Case("fetch without a position", fetch(without_position), "OK [INVALID_ARGUMENT]"),
    Case("fetch from below zero", fetch(add(position={"offset": -1}), answers=2), "OK [OK, OUT_OF_RANGE]"),
    Case("fetch from the end of time", fetch(add(position={"offset": INT64_MAX}), answers=2),
         "OK [OK, OUT_OF_RANGE]"),
    Case("fetch from the lowest number", fetch(add(position={"offset": -(2**63)}), answers=2),
         "OK [OK, OUT_OF_RANGE]"),
    Case("fetch from a time below zero", fetch(add(position={"timestamp_ms": -1})),
         ("OK [OK]", "OK [INVALID_ARGUMENT]")),
    Case("credit of 2^64-1", fetch(add(credit=UINT64_MAX), answers=2), "OK [OK]"),
    Case("credit that overflows", fetch(add(credit=UINT64_MAX), *[b"\x20" + varint(UINT64_MAX)] * 100, answers=2),
         "OK [OK]"),
    Case("fetch without credit", fetch(add(credit=0)), "OK [OK]"),
    Case("removal of unknown fetch ids", fetch(INIT, field(3, bytes(range(1, 100))), add(init=False)), "OK [OK]"),
    Case("same fetch id added 1000 times",
         fetch(INIT, lambda t: add(init=False)(t).SerializeToString() * 1000), "OK [OK]"),
    Case("10,000 partitions in one message", fetch(add(count=10_000, credit=0), answers=10_000), "OK [OK]"),
    Case("100,000 partitions in one message", fetch(add(count=100_000, credit=0), answers=100_000),
         "INVALID_ARGUMENT"),
    Case("a million empty additions", fetch(INIT + field(2, b"") * 1_000_000, answers=1_000_000),
         "INVALID_ARGUMENT"),
    Case("unknown compressions accepted", fetch(lambda t: b"\x0a\x05\x12\x03\x63\x64\x65"
                                                + add(init=False)(t).SerializeToString()), "OK [OK]"),
    Case("unknown fields in a fetch", fetch(lambda t: field(99, b"x" * 1000) + add()(t).SerializeToString()),
         "OK [OK]"),
    Case("fetch cancelled 200 times", http2(cancelled), "alive"),
    Case("200 fetches that never read", http2(never_reads), "alive"),
]
