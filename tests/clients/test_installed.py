"""The client library as another project meets it: installed, found by find_package, built and run; and its headers."""
import os
import re
import subprocess
import sys
import uuid

from conftest import ROOT, run

sys.path.append(str(ROOT / "tests/docs"))
from compile_examples import public_headers as headers_with_examples  # noqa: E402

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")


def manual(language):
    """The one block of docs/client.md in this language."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/client.md").read_text(), re.DOTALL)
    assert len(blocks) == 1, language
    return blocks[0]


def test_the_manuals_project_finds_builds_and_uses_the_library(prefix, server, binary, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(manual("cmake"))
    (tmp_path / "main.cc").write_text(manual("cpp"))
    run("cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_CXX_FLAGS={' '.join(WARNINGS)}")
    run("cmake", "--build", tmp_path / "build")
    printed = run(tmp_path / "build/hello", server.address, f"hello-{uuid.uuid4().hex[:8]}").splitlines()
    version = run(binary, "--version").strip()
    assert printed == ["0 one", "1 two", "2 three", f"by Millrace {version}"]


def test_another_minor_version_is_not_found(prefix, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.24)\nproject(other LANGUAGES CXX)\n"
        "find_package(Millrace 0.1 QUIET)\n"
        "if(Millrace_FOUND)\n  message(FATAL_ERROR \"0.1 was found\")\nendif()\n")
    run("cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")


def public_headers(prefix):
    headers = sorted((prefix / "include/millrace").glob("*.h"))
    assert len(headers) >= 7, headers
    return headers


def test_the_headers_whose_examples_tests_docs_compiles_are_those_that_are_installed(prefix):
    installed = {header.name for header in public_headers(prefix)}
    assert installed == {header.name for header in headers_with_examples(ROOT)} | {"version.h"}


def test_public_headers_compile_alone(prefix):
    compiler = os.environ.get("CXX", "c++")
    for header in public_headers(prefix):
        source = f'#include "millrace/{header.name}"\nint main() {{ return 0; }}\n'
        run(compiler, "-std=c++20", *WARNINGS, "-fsyntax-only", "-nostdinc++",
            *standard_includes(compiler), "-I", prefix / "include", "-x", "c++", "-", input=source)


def standard_includes(compiler):
    """The standard library's folders alone, so that nothing else that is installed here can help."""
    probe = subprocess.run([compiler, "-E", "-v", "-x", "c++", "-"], input="", capture_output=True, text=True, check=True)
    listed = probe.stderr.split("search starts here:")[-1].split("End of search list")[0].split()
    return [part for folder in listed if "c++" in folder for part in ("-isystem", folder)]


def test_public_headers_show_no_third_party(prefix):
    for header in public_headers(prefix):
        included = re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', header.read_text(), re.MULTILINE)
        strange = [name for name in included if "/" in name and not name.startswith("millrace/")]
        assert not strange, f"{header.name} includes {strange}"
        assert not re.search(r"\b(?:grpc|google|v1)::", header.read_text()), header.name
