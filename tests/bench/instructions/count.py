#!/usr/bin/env python3
"""Counts the instructions of the hot paths under callgrind and holds them against the recorded baseline.

    tests/bench/instructions/count.py            # builds, counts, compares; exit code 1 if a path got worse
    tests/bench/instructions/count.py --record   # writes the counts as the new baseline, and the page's table

The counts do not depend on the machine's speed or load, but on the compiler and the C library: with others than the
baseline's nothing is compared (exit code 2). More than 2 % worse fails until a new baseline is committed, with its
reason in the commit.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
BASELINE = pathlib.Path(__file__).with_name("baseline.json")
SOURCE = pathlib.Path(__file__).with_name("hot_paths.cc")
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- counts of tests/bench/instructions/count.py: begin -->"
END = "<!-- counts of tests/bench/instructions/count.py: end -->"
BINARY = ROOT / "build" / "release" / "bin" / "hot_paths"
TOLERANCE = 0.02
# The C library picks its copies by what the processor can do; these are the ones that every x86-64 has.
GLIBC_TUNABLES = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-ERMS,-AVX_Fast_Unaligned_Load"
EXIT_WORSE, EXIT_NOT_COMPARABLE = 1, 2


def output_of(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def toolchain():
    """What the counts depend on, beside the code."""
    library = os.confstr("CS_GNU_LIBC_VERSION")
    return {"compiler": output_of(["g++", "--version"]).splitlines()[0], "library": library,
            "valgrind": output_of(["valgrind", "--version"]).strip(), "machine": os.uname().machine}


def count():
    """Instructions of every hot path, what it calls included."""
    output_of(["cmake", "--preset", "release"], cwd=ROOT)
    output_of(["cmake", "--build", "--preset", "release", "--target", "hot_paths"], cwd=ROOT)
    with tempfile.TemporaryDirectory() as folder:
        profile = pathlib.Path(folder) / "profile"
        output_of(["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", BINARY],
                  env={"PATH": os.environ["PATH"], "GLIBC_TUNABLES": GLIBC_TUNABLES})
        table = output_of(["callgrind_annotate", "--inclusive=yes", "--threshold=100", profile])
    counts = {name: int(number.replace(",", "")) for number, name in
              re.findall(r"^\s*([\d,]+) .*?:hot_(\w+)", table, re.MULTILINE)}
    if set(counts) != set(declared()):
        sys.exit(f"not counted: {sorted(set(declared()) ^ set(counts))}")
    return counts


def declared():
    """By each path's name: of how many operations it is made, and what one is."""
    found = re.findall(r'HOT_PATH\(hot_(\w+),\s*(\d+),\s*"([^"]+)"\)', SOURCE.read_text())
    return {name: (int(operations), what) for name, operations, what in found}


def table(counts, paths):
    """For docs/benchmarks.md."""
    rows = [f"| {what} | {round(counts[name] / operations):,} |" for name, (operations, what) in paths.items()]
    return "\n".join(["| one … | instructions |", "|---|---|", *rows])


def write_page(counts, toolchain):
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    facts = f"{toolchain['compiler']}, {toolchain['library']}, {toolchain['machine']}."
    PAGE.write_text(f"{before}{BEGIN}\n\n{facts}\n\n{table(counts, declared())}\n\n{END}{after}")


def compare(baseline, counts):
    """Prints a table; the names of the paths that got worse, and of those that got better or are new."""
    worse, changed = [], []
    print(f"{'path':28} {'baseline':>12} {'now':>12} {'change':>8}")
    for name, now in sorted(counts.items()):
        before = baseline.get(name)
        share = now / before - 1 if before else None
        print(f"{name:28} {before or '-':>12} {now:>12} {'new' if share is None else f'{share:+.1%}':>8}")
        if before and now > before * (1 + TOLERANCE):
            worse.append(name)
        elif not before or now < before * (1 - TOLERANCE):
            changed.append(name)
    return worse, changed + sorted(set(baseline) - set(counts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the counts as the new baseline")
    options = parser.parse_args()
    counts = count()
    if options.record:
        BASELINE.write_text(json.dumps({"toolchain": toolchain(), "instructions": counts}, indent=2,
                                       sort_keys=True) + "\n")
        write_page(counts, toolchain())
        print(f"wrote {BASELINE.relative_to(ROOT)} and the table in {PAGE.relative_to(ROOT)}")
        return 0
    baseline = json.loads(BASELINE.read_text())
    worse, changed = compare(baseline["instructions"], counts)
    if baseline["toolchain"] != toolchain():
        print(f"not comparable: the baseline is of {baseline['toolchain']}, this is {toolchain()}")
        return EXIT_NOT_COMPARABLE
    again = "tests/bench/instructions/count.py --record"
    if changed:
        print(f"better, new or gone: {', '.join(changed)}; record it: {again}")
    if worse:
        print(f"more than {TOLERANCE:.0%} worse: {', '.join(worse)}; if that is right, {again} and say why")
        return EXIT_WORSE
    return 0


if __name__ == "__main__":
    sys.exit(main())
