"""Read topics as a member of a group, each record at least once. Needs grpcio and grpcio-tools, and no client library.

    python client/python/group_consumer.py BROKERS GROUP TOPIC [SESSION_TIMEOUT_MS]

BROKERS: HOST:PORT of any, with commas; the next one is asked when one is gone.
"""
import queue
import signal
import sys
import threading
import uuid

import grpc

from calls import PASSES, RETRY_SECONDS, Brokers, Refused, refusal

group, group_rpc = grpc.protos_and_services("millrace/v1/group_service.proto")


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
            try:
                self.read(group_rpc.GroupServiceStub(self.brokers.channel), handle)
            except grpc.RpcError as error:
                # ABORTED: this member was taken out, and begins anew.
                if error.code() not in (*PASSES, grpc.StatusCode.ABORTED):
                    raise refusal(error) from error
                self.brokers.move_on()
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
    if not 4 <= len(sys.argv) <= 5:
        print(__doc__, file=sys.stderr)
        return 2

    def show(topic, row):
        print(topic, row.partition, row.offset, row.record.value.decode(), flush=True)

    consumer = GroupConsumer(Brokers(sys.argv[1]), group=sys.argv[2], subscription={"topics": [sys.argv[3]]},
                             session_timeout_ms=int(sys.argv[4]) if len(sys.argv) == 5 else 0)
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: consumer.stop())
    try:
        consumer.run(show)
    except Refused as refused:
        print("error:", refused, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
