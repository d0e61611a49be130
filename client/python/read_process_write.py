"""Read a topic as a member of a group, and write twice each number that is read to another one: each exactly once, whatever
dies. Needs grpcio and grpcio-tools.

    python client/python/read_process_write.py BROKERS GROUP FROM TO TRANSACTIONAL_ID [SESSION_TIMEOUT_MS]
"""
import collections
import queue
import signal
import sys
import threading
import time
import uuid

import grpc

from calls import PASSES, RETRY_SECONDS, Brokers, Producer, Refused, ending, record, refusal

group, group_rpc = grpc.protos_and_services("millrace/v1/group_service.proto")


class Worker:
    """A member whose offsets are committed with what it writes."""

    def __init__(self, brokers, producer, source, target, session_timeout_ms):
        self.brokers = brokers
        self.producer = producer
        self.target = target
        self.init = {**source, "member_id": uuid.uuid4().hex, "session": 0, "session_timeout_ms": session_timeout_ms}
        self.is_over = threading.Event()

    def run(self):
        """Until it is stopped, or another process has the transactional id."""
        while not self.is_over.is_set():
            # Nothing is open after this. Fenced as a member, it is fenced as this producer.
            self.producer.init()
            self.init["session"] += 1
            self.init["producer"] = {"transactional_id": self.producer.asked["transactional_id"], **self.producer.name()}
            try:
                self.work()
            except Refused as refused:
                print("begins again:", refused, file=sys.stderr)
            except grpc.RpcError as error:
                # ABORTED: this member was taken out. CANCELLED: a call has moved on to another broker, and closed this stream.
                if error.code() not in (*PASSES, grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED):
                    raise refusal(error) from error
                print("begins again:", refusal(error), file=sys.stderr)
                self.brokers.move_on()
                self.producer.connect()
            time.sleep(RETRY_SECONDS)

    def work(self):
        """One stream, to its end. What it was sent and did not commit is sent again in the next one."""
        requests = queue.SimpleQueue()
        requests.put(group.ConsumeRequest(init=self.init))
        answers = group_rpc.GroupServiceStub(self.brokers.channel).Consume(iter(requests.get, None))
        waiting = collections.deque()
        try:
            while not self.is_over.is_set():
                answer = waiting.popleft() if waiting else next(answers)
                if answer.records:
                    for row in answer.records:
                        twice = record.Record(key=row.record.key, value=b"%d" % (2 * int(row.record.value)))
                        self.producer.send(self.target, row.partition, [twice])
                    requests.put(group.ConsumeRequest(commit={
                        "commit_id": self.producer.number, "up_to": answer.number,
                        "transaction": {"number": self.producer.number, **self.producer.name()}}))
                    self.await_commit(answers, waiting)
                    self.producer.end(ending.TRANSACTION_RESULT_COMMIT)
                elif answer.number:
                    requests.put(group.ConsumeRequest(done={"up_to": answer.number}))
            requests.put(group.ConsumeRequest(leave={}))
            collections.deque(answers, maxlen=0)  # to its end
        finally:
            requests.put(None)

    @staticmethod
    def await_commit(answers, waiting):
        """The offsets are part of the transaction once that is answered. What comes before waits its turn."""
        answer = next(answers)
        while not answer.HasField("commit"):
            waiting.append(answer)
            answer = next(answers)
        for error in [answer.commit.error] if answer.commit.HasField("error") else [row.error for row in answer.commit.refused]:
            raise Refused(error.info, error.message)


def main():
    if not 6 <= len(sys.argv) <= 7:
        print(__doc__, file=sys.stderr)
        return 2
    addresses, name, source, target, transactional_id, *session = sys.argv[1:]
    brokers = Brokers(addresses)
    worker = Worker(brokers, Producer(brokers, transactional_id), {"group": name, "subscription": {"topics": [source]}},
                    target, int(session[0]) if session else 0)
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: worker.is_over.set())
    try:
        worker.run()
    except Refused as refused:
        print("error:", refused, file=sys.stderr)
        return 3 if refused.info.reason == "TRANSACTION_FENCED" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
