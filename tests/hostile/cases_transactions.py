"""What is wrong with what is asked about transactions: ids, numbers, outcomes, and batches of transactions that nobody began."""
import os

from case import Case, produce, unary
from cases_groups import IDS
from cases_produce import INIT, NEVER_GIVEN, batch, field, varint

INIT_PRODUCER = "ProducerService/InitProducer"
SERVICE = "TransactionService/"
END = SERVICE + "EndTransaction"
LIST = SERVICE + "ListTransactions"
DESCRIBE = SERVICE + "DescribeTransaction"
ABORT = SERVICE + "AbortTransaction"
REFUSED = "INVALID_ARGUMENT"
ID = b"hostile"
UINT64_MAX = 2**64 - 1


def number(tag, value):
    return varint(tag << 3) + varint(value)


def init(transactional_id=ID, request_id=7, more=b""):
    return unary(INIT_PRODUCER, number(3, request_id) + field(4, transactional_id) + more)


def named(method, transactional_id=ID, producer=9, epoch=1, transaction=1, more=b""):
    return unary(method, field(1, transactional_id) + number(2, producer) + number(3, epoch) + number(4, transaction) + more)


COMMIT = number(5, 1)
CASES = [
    *[Case(f"a transactional id of {name}", init(value), REFUSED) for name, value in IDS.items() if value],
    Case("a transactional id without a request id", init(request_id=0), REFUSED),
    Case("a transactional id of a producer id", init(more=number(1, 5)), REFUSED),
    Case("a request id without a transactional id", unary(INIT_PRODUCER, number(3, 7)), REFUSED),
    Case("a time limit of 1 ms", init(more=number(5, 1)), REFUSED),
    Case("a time limit of 49 days", init(more=number(5, 2**32 - 1)), REFUSED),
    Case("a transactional id with an unknown field", init(more=field(99, b"x")), "UNIMPLEMENTED"),
    *[Case(f"{method} of {name}", named(method, value, more=COMMIT if method == END else b""), REFUSED)
      for method in (END, ABORT) for name, value in IDS.items()],
    *[Case(f"describe a transaction of {name}", unary(DESCRIBE, field(1, value)), REFUSED) for name, value in IDS.items()],
    Case("end a transaction that nobody has", named(END, more=COMMIT), "NOT_FOUND"),
    Case("end a transaction neither way", named(END), REFUSED),
    Case("end a transaction a third way", named(END, more=number(5, 3)), REFUSED),
    Case("end a transaction without a number", named(END, transaction=0, more=COMMIT), REFUSED),
    Case("end a transaction of no epoch", named(END, epoch=0, more=COMMIT), REFUSED),
    Case("end a transaction of nobody", named(END, producer=0, more=COMMIT), REFUSED),
    Case("end a transaction with the largest numbers",
         named(END, producer=UINT64_MAX, epoch=2**32 - 1, transaction=UINT64_MAX, more=COMMIT), "NOT_FOUND"),
    Case("end a transaction with an unknown field", named(END, more=COMMIT + field(99, b"x")), "UNIMPLEMENTED"),
    Case("abort a transaction that nobody has", named(ABORT), "NOT_FOUND"),
    Case("describe a transactional id that is not there", unary(DESCRIBE, field(1, ID)), "NOT_FOUND"),
    Case("list transactions", unary(LIST, b""), "OK"),
    Case("list transactions in a state that is none", unary(LIST, number(2, 77)), "OK"),
    Case("list transactions with a page of 4 billion", unary(LIST, number(3, 2**32 - 1)), "OK"),
    Case("list transactions behind what is no page", unary(LIST, field(4, b"no page")), REFUSED),
    Case("list transactions behind a page of 3 MiB", unary(LIST, field(4, b"x" * (3 << 20))), REFUSED),
    *[Case(f"{method} of random bytes", unary(method, os.urandom(1000)), (REFUSED, "UNIMPLEMENTED", "NOT_FOUND", "OK"))
      for method in (END, LIST, DESCRIBE, ABORT)],
    Case("a batch of a transaction and no producer", produce(INIT, batch(transaction_number=1)), f"OK [{REFUSED}]"),
    Case("a batch of a transaction of a producer that was not given",
         produce(INIT, batch(producer_id=12345, transaction_number=1)), NEVER_GIVEN),
]
