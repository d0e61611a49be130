"""Packed batches as a producer that compresses writes them, from the description in record.proto."""
import base64
import gzip
import random
import struct


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def gzip_batch(api, topic_id, partition, records):
    """A RecordBatch of the records, compressed with gzip, for this partition alone."""
    plain = api.Records(records=records).SerializeToString()
    packed = gzip.compress(plain)
    return api.RecordBatch(
        record_count=len(records), max_timestamp_ms=max(record.timestamp_ms for record in records),
        compression=api.COMPRESSION_GZIP, uncompressed_size=len(plain), packed=packed,
        checksum=crc32c(packed + struct.pack("<QI", topic_id, partition)))


def large_texts(count=1090):
    """So many lines of text that take nearly 4 MiB as a batch's records, and less than 1 MiB with gzip."""
    chance = random.Random(count)
    return [f"{n} {base64.b64encode(chance.randbytes(693)).decode() * 4}" for n in range(count)]
