"""The C++ library's public classes, as installed, against a real broker of their own, which the checks also stop."""
import os

from conftest import ROOT, run, running_server

PROJECT = """
cmake_minimum_required(VERSION 3.24)
project(checks LANGUAGES CXX)
find_package(Millrace REQUIRED)
find_package(GTest REQUIRED)
add_executable(library_checks library_checks.cc transaction_checks.cc)
target_link_libraries(library_checks PRIVATE Millrace::client GTest::gmock GTest::gtest_main)
"""


def test_the_library_keeps_its_contracts(prefix, binary, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(PROJECT)
    for name in ("library_checks.cc", "transaction_checks.cc"):
        (project / name).write_text((ROOT / "tests/client/api" / name).read_text())
    run("cmake", "-G", "Ninja", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", project / "build")
    with running_server(binary, tmp_path) as server:
        run(project / "build/library_checks", env={**os.environ, "MILLRACE_BOOTSTRAP": server.address,
                                                   "MILLRACE_SERVER_PID": str(server.process.pid)})
