"""deploy/verify_flights.py must find what it is for: each test breaks a good read-back in one way."""
import gzip
import io
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))

from verify_flights import compare, verify_files  # noqa: E402


def line(carrier, flight):
    return json.dumps({"carrier": carrier, "flight": flight})


INPUT = [line("UA", 1), line("AA", 2), line("UA", 3), line("UA", 4), line("AA", 5)]


def stored(lines, partitions=("UA", "AA")):
    """A faithful read-back: one partition per key, offsets from 0."""
    records, next_offset = [], {}
    for value in lines:
        key = json.loads(value)["carrier"]
        partition = partitions.index(key)
        offset = next_offset.get(partition, 0)
        next_offset[partition] = offset + 1
        records.append({"partition": partition, "offset": offset, "key": key, "value": value})
    return records


class VerifyFlightsTest(unittest.TestCase):
    def problems(self, records):
        return compare(INPUT, records, "carrier")

    def test_faithful_read_back_has_no_problem(self):
        self.assertEqual(self.problems(stored(INPUT)), [])

    def test_keys_may_interleave_otherwise(self):
        regrouped = sorted(stored(INPUT), key=lambda record: record["partition"])
        self.assertEqual(self.problems(regrouped), [])

    def test_lost_row_is_named(self):
        (problem,) = self.problems(stored(INPUT[:2] + INPUT[3:]))
        self.assertIn("key UA: 1 lost", problem)
        self.assertIn(INPUT[2], problem)

    def test_lost_last_row_is_named(self):
        (problem,) = self.problems(stored(INPUT[:-1]))
        self.assertIn("key AA: 1 lost", problem)

    def test_lost_key_is_named(self):
        (problem,) = self.problems(stored([row for row in INPUT if "UA" in row]))
        self.assertIn("key AA: 2 lost", problem)

    def test_doubled_row_is_named(self):
        (problem,) = self.problems(stored(INPUT + [INPUT[0]]))
        self.assertIn("key UA: 1 doubled", problem)

    def test_reordered_rows_are_named(self):
        swapped = [INPUT[2], INPUT[1], INPUT[0], INPUT[3], INPUT[4]]
        (problem,) = self.problems(stored(swapped))
        self.assertIn("key UA: out of order", problem)

    def test_row_that_was_never_sent_is_named(self):
        (problem,) = self.problems(stored(INPUT + [line("UA", 99)]))
        self.assertIn("key UA: 1 never sent", problem)

    def test_changed_row_is_lost_and_never_sent(self):
        changed = stored(INPUT)
        changed[0]["value"] += " "
        self.assertEqual(len(self.problems(changed)), 2)

    def test_key_in_two_partitions_is_named(self):
        records = stored(INPUT)
        records[-1].update(partition=2, offset=0)
        (problem,) = self.problems(records)
        self.assertIn("key AA: records in partitions [1, 2]", problem)

    def test_gap_in_offsets_is_named(self):
        records = stored(INPUT)
        records[-1]["offset"] = 7
        (problem,) = self.problems(records)
        self.assertIn("partition 1: offset 7", problem)

    def test_nothing_read_back_is_all_lost(self):
        self.assertEqual(len(self.problems([])), 2)

    def test_files_give_a_verdict(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            with gzip.open(folder / "in.gz", "wt") as out:
                out.write("\n".join(INPUT) + "\n")
            for rows, is_good in ((INPUT, True), (INPUT[1:], False)):
                text = "".join(json.dumps(record) + "\n" for record in stored(rows))
                (folder / "back").write_text(text)
                said = io.StringIO()
                self.assertEqual(verify_files(folder / "in.gz", folder / "back", out=said), is_good)
                self.assertIn("nothing lost" if is_good else "FAILED", said.getvalue())


if __name__ == "__main__":
    unittest.main()
