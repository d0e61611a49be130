"""Write records that count together or not at all, as a line at a time says. Needs grpcio and grpcio-tools.

    python client/python/transactions.py BROKERS TRANSACTIONAL_ID TOPIC [TIMEOUT_MS]

    send PARTITION VALUE          stored PARTITION OFFSET        a record of the open transaction, or of a new one
    send PARTITION VALUE END      the same, or refused OFFSET_MOVED REAL_END: if the partition's log ends at END
    commit, abort                 committed, aborted

Anything else that is refused: `refused REASON` (docs/errors.md).
"""
import sys

from calls import Brokers, Producer, Refused, ending, record

FENCED = ("TRANSACTION_FENCED", "PRODUCER_FENCED")


def run(producer, topic, words):
    """Does what a line says: the answer."""
    match words:
        case ["send", partition, value, *end] if len(end) <= 1 and all(word.isdecimal() for word in (partition, *end)):
            records = [record.Record(value=value.encode())]
            offset = producer.send(topic, int(partition), records, int(end[0]) if end else None)
            return f"stored {partition} {offset}"
        case ["commit"]:
            producer.end(ending.TRANSACTION_RESULT_COMMIT)
            return "committed"
        case ["abort"]:
            producer.end(ending.TRANSACTION_RESULT_ABORT)
            return "aborted"
    return "refused COMMAND"


def main():
    if not 4 <= len(sys.argv) <= 5:
        print(__doc__, file=sys.stderr)
        return 2
    producer = Producer(Brokers(sys.argv[1]), sys.argv[2], int(sys.argv[4]) if len(sys.argv) == 5 else 0)
    try:
        producer.init()
    except Refused as refused:
        print("error:", refused, file=sys.stderr)
        return 1
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            print(run(producer, sys.argv[3], line.split()), flush=True)
        except Refused as refused:
            reason = refused.info.reason
            print(" ".join(["refused", reason, *refused.info.metadata.get("end_offset", "").split()]), flush=True)
            if reason in FENCED:
                return 3
            if reason == "TRANSACTION_ENDED":  # not by this program: it took too long, or somebody aborted it
                producer.number += 1
    producer.end(ending.TRANSACTION_RESULT_ABORT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
