"""One HTTP/2 connection by hand, for what no client library would send.

    with Http2(address) as connection:
        stream = connection.call("/millrace.v1.MetadataService/GetServerInfo")
        connection.data(stream, message(b""), end=True)
        assert connection.outcome(stream) == "OK"

Frames are made with hyperframe and headers with hpack. Every wait has a deadline; what the server did is told as one
word: a gRPC status, `RST_STREAM`, `GOAWAY`, `closed` (the connection), `HTTP <status>`, or `silent`.
"""
import socket
import struct
import time

from hpack import Decoder, Encoder
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame,
                              RstStreamFrame, SettingsFrame, WindowUpdateFrame)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SECONDS_MAX = 5
PROBE = b"alive?!?"
STATUS_NAMES = ("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
                "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
                "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")


def message(body, flag=0, length=None):
    """A gRPC message: compressed flag, length, body; `length` may lie."""
    return struct.pack(">BI", flag, len(body) if length is None else length) + body


def connect(address):
    host, port = address.rsplit(":", 1)
    held = socket.create_connection((host, int(port)), timeout=SECONDS_MAX)
    held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return held


def wait_closed(held, seconds_max=SECONDS_MAX):
    """`closed` once the other side ended the connection, `silent` if it did not."""
    deadline = time.monotonic() + seconds_max
    try:
        while (left := deadline - time.monotonic()) > 0:
            held.settimeout(left)
            if not held.recv(1 << 16):
                return "closed"
    except TimeoutError:
        return "silent"
    except OSError:
        return "closed"
    return "silent"


