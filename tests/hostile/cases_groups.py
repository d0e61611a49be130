"""What is wrong with what groups are asked for: ids, offsets, page tokens, too much at once."""
import os

from case import Case, stream, unary
from cases_produce import field, varint

SERVICE = "GroupService/"
COMMIT = SERVICE + "CommitOffsets"
FETCH = SERVICE + "FetchOffsets"
LIST = SERVICE + "ListGroups"
LAG = SERVICE + "DescribeLag"
RESET = SERVICE + "ResetOffsets"
DELETE = SERVICE + "DeleteOffsets"
METHODS = (COMMIT, FETCH, SERVICE + "DescribeGroup", LAG, RESET, DELETE, SERVICE + "DeleteGroup")
REFUSED = "INVALID_ARGUMENT"
INT64_MAX = 2**63 - 1
UINT64_MAX = 2**64 - 1
GROUP = field(1, b"g")

IDS = {
    "no id": b"",
    "an id of 250 bytes": b"x" * 250,
    "an id of 3 MiB": b"x" * (3 << 20),
    "an id with a NUL": b"a\0b",
    "an id with a line end": b"a\nb",
    "an id with a C1 control": "a\u0085b".encode(),
    "an id that is no UTF-8": b"\xff\xfe",
    "an id cut within a character": b"a\xe2\x82",
}


def commit(topic=b"events", partitions=b"", more=b""):
    """A commit for one topic; `partitions` are PartitionCommits as bytes."""
    return unary(COMMIT, GROUP + field(4, field(1, topic) + partitions) + more)


def at(partition=0, offset=0, more=b""):
    return field(3, b"\x08" + varint(partition) + b"\x10" + varint(offset % 2**64) + more)


def named(method, topic=b"events", partitions=b"", more=b"", group=GROUP):
    return unary(method, group + field(2, field(1, topic) + partitions) + more)


# A group of their own: some leave members in it.
CONSUMERS = field(1, b"consumers")
SUBSCRIPTION = field(5, field(1, b"events"))


def consume(*requests, init=CONSUMERS + SUBSCRIPTION):
    """A stream that begins with `init`, and the ConsumeRequests behind it."""
    return stream(SERVICE + "Consume", field(1, init), *requests)


LEAVE = field(5, b"")
CONSUME_CASES = [
    Case("consume and leave", consume(LEAVE), "OK"),
    Case("consume without a message", stream(SERVICE + "Consume"), REFUSED),
    Case("consume with a message that says nothing", stream(SERVICE + "Consume", b""), REFUSED),
    Case("consume of random bytes", stream(SERVICE + "Consume", os.urandom(1000)), (REFUSED, "UNIMPLEMENTED")),
    Case("consume before init", stream(SERVICE + "Consume", LEAVE), REFUSED),
    Case("consume init twice", consume(field(1, CONSUMERS + SUBSCRIPTION)), REFUSED),
    Case("consume with an unknown field", consume(init=CONSUMERS + SUBSCRIPTION + field(99, b"x")), "UNIMPLEMENTED"),
    *[Case(f"consume by a group of {name}", consume(LEAVE, init=field(1, value) + SUBSCRIPTION), REFUSED)
      for name, value in IDS.items()],
    *[Case(f"consume by a member of {name}", consume(LEAVE, init=CONSUMERS + field(2, value) + SUBSCRIPTION), REFUSED)
      for name, value in IDS.items() if value],
    Case("consume of no topic", consume(init=CONSUMERS), REFUSED),
    Case("consume of 1,001 topics", consume(init=CONSUMERS + field(5, field(1, b"t") * 1001)), REFUSED),
    Case("consume with a window past its limit", consume(init=CONSUMERS + SUBSCRIPTION + b"\x68" + varint(2**32 - 1)), REFUSED),
    Case("consume with a window of one byte", consume(LEAVE, init=CONSUMERS + SUBSCRIPTION + b"\x68\x01"), "OK"),
    Case("consume with a session of no time", consume(init=CONSUMERS + SUBSCRIPTION + b"\x40\x01"), REFUSED),
    Case("consume from nowhere known", consume(init=CONSUMERS + SUBSCRIPTION + b"\x58\x09"), "UNIMPLEMENTED"),
    Case("consume and a commit of nothing", consume(field(2, b"")), REFUSED),
    Case("consume and a commit of what was not sent", consume(field(2, b"\x10" + varint(UINT64_MAX))), REFUSED),
    Case("consume and done with what was not sent", consume(field(3, b"\x08" + varint(UINT64_MAX))), REFUSED),
    Case("consume and 10,000 commits of paths, and leave",
         consume(*[field(2, field(3, field(1, field(1, b"../../etc/passwd") + at())))] * 10_000, LEAVE), "OK"),
    Case("consume, leave for a while without an instance id", consume(field(5, b"\x08\x01")), REFUSED),
]

