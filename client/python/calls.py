"""What the programs beside this one share: calls to one broker after the other, and a producer with transactions."""
import itertools
import pathlib
import queue
import random
import sys
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "proto"))
errors = grpc.protos("millrace/v1/error.proto")
record = grpc.protos("millrace/v1/record.proto")
producer, producer_rpc = grpc.protos_and_services("millrace/v1/producer_service.proto")
ending, ending_rpc = grpc.protos_and_services("millrace/v1/transaction_service.proto")

CALL_SECONDS_MAX = 15
RETRY_SECONDS = 0.2
# What may be tried again: a broker or the way to it is gone, or it is short of memory or disk.
PASSES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)


class Refused(Exception):
    """An error that trying again does not mend. `info` has its reason (docs/errors.md) and metadata."""

    def __init__(self, info, message):
        super().__init__(f"{info.reason} {message}")
        self.info = info


def refusal(error):
    """What a call that failed says of it in its trailer."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in errors.CallError.FromString(value).details:
                if detail.type_url.endswith("google.rpc.ErrorInfo"):
                    return Refused(errors.ErrorInfo.FromString(detail.value), error.details())
    return Refused(errors.ErrorInfo(reason=error.code().name), error.details())


class Brokers:
    """A channel to one of several brokers."""

    def __init__(self, addresses):
        self.addresses = itertools.cycle(addresses.split(","))
        self.channel = None
        self.move_on()

    def move_on(self):  # to the next one
        if self.channel:
            self.channel.close()
        self.channel = grpc.insecure_channel(next(self.addresses), options=[("grpc.enable_retries", 0)])

    def call(self, stub, method, request):
        """The answer of the first broker that gives one. What is asked twice must have the effect of once."""
        while True:
            try:
                return getattr(stub(self.channel), method)(request, timeout=CALL_SECONDS_MAX)
            except grpc.RpcError as error:
                if error.code() not in PASSES:
                    raise refusal(error) from error
            self.move_on()
            time.sleep(RETRY_SECONDS)


class Producer:
    """The holder of a transactional id. One record is on its way at a time; a program that is to be fast sends many."""

    def __init__(self, brokers, transactional_id, timeout_ms=0):
        self.brokers = brokers
        self.asked = {"transactional_id": transactional_id, "transaction_timeout_ms": timeout_ms}
        self.given = producer.InitProducerResponse()
        self.number = 1  # of the transaction that is open, or comes next
        self.sequences = {}
        self.requests = queue.SimpleQueue()
        self.connect()

    def init(self):
        """Takes the id from whoever has it; once it was had, from nobody else. What was open is aborted."""
        request = producer.InitProducerRequest(request_id=random.getrandbits(63) | 1, **self.asked, **self.name())
        self.given = self.brokers.call(producer_rpc.ProducerServiceStub, "InitProducer", request)
        self.number = 1
        self.sequences = {}

    def name(self):
        return {"producer_id": self.given.producer_id, "producer_epoch": self.given.producer_epoch}

    def connect(self):
        self.requests.put(None)
        self.requests = queue.SimpleQueue()
        self.requests.put(producer.ProduceRequest(init={}))
        self.answers = producer_rpc.ProducerServiceStub(self.brokers.channel).Produce(iter(self.requests.get, None))

    def send(self, topic, partition, records, expected_end=None):
        """Stores them in the transaction, at `expected_end` if one is given, or not at all: the first one's offset."""
        batch = record.RecordBatch(first_sequence=self.sequences.get((topic, partition), 0), records=records,
                                   transaction_number=self.number, **self.name())
        sent = producer.ProduceBatch(topic=topic, partition=partition, batch=batch, expected_end_offset=expected_end)
        while True:
            self.requests.put(producer.ProduceRequest(batches=[sent]))
            try:
                result = next(answer.results[0] for answer in self.answers if answer.results)
            except (grpc.RpcError, StopIteration):
                self.brokers.move_on()
                self.connect()
            else:
                if not result.HasField("error"):
                    self.sequences[topic, partition] = batch.first_sequence + len(records)
                    return result.base_offset
                if result.error.code not in [code.value[0] for code in PASSES]:
                    raise Refused(result.error.info, result.error.message)
            sent.is_repeated = True  # it may be stored: the same sequence again stores nothing twice
            time.sleep(RETRY_SECONDS)

    def end(self, result):
        """Commits or aborts it: how it ends is decided, durably, once this returns."""
        self.brokers.call(ending_rpc.TransactionServiceStub, "EndTransaction", ending.EndTransactionRequest(
            transactional_id=self.asked["transactional_id"], transaction_number=self.number, result=result, **self.name()))
        self.number += 1
