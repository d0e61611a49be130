"""What is wrong below the calls: no HTTP/2, bad frames, floods, lies about lengths and encodings."""
import os
import socket
import struct
import time

from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame, PriorityFrame, SettingsFrame

from case import GOOD_CALL, INFO, Case, http2, raw_call
from http2 import PREFACE, Http2, connect, message, wait_closed

HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 1, 2, 3, 4, 6, 8, 9
PRODUCE = "/millrace.v1.ProducerService/Produce"
TLS_CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + os.urandom(189)
GIB = 1 << 30


def sends(data):
    """Raw bytes on a new connection; what becomes of it."""
    def attack(target):
        with connect(target.address) as held:
            held.sendall(data)
            return wait_closed(held, 3)
    return attack


def frame(kind, flags, stream, payload, length=None):
    """One frame on a connection that is otherwise good."""
    def act(connection):
        connection.raw_frame(kind, flags, stream, payload, length)
        return connection.connection_outcome()
    return http2(act)


def connects_and_leaves(target):
    for _ in range(200):
        connect(target.address).close()
    return "done"


def resets_connections(target):
    """RST in place of FIN, in the middle of a frame."""
    for _ in range(100):
        held = connect(target.address)
        held.sendall(PREFACE + b"\0\0\x06\x04\0\0\0\0\0" + b"\0\0")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        held.close()
    return "done"


