"""Read topics as a member of a group, each record at least once. Needs grpcio and grpcio-tools, and no client library.

    python client/python/group_consumer.py GROUP TOPIC [--broker HOST:PORT]...
"""
import argparse
import pathlib
import queue
import signal
import sys
import threading
import uuid

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "proto"))
group, group_rpc = grpc.protos_and_services("millrace/v1/group_service.proto")

# Begin again with the next stream: a broker or the way to it is gone; this member was taken out; a broker is short of memory.
PASSES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED)
RETRY_SECONDS = 0.5


class GroupConsumer:
    """One member. `init` is ConsumeInit's: group, subscription, start, when_gone, ..."""

    def __init__(self, brokers, **init):
        self.brokers = brokers
        self.init = {"member_id": uuid.uuid4().hex, **init}
        self.session = 0
        self.is_over = threading.Event()

    def stop(self):
        """The member leaves once it has handled and committed what it works on. Any thread."""
        self.is_over.set()

    def run(self, handle):
        """Calls handle(topic, record) for each record until stop(), or an error that does not pass."""
        while not self.is_over.is_set():
            self.session += 1
            with grpc.insecure_channel(self.brokers[self.session % len(self.brokers)]) as channel:
                try:
                    self.read(group_rpc.GroupServiceStub(channel), handle)
                except grpc.RpcError as error:
                    if error.code() not in PASSES:
                        raise
                    self.is_over.wait(RETRY_SECONDS)

    def read(self, stub, handle):
        """One stream, to its end."""
        requests = queue.SimpleQueue()
        requests.put(group.ConsumeRequest(init={"session": self.session, **self.init}))
        has_left = False
        try:
            for answer in stub.Consume(iter(requests.get, None)):
                if has_left:
                    continue
                for row in answer.records:
                    handle(answer.topic, row)
                # It says all: these are handled, send more, I live, and have what you revoke.
                if answer.number:
                    requests.put(group.ConsumeRequest(commit={"up_to": answer.number}))
                if self.is_over.is_set():
                    requests.put(group.ConsumeRequest(leave={}))
                    has_left = True
        finally:
            requests.put(None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("group")
    parser.add_argument("topic")
    parser.add_argument("--broker", action="append", help="HOST:PORT of any; more, for when it is gone")
    parser.add_argument("--session-timeout-ms", type=int, default=0)
    options = parser.parse_args()

    def show(topic, row):
        print(topic, row.partition, row.offset, row.record.value.decode(), flush=True)

    consumer = GroupConsumer(options.broker or ["127.0.0.1:7440"], group=options.group,
                             subscription={"topics": [options.topic]}, session_timeout_ms=options.session_timeout_ms)
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: consumer.stop())
    consumer.run(show)


if __name__ == "__main__":
    main()
