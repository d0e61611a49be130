#!/usr/bin/env python3
"""What it costs to append and sync: through the page cache, and past it (O_DIRECT), into a file that grows or is there.

    tests/bench/appends.py                     five rounds of each, in turn
    tests/bench/appends.py --folder DIR        on that folder's disk

Each way appends pieces of one size to a file and calls fdatasync after each, as a segment does with a large write and the
journal with a block. Prints medians: MB/s, CPU seconds of the process for a GB, and how fast the last bytes are read back, which a
reader that is a little behind does. It decides nothing.
"""
import argparse
import mmap
import os
import pathlib
import resource
import statistics
import time

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build"
KIB, MIB = 1 << 10, 1 << 20
PIECES = (64 * KIB, 256 * KIB, MIB)
FILE_BYTES = 64 * MIB
WAYS = {"page cache": 0, "O_DIRECT": os.O_DIRECT, "O_DIRECT, written before": os.O_DIRECT}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=pathlib.Path, default=BUILD / "bench" / "appends")
    return parser.parse_args()


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def append(path, flags, piece):
    """MB/s, CPU s/GB, and MB/s of reading it back through the page cache."""
    cpu, began = cpu_seconds(), time.monotonic()
    file = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    for position in range(0, FILE_BYTES, len(piece)):
        os.pwrite(file, piece, position)
        os.fdatasync(file)
    seconds, spent = time.monotonic() - began, cpu_seconds() - cpu
    os.close(file)
    began = time.monotonic()
    file = os.open(path, os.O_RDONLY)
    for position in range(0, FILE_BYTES, MIB):
        os.pread(file, MIB, position)
    os.close(file)
    return FILE_BYTES / 1e6 / seconds, spent / (FILE_BYTES / 1e9), FILE_BYTES / 1e6 / (time.monotonic() - began)


def main():
    options = parse()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "file"
    samples = {}
    for _ in range(options.rounds):
        for size in PIECES:
            piece = mmap.mmap(-1, size)  # aligned, as O_DIRECT wants it
            piece.write(os.urandom(size))
            for way, flags in WAYS.items():
                path.unlink(missing_ok=True)
                if way.endswith("before"):
                    path.write_bytes(bytes(FILE_BYTES))
                    os.sync()
                samples.setdefault((size, way), []).append(append(path, flags, piece))
    path.unlink()
    for (size, way), found in samples.items():
        rate, cpu, back = (statistics.median(values) for values in zip(*found))
        print(f"{size // KIB:5} KiB  {way:26} {rate:6.0f} MB/s  {cpu:5.2f} CPU s/GB  read back {back:6.0f} MB/s")


if __name__ == "__main__":
    main()
