"""What a hostile case is: a name, what it does, and what the broker must answer.

    Case("an empty batch list", produce(INIT, EMPTY), "INVALID_ARGUMENT")

An attack is a function of the Target (conftest.py) that returns the outcome as text: a gRPC status; where a stream
lives on, its status and the codes of the answers in it, `OK [NOT_FOUND]`; or what became of the connection.
"""
import dataclasses
import queue
import typing

import grpc

from http2 import SECONDS_MAX, STATUS_NAMES, Http2, message


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    attack: typing.Callable
    # One outcome, or several where the broker may be quicker or slower than the attacker.
    expects: str | tuple[str, ...]

    @property
    def allowed(self):
        return (self.expects,) if isinstance(self.expects, str) else self.expects


def code_name(code):
    return code if isinstance(code, str) else STATUS_NAMES[code]


def raw(value):
    """Messages as bytes; what is bytes already may be no message at all."""
    return value if isinstance(value, bytes) else value.SerializeToString()


def unary(method, make, timeout=SECONDS_MAX, metadata=()):
    """One call of `Service/Method` with `make(target)`, a message or bytes."""
    def attack(target):
        with target.channel() as channel:
            call = channel.unary_unary(f"/millrace.v1.{method}", request_serializer=raw)
            try:
                call(make(target) if callable(make) else make, timeout=timeout, metadata=metadata)
                return "OK"
            except grpc.RpcError as error:
                return error.code().name
    return attack


def _messages(target, makes):
    return [raw(make(target) if callable(make) else make) for make in makes]


def produce(*makes):
    """A Produce stream: all messages, half-close, all answers."""
    def attack(target):
        with target.channel() as channel:
            call = channel.stream_stream("/millrace.v1.ProducerService/Produce",
                                         response_deserializer=target.api.ProduceResponse.FromString)
            codes = []
            stream = call(iter(_messages(target, makes)), timeout=SECONDS_MAX)
            try:
                for answer in stream:
                    codes += [code_name(result.error.code) for result in answer.results]
            except grpc.RpcError:
                pass
            return told(stream.code().name, codes)
    return attack


def fetch(*makes, answers=1):
    """A Fetch stream that stays open until it ended or so many partitions were answered."""
    def attack(target):
        with target.channel() as channel:
            call = channel.stream_stream("/millrace.v1.ConsumerService/Fetch",
                                         response_deserializer=target.api.FetchResponse.FromString)
            requests = queue.SimpleQueue()
            for one in _messages(target, makes):
                requests.put(one)
            stream = call(iter(requests.get, None), timeout=SECONDS_MAX)
            codes = []
            try:
                for answer in stream:
                    codes += [code_name(partition.error.code) for partition in answer.partitions]
                    if len(codes) >= answers:
                        requests.put(None)
            except grpc.RpcError:
                pass
            finally:
                requests.put(None)
            return told(stream.code().name, codes)
    return attack


def subscribe(*makes):
    """A Subscribe call with so many requests, an honest one has one, until it ends."""
    def attack(target):
        with target.channel() as channel:
            call = channel.stream_stream("/millrace.v1.ConsumerService/Subscribe")
            stream = call(iter(_messages(target, makes)), timeout=SECONDS_MAX)
            try:
                for _ in stream:
                    pass
            except grpc.RpcError:
                pass
            return stream.code().name
    return attack


def stream(method, *makes):
    """A stream of `Service/Method`: all messages, half-close, until it ends."""
    def attack(target):
        with target.channel() as channel:
            answers = channel.stream_stream(f"/millrace.v1.{method}")(iter(_messages(target, makes)), timeout=SECONDS_MAX)
            try:
                for _ in answers:
                    pass
            except grpc.RpcError:
                pass
            return answers.code().name
    return attack


def told(code, codes):
    """The stream's status and the different codes within, e.g. `OK [NOT_FOUND]`."""
    return f"{code} [{', '.join(dict.fromkeys(codes))}]" if codes else code


def http2(act):
    """`act(connection)` on a raw connection returns the outcome."""
    def attack(target):
        with Http2(target.address) as connection:
            return act(connection)
    return attack


def raw_call(path, payload=None, **options):
    """One call by hand: `payload` is everything behind the headers."""
    def act(connection):
        stream = connection.call(path, end=payload is None, **options)
        if payload is not None:
            connection.data(stream, payload, end=True)
        return connection.outcome(stream)
    return http2(act)


INFO = "/millrace.v1.MetadataService/GetServerInfo"
GOOD_CALL = message(b"")