CASES = [
    *CONSUME_CASES,
    *[Case(f"{method.split('/')[1]} of {name}", unary(method, field(1, value)), REFUSED)
      for method in METHODS for name, value in IDS.items()],
    *[Case(f"{method.split('/')[1]} of random bytes", unary(method, os.urandom(1000)), (REFUSED, "UNIMPLEMENTED"))
      for method in (*METHODS, LIST)],
    *[Case(f"{method.split('/')[1]} over the limit", unary(method, bytes(5 << 20)), "RESOURCE_EXHAUSTED")
      for method in (*METHODS, LIST)],
    *[Case(f"{method.split('/')[1]} with an unknown field", unary(method, GROUP + field(99, b"x")), "UNIMPLEMENTED")
      for method in (COMMIT, RESET, DELETE, SERVICE + "DeleteGroup")],
    *[Case(f"{method.split('/')[1]} of a group that is not there", unary(method, field(1, b"absent")), "NOT_FOUND")
      for method in (SERVICE + "DescribeGroup", LAG, SERVICE + "DeleteGroup")],
    *[Case(f"{method.split('/')[1]} within a millisecond", unary(method, GROUP, timeout=0.001),
           ("DEADLINE_EXCEEDED", "OK", REFUSED, "NOT_FOUND", "UNAVAILABLE"))
      for method in METHODS],
    Case("commit of nothing", unary(COMMIT, GROUP), "OK"),
    Case("commit of a partition", commit(partitions=at()), "OK"),
    Case("commit below zero", commit(partitions=at(offset=-1)), REFUSED),
    Case("commit at the end of time", commit(partitions=at(offset=INT64_MAX)), "OK"),
    Case("commit of a partition out of range", commit(partitions=at(4) + at(2**32 - 1)), "OK"),
    Case("commit of a partition past 32 bits", commit(partitions=at(UINT64_MAX)), "OK"),
    Case("commit of one partition twice", commit(partitions=at() + at()), REFUSED),
    Case("commit of one topic twice", commit(partitions=at(), more=field(4, field(1, b"events") + at(1))), REFUSED),
    Case("commit for no topic", commit(topic=b"", partitions=at()), "OK"),
    Case("commit for a path", commit(topic=b"../../etc/passwd", partitions=at()), "OK"),
    Case("commit for Millrace's own topic", commit(topic=b"__coordinator", partitions=at()), "OK"),
    Case("commit for an unknown topic id", unary(COMMIT, GROUP + field(4, b"\x10" + varint(UINT64_MAX) + at())), "OK"),
    Case("commit of 10,000 partitions for a name of 3 MiB", commit(topic=b"x" * (3 << 20), partitions=at() * 10_000),
         REFUSED),
    Case("commit of 10,000 partitions that are not there",
         commit(topic=b"x" * 249, partitions=b"".join(at(i) for i in range(10_000))), ("OK", "RESOURCE_EXHAUSTED")),
    Case("commit of 10,001 partitions", commit(partitions=at() * 10_001), REFUSED),
    Case("commit of 2,000,000 partitions", commit(partitions=field(3, b"") * 2_000_000), REFUSED),
    Case("commit of 1,000,000 topics", unary(COMMIT, GROUP + field(4, b"") * 1_000_000), REFUSED),
    Case("commit with metadata of 4 KiB", commit(partitions=at(more=field(4, b"m" * 4096))), "OK"),
    Case("commit with metadata of a byte more", commit(partitions=at(more=field(4, b"m" * 4097))), REFUSED),
    Case("commit with metadata that is no UTF-8", commit(partitions=at(more=field(4, b"\xff"))), REFUSED),
    Case("commit of a member", commit(partitions=at(), more=field(2, b"member")), "FAILED_PRECONDITION"),
    Case("commit nested 10,000 deep", unary(COMMIT, GROUP + b"\xa3\x06" * 10_000), (REFUSED, "UNIMPLEMENTED")),
    Case("fetch of all of no group", unary(FETCH, field(1, b"absent")), "OK"),
    Case("offsets fetched of a topic that is not there", named(FETCH, topic=b"absent"), "NOT_FOUND"),
    Case("fetch of a partition that is not there", named(FETCH, partitions=b"\x18\x04"), "NOT_FOUND"),
    Case("fetch of one partition twice", named(FETCH, partitions=b"\x18\x01\x18\x01"), REFUSED),
    Case("fetch of one partition 1,000,000 times", named(FETCH, partitions=b"\x18\x01" * 1_000_000), REFUSED),
    Case("fetch of 1,000,000 topics", unary(FETCH, GROUP + field(2, b"") * 1_000_000), REFUSED),
    *[Case(f"fetch with a page token of {token[:9]!r}", unary(FETCH, GROUP + field(3, token)), REFUSED)
      for token in (b"x", b"1/", b"1/x/", b"-1/0/", b"1/99999999999/", b"/" * 100_000)],
    *[Case(f"lag with a page token of {token[:9]!r}", unary(LAG, GROUP + field(3, token)), REFUSED)
      for token in (b"x", b"1/", b"1/x/", b"-1/0/", b"1/99999999999/", b"/" * 100_000)],
    Case("lag behind the last partition", unary(LAG, GROUP + field(3, b"18446744073709551615/4294967295/")), ("OK", "NOT_FOUND")),
    *[Case(f"list with a page token of {token[:9]!r}", unary(LIST, field(3, token)), REFUSED)
      for token in (b"x", b"1/", b"1/x/", b"-1/0/", b"99/0/", b"0/1024/", b"/" * 100_000)],
    Case("list with a prefix of 3 MiB", unary(LIST, field(1, b"x" * (3 << 20))), "OK"),
    Case("list with a prefix that is no UTF-8", unary(LIST, field(1, b"\xff")), REFUSED),
    Case("list of 2^32-1 a page", unary(LIST, b"\x10" + varint(2**32 - 1)), "OK"),
    Case("list of one a page, 5,000 times", lambda target: pages(target, 5_000), "OK"),
    Case("reset to nowhere", unary(RESET, GROUP), REFUSED),
    Case("reset of a topic that is not there", named(RESET, topic=b"absent", more=b"\x18\x01"), "NOT_FOUND"),
    Case("reset to below zero", named(RESET, more=b"\x38" + varint(UINT64_MAX)), "OK"),
    Case("reset to the end of time", named(RESET, more=b"\x38" + varint(INT64_MAX)), "OK"),
    Case("reset to the largest time", named(RESET, more=b"\x28" + varint(INT64_MAX)), "OK"),
    Case("reset by the lowest number", named(RESET, more=b"\x30" + varint(2**63)), "OK"),
    Case("reset to offsets of nothing", unary(RESET, GROUP + field(8, b"")), REFUSED),
    Case("reset to offsets and topics", named(RESET, more=field(8, field(1, field(1, b"events") + at()))), REFUSED),
    Case("reset to two offsets of one partition",
         unary(RESET, GROUP + field(8, field(1, field(1, b"events") + at() + at()))), REFUSED),
    Case("deletion of no offsets", unary(DELETE, GROUP), REFUSED),
    Case("deletion of offsets of no group", named(DELETE, group=field(1, b"absent")), "NOT_FOUND"),
]


def pages(target, count):
    """Lists one group a page, again from the beginning after the last one."""
    with target.channel() as channel:
        call = channel.unary_unary(f"/millrace.v1.{LIST}", response_deserializer=target.api.ListGroupsResponse.FromString)
        token = ""
        for _ in range(count):
            request = target.api.ListGroupsRequest(page_size=1, page_token=token)
            token = call(request.SerializeToString(), timeout=10).next_page_token
    return "OK"
