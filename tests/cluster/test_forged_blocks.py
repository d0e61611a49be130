"""What a producer sends lies in the journal, and old bytes of a recycled file are searched for blocks at a start: a
producer who knows what the internal port tells of a broker must not be able to write something that passes for one."""
import signal
import struct

from test_damage import SMALL_FILES

ROWS = 400_000
INCARNATION_AT = 32  # docs/formats.md, "Superblock"
# A record of so many bytes takes four more of its batch: 77, which shares no factor with 4096, so that a multiple of
# 4096 falls on each of its bytes sooner or later.
PADDING = b"x"
HEADER_BYTES = 72


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def forged_block(key, sequence):
    """An empty block, as docs/formats.md draws it: it says that everything was durable, in a file that is yet to come.
    Without line ends, since a record is a line."""
    for lsn in range(1 << 40, (1 << 40) + 1000):
        def header(crc, lsn=lsn):
            return struct.pack("<4sHHIIQQQQQIIII", b"MRLJ", 1, 0, crc, crc32c(b""), key, sequence, sequence, lsn, lsn,
                               HEADER_BYTES, 0, 0, 0)
        block = header(crc32c(header(0)))
        if b"\n" not in block:
            assert len(block) == HEADER_BYTES
            return block
    raise AssertionError(f"every block of {key:#x} holds a line end")


def started_single(make_cluster):
    """A broker and its incarnation, which is random: one of 30 holds a line end and could not be sent."""
    for attempt in range(10):
        single = make_cluster(count=1, flags=SMALL_FILES, subfolder=f"attempt-{attempt}")
        single.start_all()
        superblock = (single.brokers[1].data_dir / "SUPERBLOCK").read_bytes()
        incarnation = superblock[INCARNATION_AT:INCARNATION_AT + 8]
        if b"\n" not in incarnation:
            return single, int.from_bytes(incarnation, "little")
        single.stop_all()
    raise AssertionError("ten incarnations with a line end")


def high_watermark(cluster):
    return cluster.json("topic", "describe", "forged")["partitions"][0]["high_watermark"]


def test_producers_bytes_never_pose_as_a_block(make_cluster, folder):
    single, incarnation = started_single(make_cluster)
    broker = single.brokers[1]
    single.run("topic", "create", "forged")
    payload = folder / "payload"
    payload.write_bytes((forged_block(incarnation, 1000) + PADDING + b"\n") * ROWS)
    for start in range(3):
        single.run("produce", "forged", payload)
        stored = high_watermark(single)
        assert stored == ROWS * (start + 1)
        broker.end(signal.SIGKILL)
        said_before = len(broker.log_text())
        single.start(1)
        single.wait_alive([1])
        said = broker.log_text()[said_before:]
        assert "damage" not in said and "silent" not in said, said
        assert high_watermark(single) == stored
