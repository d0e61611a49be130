"""What count.py calls worse."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import count  # noqa: E402


def test_two_percent_more_passes_and_a_little_over_fails():
    assert count.compare({"parse": 1000}, {"parse": 1020}) == ([], [])
    assert count.compare({"parse": 1000}, {"parse": 1021}) == (["parse"], [])


def test_what_is_better_new_or_gone_asks_to_be_recorded_and_passes():
    assert count.compare({"parse": 1000, "old": 1}, {"parse": 900, "new": 5}) == ([], ["new", "parse", "old"])


def test_one_path_that_is_worse_is_not_made_up_for_by_others():
    assert count.compare({"a": 1000, "b": 1000}, {"a": 1100, "b": 500}) == (["a"], ["b"])


def test_the_page_counts_one_operation_in_the_order_of_the_source():
    assert count.table({"b": 100, "a": 1000}, {"a": (2, "thing"), "b": (3, "other")}) == \
        "| one … | instructions |\n|---|---|\n| thing | 500 |\n| other | 33 |"


def test_every_path_says_what_it_counts():
    assert len(count.declared()) == count.SOURCE.read_text().count("\nHOT_PATH(")
