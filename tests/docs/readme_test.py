"""The figures on the README's first screen are those of docs/benchmarks.md."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIRST_SCREEN = " ".join((ROOT / "README.md").read_text().split("\n## ")[0].split())
BENCHMARKS = (ROOT / "docs/benchmarks.md").read_text().split("\n## Figures ")[0]  # of the first run
PRODUCE = BENCHMARKS.split("\n### Produce\n")[1].split("\n### ")[0]


def told(pattern, text):
    """What a pattern finds in its only place."""
    [found] = re.findall(pattern, text)
    return found


def test_the_throughput_is_the_median_of_the_benchmarks():
    median = told(r"\| 1 KiB, 1 partition \| Millrace \| [\d,]+/([\d,]+)/[\d,]+ \|", PRODUCE)
    assert told(r"store ([\d,]+) MB/s of 1 KiB records in one partition", FIRST_SCREEN) == median


def test_the_latency_is_the_median_of_the_benchmarks():
    median = told(r"\| p99 at 1,000 records/s \|[^|]*\| ([\d.]+) ms \|", BENCHMARKS)
    assert told(r"99 of 100 within ([\d.]+) ms at 1,000 records/s", FIRST_SCREEN) == f"{float(median):.1f}"


def test_the_machine_is_that_of_the_benchmarks():
    assert "one machine of two cores" in FIRST_SCREEN
    machine = re.search(r"^Machine: [^,]*, (\d+) cores, ", BENCHMARKS, re.MULTILINE)
    assert machine.group(1) == "2"