def flood(make, count):
    def act(connection):
        one = make(connection)
        for _ in range(count // 100):
            connection.send(one * 100)
            if connection.is_closed:
                break
        return connection.connection_outcome()
    return http2(act)


def ping(_):
    return PingFrame(0, opaque_data=b"12345678").serialize()


def settings(_):
    return SettingsFrame(0, settings={4: 65535}).serialize()


def empty_data(connection):
    return DataFrame(connection.call(PRODUCE), b"").serialize()


def priority(_):
    return PriorityFrame(1, depends_on=0, stream_weight=3).serialize()


def rapid_reset(connection):
    for _ in range(3000):
        connection.reset(connection.call(INFO))
        if connection.is_closed:
            break
    return connection.connection_outcome()


def made_you_reset(connection):
    """Makes the server do the resetting: a window update of nothing on each stream."""
    for _ in range(1000):
        connection.raw_frame(WINDOW_UPDATE, 0, connection.call(INFO), bytes(4))
        if connection.is_closed:
            break
    return connection.connection_outcome()


def reset_in_message(connection):
    for _ in range(50):
        stream = connection.call(PRODUCE)
        connection.data(stream, message(b"x" * 100, length=10_000))
        connection.reset(stream)
    return connection.connection_outcome()


def leaves_in_message(target):
    for _ in range(20):
        with Http2(target.address) as connection:
            stream = connection.call(PRODUCE)
            connection.data(stream, message(b"x" * 50_000, length=3 << 20))
    return "done"


def endless_continuation(connection):
    connection.raw_frame(HEADERS, 0, 1, b"")
    for _ in range(2000):
        connection.raw_frame(CONTINUATION, 0, 1, bytes([0x00, 1, 97, 0x7F, 0x80, 0x7E]) + b"v" * 16_300)
        if connection.is_closed:
            break
    return connection.connection_outcome()


def hpack_bomb(connection):
    """One large header in the table, named again a thousand times over, a byte each."""
    large = b"\x40\x01a\x7f\x81\x1e" + b"v" * 4000
    connection.raw_frame(HEADERS, 0x4, 1, large)
    for i in range(200):
        connection.raw_frame(HEADERS, 0x5, 3 + 2 * i, b"\xbe" * 16_000)
        if connection.is_closed:
            break
    return connection.connection_outcome()


def with_headers(count, size):
    def act(connection):
        stream = connection.call(INFO, headers=[(f"h{i}", "v" * size) for i in range(count)])
        connection.data(stream, GOOD_CALL, end=True)
        return connection.outcome(stream)
    return http2(act)


def one_byte_a_second(connection):
    stream = connection.call(INFO)
    for byte in GOOD_CALL[:3]:
        connection.data(stream, bytes([byte]))
        time.sleep(1)
    return connection.connection_outcome()


def never_acknowledges_settings(target):
    with connect(target.address) as held:
        held.sendall(PREFACE + SettingsFrame(0).serialize())
        held.settimeout(3)
        return "alive" if held.recv(1000) else "closed"


def stream_numbers_go_back(connection):
    connection.next_stream = 101
    connection.data(connection.call(INFO), GOOD_CALL, end=True)
    connection.next_stream = 51
    connection.call(INFO, end=True)
    return connection.connection_outcome()


def goaway_and_on(connection):
    connection.send_frame(GoAwayFrame(0, last_stream_id=0, error_code=0))
    return connection.connection_outcome(2)


def zero_window(connection):
    """A client that takes no byte of any answer."""
    connection.send_frame(SettingsFrame(0, settings={4: 0}))
    streams = [connection.call(INFO) for _ in range(200)]
    for stream in streams:
        connection.data(stream, GOOD_CALL, end=True)
    return connection.connection_outcome()


def trailers_in_the_middle(connection):
    stream = connection.call(PRODUCE)
    connection.data(stream, message(b"\x0a\x00"))
    connection.raw_frame(HEADERS, 0x5, stream, connection.encoder.encode([("late", "header")]))
    return connection.outcome(stream)


LOST = ("GOAWAY", "closed")
CUT_SHORT = ("INTERNAL", "RESOURCE_EXHAUSTED")
TOO_LARGE = ("RESOURCE_EXHAUSTED", "UNKNOWN", "RST_STREAM", *LOST)

CASES = [
    Case("HTTP 1.1 request", sends(b"GET / HTTP/1.1\r\nHost: hostile\r\n\r\n"), "closed"),
    Case("HTTP 1.1 upgrade", sends(b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"), "closed"),
    Case("TLS client hello", sends(TLS_CLIENT_HELLO), "closed"),
    Case("random bytes", sends(os.urandom(65536)), "closed"),
    Case("random bytes behind the preface", sends(PREFACE + b"\xff" * 4096), "closed"),
    Case("zeros", sends(bytes(65536)), "closed"),
    Case("peers' handshake on the clients' port", sends(b"\x10\0\0\0\x01\0\0\0\x10\0\0\0" + bytes(20)), "closed"),
    Case("200 connections without a byte", connects_and_leaves, "done"),
    Case("100 connections reset in a frame", resets_connections, "done"),
    Case("settings never acknowledged", never_acknowledges_settings, "alive"),
    Case("frame longer than allowed", frame(0, 0, 1, b"x" * 20_000), (*LOST, "alive")),
    Case("frame length of 16 MiB", frame(0, 0, 1, b"x" * 100, length=0xFFFFFF), LOST),
    Case("settings of 5 bytes", frame(SETTINGS, 0, 0, b"\0\3\0\0\0"), LOST),
    Case("settings on a stream", frame(SETTINGS, 0, 1, b"\0\3\0\0\0\1"), LOST),
    Case("settings with a window of 2 GiB", frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), LOST),
    Case("settings with a frame size of 0", frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 0)), LOST),
    Case("ping of 7 bytes", frame(PING, 0, 0, b"1234567"), LOST),
    Case("window update of 0", frame(WINDOW_UPDATE, 0, 0, bytes(4)), LOST),
    Case("window update past 2 GiB", flood(lambda _: b"\0\0\4\x08\0\0\0\0\0\x7f\xff\xff\xff", 200), (*LOST, "alive")),
    Case("data on stream 0", frame(0, 0, 0, b"x"), (*LOST, "alive")),
    Case("data on a stream that was never opened", frame(0, 0, 7, b"x"), ("alive", *LOST)),
    Case("padding longer than the frame", frame(0, 0x8, 1, b"\xff" + b"x" * 10), (*LOST, "alive")),
    Case("headers on stream 0", frame(HEADERS, 0x5, 0, b""), (*LOST, "alive")),
    Case("headers on an even stream", frame(HEADERS, 0x5, 2, b""), (*LOST, "alive")),
    Case("continuation of nothing", frame(CONTINUATION, 0x4, 1, b""), LOST),
    Case("headers that are no HPACK", frame(HEADERS, 0x5, 1, b"\xff" * 100), LOST),
    Case("header table index out of range", frame(HEADERS, 0x5, 1, b"\xfe"), LOST),
    Case("reset of a stream that was never opened", frame(RST_STREAM, 0, 9, bytes(4)), ("alive", *LOST)),
    Case("priority of itself", frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 1)), ("alive", *LOST)),
    Case("frame of an unknown type", frame(0xBE, 0xFF, 0, b"x" * 1000), "alive"),
    Case("push promise from a client", frame(5, 0x4, 1, struct.pack(">I", 2)), ("alive", *LOST)),
    Case("stream numbers go back", http2(stream_numbers_go_back), ("alive", *LOST)),
    Case("goaway and on", http2(goaway_and_on), ("alive", *LOST)),
    Case("flood of pings", flood(ping, 20_000), LOST),
    Case("flood of settings", flood(settings, 20_000), ("alive", *LOST)),
    Case("flood of empty data", flood(empty_data, 20_000), ("alive", *LOST)),
    Case("flood of priorities", flood(priority, 20_000), ("alive", *LOST)),
    Case("rapid reset", http2(rapid_reset), ("alive", *LOST)),
    Case("rapid reset by the server", http2(made_you_reset), ("alive", *LOST)),
    Case("endless continuation", http2(endless_continuation), (*LOST, "alive")),
    Case("HPACK bomb", http2(hpack_bomb), (*LOST, "alive")),
    Case("zero window", http2(zero_window), "alive"),
    Case("reset in a message", http2(reset_in_message), "alive"),
    Case("connection lost in a message", leaves_in_message, "done"),
    Case("one byte a second", http2(one_byte_a_second), "alive"),
    Case("headers of 64 KiB", with_headers(16, 4000), TOO_LARGE),
    Case("a header of 15 KiB", with_headers(1, 15_000), TOO_LARGE),
    Case("1000 headers", with_headers(1000, 10), TOO_LARGE),
    Case("trailers in the middle", http2(trailers_in_the_middle), ("OK", "INVALID_ARGUMENT")),
    Case("content type of JSON", raw_call(INFO, GOOD_CALL, headers=[("content-type", "application/json")]),
         ("UNKNOWN", "HTTP 415", "OK")),
    Case("no content type", raw_call(INFO, GOOD_CALL, without=["content-type"]), ("UNKNOWN", "HTTP 415", "OK")),
    Case("no te", raw_call(INFO, GOOD_CALL, without=["te"]), ("UNKNOWN", "INTERNAL", "OK")),
    Case("no path", raw_call(INFO, GOOD_CALL, without=[":path"]), ("INTERNAL", "UNKNOWN", "RST_STREAM")),
    Case("method GET", raw_call(INFO, GOOD_CALL, method="GET"), ("UNKNOWN", "INTERNAL", "RST_STREAM", "OK")),
    Case("method CONNECT", raw_call(INFO, GOOD_CALL, method="CONNECT"), ("UNKNOWN", "INTERNAL", "RST_STREAM", "OK")),
    Case("scheme ftp", raw_call(INFO, GOOD_CALL, scheme="ftp"), ("OK", "UNKNOWN", "INTERNAL", "RST_STREAM")),
    Case("upper-case header name", raw_call(INFO, GOOD_CALL, headers=[("X-Shout", "1")]),
         ("OK", "INTERNAL", "RST_STREAM", *LOST)),
    Case("binary header that is no base64", raw_call(INFO, GOOD_CALL, headers=[("x-bin", "!!!!")]),
         ("UNAVAILABLE", "INTERNAL", "UNKNOWN", "RST_STREAM", *LOST)),
    Case("compressed flag without an encoding", raw_call(INFO, message(b"\0" * 20, flag=1)), ("INTERNAL", "OK")),
    Case("compressed flag of 255", raw_call(INFO, message(b"x", flag=255)), ("INTERNAL", "OK")),
    Case("gzip", raw_call(INFO, message(b"\x1f\x8b" + b"\0" * 20, flag=1), headers=[("grpc-encoding", "gzip")]),
         "UNIMPLEMENTED"),
    Case("unknown encoding", raw_call(INFO, message(b"", flag=1), headers=[("grpc-encoding", "zip")]),
         ("UNIMPLEMENTED", "OK")),
    Case("message length of 2 GiB", raw_call(INFO, message(b"x", length=2 * GIB)), CUT_SHORT),
    Case("message length of 4 GiB", raw_call(INFO, message(b"x", length=4 * GIB - 1)), CUT_SHORT),
    Case("message length one over the limit", raw_call(INFO, message(b"x", length=(4 << 20) + 1)), CUT_SHORT),
    Case("message cut short", raw_call(INFO, message(b"x" * 10, length=100)), CUT_SHORT),
    Case("message header cut short", raw_call(INFO, b"\0\0\0"), CUT_SHORT),
    Case("no message", raw_call(INFO), ("INTERNAL", "CANCELLED", "UNIMPLEMENTED")),
    Case("two messages where one belongs", raw_call(INFO, GOOD_CALL * 2), ("OK", "UNIMPLEMENTED", "INTERNAL")),
    # INTERNAL: over before its message was there, which gRPC takes for a call without one.
    Case("timeout of nothing", raw_call(INFO, GOOD_CALL, headers=[("grpc-timeout", "0m")]),
         ("DEADLINE_EXCEEDED", "RST_STREAM", "OK", "INTERNAL")),
    Case("timeout below zero", raw_call(INFO, GOOD_CALL, headers=[("grpc-timeout", "-1S")]),
         ("OK", "INTERNAL", "DEADLINE_EXCEEDED", "RST_STREAM")),
    Case("timeout of 11,000 years", raw_call(INFO, GOOD_CALL, headers=[("grpc-timeout", "99999999H")]), "OK"),
    Case("timeout that is no number", raw_call(INFO, GOOD_CALL, headers=[("grpc-timeout", "soon")]),
         ("OK", "INTERNAL", "RST_STREAM")),
]
