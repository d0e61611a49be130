"""What is wrong on Produce streams, and in what is produced."""
import gzip
import struct

from case import Case, http2, produce
from http2 import SECONDS_MAX, message

PATH = "/millrace.v1.ProducerService/Produce"
INIT = b"\x0a\x00"
INT64_MAX = 2**63 - 1
GZIP_BOMB_SIZE = 16 << 20
GZIP_BOMB = gzip.compress(bytes(GZIP_BOMB_SIZE))


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return crc ^ 0xFFFFFFFF


def field(number, payload):
    """A length-delimited protobuf field by hand."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def batch(**fields):
    """A ProduceRequest of one batch with one record, unless `records` says otherwise."""
    envelope = {name: fields.pop(name) for name in ("topic", "topic_id", "partition", "expected_end_offset")
                if name in fields}

    def make(target):
        made = target.batch(**fields)
        for name, value in envelope.items():
            setattr(made, name, value)
        return target.api.ProduceRequest(batches=[made])
    return make


def given(away=0, **fields):
    """A batch under a producer id that the broker gave, or `away` from one."""
    def make(target):
        with target.channel() as channel:
            stub = target.api.ProducerServiceStub(channel)
            told = stub.InitProducer(target.api.InitProducerRequest(), timeout=SECONDS_MAX)
        return batch(producer_id=told.producer_id + away, **fields)(target)
    return make


def batch_bytes(inner, topic=b"events"):
    """A ProduceRequest whose RecordBatch is just these bytes."""
    return field(2, field(1, topic) + field(15, inner))


def packed(compression=0, checksum=None, payload=None, **fields):
    """A batch of one packed record; right unless told otherwise."""
    def make(target):
        api = target.api
        body = api.Records(records=[api.Record(value=b"v")]).SerializeToString() if payload is None else payload
        covered = body + struct.pack("<QI", target.topic_id, 0)
        fields.setdefault("record_count", 1)
        made = api.RecordBatch(packed=body, compression=compression, **fields)
        made.checksum = crc32c(covered) if checksum is None else checksum
        wanted = api.ProduceBatch(topic=target.topic, batch_id=7, batch=made)
        return api.ProduceRequest(batches=[wanted])
    return make


def both_encodings(target):
    made = target.batch()
    made.batch.packed = b"x"
    return target.api.ProduceRequest(batches=[made])


def many_batches(count, inner=b""):
    return batch_bytes(inner) * count


def half_of(target):
    return batch()(target).SerializeToString()[:-3]


def record(value):
    return field(14, field(2, value))


def cancelled(connection):
    """Cancels with a batch on its way, a hundred times."""
    for _ in range(100):
        stream = connection.call(PATH)
        connection.data(stream, message(INIT) + message(batch_bytes(record(b"x"))))
        connection.reset(stream)
    return connection.connection_outcome()


def half_closed_at_once(connection):
    stream = connection.call(PATH, end=True)
    return connection.outcome(stream)


REFUSED = "OK [INVALID_ARGUMENT]"
NEVER_GIVEN = "OK [NOT_FOUND]"

CASES = [
    Case("batch before init", produce(batch()), "INVALID_ARGUMENT"),
    Case("init twice", produce(INIT, INIT), "INVALID_ARGUMENT"),
    Case("init with batches", produce(lambda t: INIT + batch()(t).SerializeToString()), "INVALID_ARGUMENT"),
    Case("empty first message", produce(b""), "INVALID_ARGUMENT"),
    Case("empty message after init", produce(INIT, b""), "INVALID_ARGUMENT"),
    Case("stream without a message", produce(), "OK"),
    Case("init alone", produce(INIT), "OK"),
    Case("half-closed at once", http2(half_closed_at_once), "OK"),
    Case("client id of 250 bytes", produce(field(1, field(1, b"c" * 250))), "INVALID_ARGUMENT"),
    Case("message of random bytes", produce(INIT, bytes(range(255, 0, -1))), "INVALID_ARGUMENT"),
    Case("message cut in half", produce(INIT, half_of), "INVALID_ARGUMENT"),
    Case("field length of 2 GiB", produce(INIT, b"\x12\xff\xff\xff\xff\x07x"), "INVALID_ARGUMENT"),
    Case("varint of 11 bytes", produce(INIT, b"\x12" + b"\xff" * 11), "INVALID_ARGUMENT"),
    # Its number is that of no field: a request that changes something says so before it looks further.
    Case("group nested 10000 deep", produce(INIT, b"\xa3\x06" * 10_000), "UNIMPLEMENTED"),
    Case("batch without a record batch", produce(INIT, field(2, field(1, b"events"))), "INVALID_ARGUMENT"),
    Case("record batch twice", produce(INIT, field(2, field(15, b"") * 2)), "INVALID_ARGUMENT"),
    Case("unknown field in a message",
         produce(INIT, lambda t: field(99, b"x") + batch()(t).SerializeToString()), "UNIMPLEMENTED"),
    Case("unknown field in a record batch", produce(INIT, batch_bytes(field(99, b"x") + record(b"x"))), REFUSED),
    Case("producer id twice", produce(INIT, batch_bytes(b"\x08\x01\x08\x01" + record(b"x"))), REFUSED),
    Case("fields in the wrong order", produce(INIT, batch_bytes(record(b"x") + b"\x20\x01")), REFUSED),
    Case("empty record batch", produce(INIT, batch_bytes(b"")), REFUSED),
    Case("record batch of random bytes", produce(INIT, batch_bytes(bytes(range(255)))), REFUSED),
    Case("record count that lies", produce(INIT, batch(record_count=5)), REFUSED),
    Case("record count of 2^32-1", produce(INIT, batch(record_count=2**32 - 1)), REFUSED),
    Case("sequence that begins with a gap", produce(INIT, given(first_sequence=5)), "OK [FAILED_PRECONDITION]"),
    Case("sequence past 2^31", produce(INIT, given(first_sequence=2**32 - 1)), REFUSED),
    Case("expected end below zero", produce(INIT, batch(expected_end_offset=-1)), REFUSED),
    Case("expected end of 2^63-1", produce(INIT, batch(expected_end_offset=INT64_MAX)), "OK [FAILED_PRECONDITION]"),
    Case("producer id that somebody made up", produce(INIT, batch(producer_id=7)), NEVER_GIVEN),
    Case("producer id of 2^64-1", produce(INIT, batch(producer_id=2**64 - 1, first_sequence=3)), NEVER_GIVEN),
    Case("producer id beside a given one", produce(INIT, given(away=1)), NEVER_GIVEN),
    Case("producer id out of a block that is given out", produce(INIT, given(away=500)), NEVER_GIVEN),
    Case("producer id of another mark", produce(INIT, given(away=2**40)), NEVER_GIVEN),
    Case("producer epoch of 32,767", produce(INIT, given(producer_epoch=32_767)), REFUSED),
    Case("producer epoch of 2^32-1", produce(INIT, given(producer_epoch=2**32 - 1)), REFUSED),
    Case("timestamp a century ahead",
         produce(INIT, lambda t: batch(records=[t.api.Record(value=b"x", timestamp_ms=4 * 10**12)])(t)), REFUSED),
    Case("timestamp below zero",
         produce(INIT, lambda t: batch(records=[t.api.Record(value=b"x", timestamp_ms=-5)])(t)),
         (REFUSED, "OK [OK]")),
    Case("largest timestamp", produce(INIT, batch(max_timestamp_ms=INT64_MAX)), REFUSED),
    Case("unknown compression", produce(INIT, packed(compression=77)), REFUSED),
    Case("compression below zero", produce(INIT, packed(compression=-1)), REFUSED),
    Case("bad checksum", produce(INIT, packed(checksum=12345)), (REFUSED, "OK [DATA_LOSS]")),
    Case("packed bytes that are no records", produce(INIT, packed(payload=b"\xff" * 50)), REFUSED),
    Case("gzip that is none", produce(INIT, packed(compression=2, payload=b"\xff" * 50, uncompressed_size=100)),
         REFUSED),
    Case("zstd that unpacks to 4 GiB by its own word",
         produce(INIT, packed(compression=5, payload=bytes.fromhex("28b52ffde4") + struct.pack("<I", 2**32 - 1)
                              + bytes(40), uncompressed_size=2**32 - 1)), REFUSED),
    Case("gzip bomb that says 100 bytes",
         produce(INIT, packed(compression=2, payload=GZIP_BOMB, uncompressed_size=100)), REFUSED),
    Case("gzip bomb that says its size",
         produce(INIT, packed(compression=2, payload=GZIP_BOMB, uncompressed_size=GZIP_BOMB_SIZE)), REFUSED),
    Case("gzip that is cut off",
         produce(INIT, packed(compression=2, payload=GZIP_BOMB[:-9], uncompressed_size=1 << 20)), REFUSED),
    Case("snappy that says 4 GiB",
         produce(INIT, packed(compression=3, payload=b"\xff\xff\xff\xff\x0f\x00x", uncompressed_size=1 << 20)), REFUSED),
    Case("both encodings at once", produce(INIT, both_encodings), REFUSED),
    Case("offset delta that a producer sets",
         produce(INIT, lambda t: batch(records=[t.api.Record(value=b"x", offset_delta=9)])(t)),
         (REFUSED, "OK [OK]")),
    Case("topic that is not there", produce(INIT, batch(topic="absent")), "OK [NOT_FOUND]"),
    Case("no topic at all", produce(INIT, batch(topic="")), REFUSED),
    Case("topic id that is not there", produce(INIT, batch(topic="", topic_id=2**64 - 1)), "OK [NOT_FOUND]"),
    Case("topic name that is no UTF-8", produce(INIT, batch_bytes(record(b"x"), topic=b"\xff\xfe")),
         "OK [NOT_FOUND]"),
    Case("topic name of 1 MiB", produce(INIT, batch_bytes(record(b"x"), topic=b"t" * (1 << 20))),
         "OK [NOT_FOUND]"),
    Case("partition out of range", produce(INIT, batch(partition=4)), "OK [NOT_FOUND]"),
    Case("partition of 2^32-1", produce(INIT, batch(partition=2**32 - 1)), "OK [NOT_FOUND]"),
    Case("partition past 32 bits",
         produce(INIT, field(2, b"\x18" + varint(2**40) + field(15, record(b"x")))), "INVALID_ARGUMENT"),
    Case("batch over the topic's limit", produce(INIT, batch_bytes(record(b"x" * ((1 << 20) + 5)))), REFUSED),
    Case("message over the limit", produce(INIT, batch_bytes(record(b"x" * (5 << 20)))), "RESOURCE_EXHAUSTED"),
    Case("a million empty batches in a message", produce(INIT, field(2, field(15, b"")) * 1_000_000),
         "INVALID_ARGUMENT"),
    Case("cancelled in the middle", http2(cancelled), "alive"),
]
