#!/usr/bin/env python3
"""Compares what was read back with what went in, row by row, and says what was lost, doubled or moved.

The read-back is the raw output of `millrace consume TOPIC --from earliest --until-end -o json`: nothing is removed,
merged or sorted. A row is its exact bytes; rows of one key must come back in the order in which they went in, out of
one partition, and every partition's offsets must count up from 0 without a gap. Standard library only.

    deploy/verify_flights.py tests/data/flights-2013-01.jsonl.gz readback.jsonl
"""
import argparse
import collections
import gzip
import json
import sys

EXAMPLES_MAX = 3


def rows_by_key(lines, key_field):
    """Each key's lines, in their order."""
    rows = collections.defaultdict(list)
    for line in lines:
        rows[json.loads(line)[key_field]].append(line)
    return dict(rows)


def check_offsets(records):
    """Every partition's offsets, in the order of arrival, are 0, 1, 2, ..."""
    problems = []
    expected = collections.Counter()
    for record in records:
        partition, offset = record["partition"], record["offset"]
        if offset != expected[partition]:
            problems.append(f"partition {partition}: offset {offset} came where "
                            f"{expected[partition]} was expected")
        expected[partition] = offset + 1
    return problems


def check_partitions(records):
    """All records of a key lie in one partition."""
    partitions = collections.defaultdict(set)
    for record in records:
        partitions[record["key"]].add(record["partition"])
    return [f"key {key}: records in partitions {sorted(found)}"
            for key, found in sorted(partitions.items()) if len(found) > 1]


def compare_key(key, expected, got):
    """The problems of one key's rows, expected and as they came."""
    problems = []
    missing = collections.Counter(expected) - collections.Counter(got)
    surplus = collections.Counter(got) - collections.Counter(expected)
    known = set(expected)
    lost = list(missing.elements())
    doubled = [row for row in surplus.elements() if row in known]
    foreign = [row for row in surplus.elements() if row not in known]
    for what, rows in (("lost", lost), ("doubled", doubled), ("never sent", foreign)):
        if rows:
            problems.append(f"key {key}: {len(rows)} {what}, e.g. {rows[0]}")
    if not problems and expected != got:
        at = next(i for i, (a, b) in enumerate(zip(expected, got)) if a != b)
        problems.append(f"key {key}: out of order from row {at} of this key on: {got[at]}")
    return problems


def compare(input_lines, records, key_field):
    """Every problem, as lines; empty if the read-back is exactly the input."""
    expected = rows_by_key(input_lines, key_field)
    got = collections.defaultdict(list)
    for record in records:
        got[record["key"]].append(record["value"])
    problems = []
    for key in sorted(set(expected) | set(got), key=str):
        problems += compare_key(key, expected.get(key, []), got.get(key, []))
    return problems + check_partitions(records) + check_offsets(records)


def read_lines(path):
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as lines:
        return [line.rstrip("\n") for line in lines]


def verify_files(input_path, readback_path, key_field="carrier", out=sys.stdout):
    """Prints the verdict; true if nothing is lost, doubled or out of order."""
    input_lines = read_lines(input_path)
    records = [json.loads(line) for line in read_lines(readback_path)]
    problems = compare(input_lines, records, key_field)
    for problem in problems[:EXAMPLES_MAX]:
        print(f"  {problem}", file=out)
    if len(problems) > EXAMPLES_MAX:
        print(f"  and {len(problems) - EXAMPLES_MAX} more", file=out)
    keys = len(rows_by_key(input_lines, key_field))
    counts = f"{len(input_lines):,} rows in, {len(records):,} read back, {keys} keys"
    verdict = "FAILED" if problems else "nothing lost, nothing doubled, all in order per key"
    print(f"verdict: {verdict} ({counts})", file=out)
    return not problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("input", help="the lines that went in, .gz or not")
    parser.add_argument("readback", help="the output of millrace consume -o json")
    parser.add_argument("--key-field", default="carrier")
    options = parser.parse_args()
    return 0 if verify_files(options.input, options.readback, options.key_field) else 1


if __name__ == "__main__":
    sys.exit(main())