class Http2:
    def __init__(self, address, settings=None):
        self.socket = connect(address)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.next_stream = 1
        self.received = b""
        self.headers = {}  # by stream: those of the last block
        self.ended = {}  # by stream: how
        self.is_closed = False
        self.goaway = None
        self.pongs = 0
        self.initial_window = 65_535
        self.windows = {}  # by stream, 0 for the connection: what may be sent beyond the initial window
        self.has_settings = False
        self.send(PREFACE)
        self.send_frame(SettingsFrame(0, settings=settings or {}))
        # The server holds a client to its limits once they are acknowledged.
        self.wait(lambda: self.has_settings)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.socket.close()

    # Sending. A server that closes in the middle is an outcome, not an error of the test.

    def send(self, data):
        try:
            self.socket.settimeout(SECONDS_MAX)
            self.socket.sendall(data)
        except OSError:
            self.is_closed = True

    def send_frame(self, frame):
        self.send(frame.serialize())

    def raw_frame(self, kind, flags, stream, payload, length=None):
        size = len(payload) if length is None else length
        self.send(struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    def call(self, path, headers=(), without=(), end=False, **pseudo):
        """Opens a stream as a gRPC client would, with the changes asked for; its number."""
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "hostile"),
                  ("te", "trailers"), ("content-type", "application/grpc")]
        fields = [(name, pseudo.get(name.lstrip(":").replace("-", "_"), value)) for name, value in fields]
        changed = {name for name, _ in headers}
        fields = [field for field in fields if field[0] not in without and field[0] not in changed]
        return self.open(fields + list(headers), end)

    def open(self, fields, end=False):
        stream = self.next_stream
        self.next_stream += 2
        block = self.encoder.encode(fields)
        flags = ["END_HEADERS"] + (["END_STREAM"] if end else [])
        if len(block) <= 16000:
            self.send_frame(HeadersFrame(stream, block, flags=flags))
            return stream
        self.send_frame(HeadersFrame(stream, block[:16000], flags=flags[1:]))
        pieces = [block[at:at + 16000] for at in range(16000, len(block), 16000)]
        for piece in pieces[:-1]:
            self.send_frame(ContinuationFrame(stream, piece))
        self.send_frame(ContinuationFrame(stream, pieces[-1], flags=["END_HEADERS"]))
        return stream

    def data(self, stream, payload, end=False):
        pieces = [payload[at:at + 16000] for at in range(0, len(payload), 16000)] or [b""]
        for piece in pieces[:-1]:
            self.send_frame(DataFrame(stream, piece))
        self.send_frame(DataFrame(stream, pieces[-1], flags=["END_STREAM"] if end else []))

    def room(self, stream):
        """Bytes that flow control allows on the stream at this moment."""
        return min(65_535 + self.windows.get(0, 0), self.initial_window + self.windows.get(stream, 0))

    def fill(self, stream, payload):
        """Sends as much of the payload as flow control allows now; how much that was."""
        self.wait(lambda: True)
        size = min(self.room(stream), len(payload))
        if size > 0:
            self.data(stream, payload[:size])
            for number in (0, stream):
                self.windows[number] = self.windows.get(number, 0) - size
        return max(size, 0)

    def reset(self, stream, error_code=8):
        self.send_frame(RstStreamFrame(stream, error_code=error_code))

    def add_window(self, stream, count):
        self.send_frame(WindowUpdateFrame(stream, window_increment=count))

    # Receiving.

    def _read(self, seconds):
        self.socket.settimeout(max(seconds, 0.001))
        try:
            more = self.socket.recv(1 << 16)
        except TimeoutError:
            return
        except OSError:
            more = b""
        if not more:
            self.is_closed = True
        self.received += more

    def _frames(self):
        at = 0
        whole = memoryview(self.received)
        while len(whole) >= at + 9:
            try:
                frame, length = Frame.parse_frame_header(whole[at:at + 9])
            except HyperframeError:
                self.is_closed = True
                break
            if len(whole) < at + 9 + length:
                break
            frame.parse_body(whole[at + 9:at + 9 + length])
            at += 9 + length
            self._take(frame)
        self.received = self.received[at:]

    def _take(self, frame):
        if isinstance(frame, (HeadersFrame, ContinuationFrame)):
            self.headers.setdefault(frame.stream_id, {}).update(self.decoder.decode(frame.data))
        elif isinstance(frame, RstStreamFrame):
            self.ended.setdefault(frame.stream_id, "RST_STREAM")
        elif isinstance(frame, GoAwayFrame):
            self.goaway = frame.error_code
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.has_settings = True
            self.initial_window = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self.initial_window)
            self.encoder.header_table_size = min(
                frame.settings.get(SettingsFrame.HEADER_TABLE_SIZE, 4096), self.encoder.header_table_size)
            self.send_frame(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, WindowUpdateFrame):
            self.windows[frame.stream_id] = self.windows.get(frame.stream_id, 0) + frame.window_increment
        elif isinstance(frame, PingFrame):
            self.pongs += frame.opaque_data == PROBE
        if "END_STREAM" in getattr(frame, "flags", ()):
            self.ended.setdefault(frame.stream_id, "END_STREAM")

    def wait(self, condition, seconds_max=SECONDS_MAX):
        """Handles frames until the condition holds; whether it does."""
        deadline = time.monotonic() + seconds_max
        self._frames()
        while not condition() and not self.is_closed and time.monotonic() < deadline:
            self._read(deadline - time.monotonic())
            self._frames()
        return condition()

    def outcome(self, stream, seconds_max=SECONDS_MAX):
        """What the server made of the call."""
        self.wait(lambda: stream in self.ended or self.goaway not in (None, 0), seconds_max)
        found = self.headers.get(stream, {})
        if "grpc-status" in found:
            return STATUS_NAMES[int(found["grpc-status"])]
        if found.get(":status", "200") != "200":
            return f"HTTP {found[':status']}"
        if stream in self.ended:
            return self.ended[stream]
        if self.goaway:
            return "GOAWAY"
        return "closed" if self.is_closed else "silent"

    def connection_outcome(self, seconds_max=SECONDS_MAX):
        """`GOAWAY` or `closed` if the server gave the connection up; `alive` if it still answers a PING."""
        before = self.pongs
        self.send_frame(PingFrame(0, opaque_data=PROBE))
        self.wait(lambda: self.pongs > before or self.goaway not in (None, 0), seconds_max)
        if self.goaway:
            return "GOAWAY"
        if self.is_closed:
            return "closed"
        return "alive" if self.pongs > before else "silent"
