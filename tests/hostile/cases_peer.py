"""What is wrong on the port for other brokers (docs/formats.md, "Peer frame")."""
import os
import struct

from case import Case
from cases_produce import crc32c, field, varint
from http2 import PREFACE, connect, wait_closed

MIB = 1 << 20


def frame(kind, header, length=None, crc=None, flags=0, header_length=None):
    prefix = struct.pack("<IBBHI", len(header) if length is None else length, kind, flags, 0,
                         len(header) if header_length is None else header_length)
    checksum = crc32c(prefix + header) if crc is None else crc
    return prefix + struct.pack("<I", checksum) + header


def hello(version=1, name=b"millrace", uuid=0, broker=2, lane=1, receiver=1):
    return (b"\x08" + varint(version) + field(2, name) + b"\x19" + struct.pack("<Q", uuid) + b"\x20" + varint(broker)
            + b"\x29" + struct.pack("<Q", 77) + b"\x30\x01\x38" + varint(lane) + b"\x40" + varint(receiver)
            + b"\x48\x01")


def sends(data, seconds=4):
    """What became of the connection; `refused` if the broker said why."""
    def attack(target):
        with connect(target.peer_address) as held:
            try:
                held.sendall(data)
                held.settimeout(seconds)
                answer = held.recv(1 << 16)
            except TimeoutError:
                return "silent"
            except OSError:
                return "closed"
            if len(answer) > 4 and answer[4] == 2:
                # Whoever reaches the port is told this much: which rule, and no name and no number.
                text = answer[20:].decode(errors="replace")  # behind code and length
                return "named" if "millrace" in text or any(c.isdigit() for c in text) else "refused"
            return wait_closed(held, seconds) if answer else "closed"
    return attack


def half_a_frame(target):
    for _ in range(50):
        with connect(target.peer_address) as held:
            held.sendall(frame(1, hello())[:20])
    return "done"


def many_silent(target):
    """500 strangers at once who say nothing."""
    held = [connect(target.peer_address) for _ in range(500)]
    for one in held:
        one.close()
    return "done"


def garbage_without_end(target):
    """Strangers of every kind, thousands of them: what they may write into the log is a few lines."""
    before = target.log_lines()
    for i in range(3000):
        with connect(target.peer_address) as held:
            held.sendall((os.urandom(64), frame(1, hello(name=b"guess %d" % i)), frame(1, b"\x12\x02\xff\xff"))[i % 3])
            wait_closed(held)
    more = target.log_lines() - before
    return "done" if more <= 5 else f"{more} lines of log"


OVER = ("closed", "refused")

CASES = [
    Case("peers: random bytes", sends(os.urandom(4096)), OVER),
    Case("peers: zeros", sends(bytes(4096)), OVER),
    Case("peers: HTTP", sends(b"GET / HTTP/1.1\r\n\r\n"), OVER),
    Case("peers: HTTP/2", sends(PREFACE), OVER),
    Case("peers: frame of 4 GiB", sends(frame(1, hello(), length=2**32 - 1)), OVER),
    Case("peers: frame of 17 KiB before the handshake", sends(frame(1, hello(), length=17 << 10)), OVER),
    Case("peers: header longer than its frame", sends(frame(1, hello(), header_length=2**32 - 1)), OVER),
    Case("peers: wrong checksum", sends(frame(1, hello(), crc=1)), OVER),
    Case("peers: unknown kind", sends(frame(200, hello())), OVER),
    Case("peers: flags set", sends(frame(1, hello(), flags=0xFF)), OVER),
    Case("peers: append before the handshake", sends(frame(6, b"")), OVER),
    Case("peers: hello that is no protobuf", sends(frame(1, b"\xff" * 30)), OVER),
    Case("peers: empty hello", sends(frame(1, b"")), OVER),
    Case("peers: another format", sends(frame(1, hello(version=99))), OVER),
    Case("peers: another cluster", sends(frame(1, hello(name=b"other"))), OVER),
    Case("peers: another cluster UUID", sends(frame(1, hello(uuid=12345))), OVER),
    Case("peers: for another broker", sends(frame(1, hello(receiver=9))), OVER),
    Case("peers: the broker's own id", sends(frame(1, hello(broker=1))), OVER),
    Case("peers: a broker that nobody listed", sends(frame(1, hello(broker=99))), OVER),
    Case("peers: unknown lane", sends(frame(1, hello(lane=9))), OVER),
    Case("peers: half a frame", half_a_frame, "done"),
    Case("peers: thousands of all this", garbage_without_end, "done"),
    Case("peers: 500 strangers who say nothing", many_silent, "done"),
]
