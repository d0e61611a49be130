#!/usr/bin/env python3
"""Compiles the examples that programs are written from: those in the comments of the public headers (`//   ` and on)
and the C++ blocks of docs/client.md, all in one run of the compiler and with warnings as errors.

Headers lie as they do where the library is installed, so that an example can't use what is not. prelude.h declares what
examples take as given. An error names the header or page and its line. Standard library only.

    tests/docs/compile_examples.py [ROOT]        the compiler is $CXX, or c++
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
PAGE = "docs/client.md"
FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
# What this one defines: it is a program, and stands outside of every namespace.
MAIN = re.compile(r"^int main\(", re.MULTILINE)


class Example(NamedTuple):
    path: pathlib.Path
    line: int  # of its first line
    code: str


def public_headers(root):
    """Those that are installed, but version.h, which the build writes."""
    return [header for folder in ("client/include/millrace", "proto/millrace")
            for header in sorted((root / folder).glob("*.h"))]


def examples_of_header(header):
    """Every run of comment lines that are indented by three."""
    text = header.read_text()
    for found in re.finditer(r"(?:^[ ]*//   .*\n(?:[ ]*//\n(?=[ ]*//   ))?)+", text, re.MULTILINE):
        code = re.sub(r"^[ ]*//", "", found.group(0), flags=re.MULTILINE)
        yield Example(header, text.count("\n", 0, found.start()) + 1, code)


def examples_of_page(page):
    text = page.read_text()
    for found in re.finditer(r"^```(?:cpp|c\+\+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield Example(page, text.count("\n", 0, found.start(1)) + 1, found.group(1))


def placed(root, example):
    """The code, as from its own file and line."""
    return f'#line {example.line} "{example.path.relative_to(root)}"\n{example.code}'


def source_of(root, in_headers, on_pages):
    """One translation unit. On a page an example may use those above it; only the one with main has includes."""
    parts = [f'#include "{HERE / "prelude.h"}"']
    for number, example in enumerate(in_headers):
        parts.append(f"namespace in_a_header {{\nint Example{number}() {{\n{placed(root, example)}return 0;\n}}\n}}")
    mains = [example for example in on_pages if MAIN.search(example.code)]
    parts += [f"namespace on_a_page {{\n{placed(root, example)}}}" for example in on_pages if example not in mains]
    parts += [placed(root, example) for example in mains]
    return "\n".join(parts) + "\n"


def install_headers(headers, root, folder):
    """The headers as they are installed, each as from its own place; version.h with any version."""
    (folder / "millrace").mkdir()
    for header in headers:
        (folder / "millrace" / header.name).write_text(f'#line 1 "{header.relative_to(root)}"\n{header.read_text()}')
    for template in root.glob("client/**/millrace/version.h.in"):
        (folder / "millrace/version.h").write_text(re.sub("@[A-Z_]+@", "0", template.read_text()))


def compile_source(source, include):
    """What the compiler says against it: nothing if it is good."""
    command = [os.environ.get("CXX", "c++"), *FLAGS, "-I", include, "-x", "c++", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or f"{command[0]} ended with {done.returncode}"


def check(root):
    """(examples, what is wrong with them)."""
    headers = public_headers(root)
    in_headers = [example for header in headers for example in examples_of_header(header)]
    on_pages = list(examples_of_page(root / PAGE))
    if not in_headers or not on_pages:
        return [], f"{len(in_headers)} examples in {len(headers)} public headers, {len(on_pages)} in {PAGE}: none to compile"
    with tempfile.TemporaryDirectory() as folder:
        install_headers(headers, root, pathlib.Path(folder))
        return in_headers + on_pages, compile_source(source_of(root, in_headers, on_pages), folder)


def main():
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else HERE.parents[1]
    examples, wrong = check(root)
    print(wrong or f"{len(examples)} examples compile")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
