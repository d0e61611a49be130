"""Fixtures of tests/cluster: the binary, a folder per test that is kept when the test fails, clusters."""
import os
import pathlib
import re
import shutil
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))

from local_cluster import LocalCluster, default_binary  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="the long forms of the fault tests")


@pytest.fixture(scope="session")
def is_long(request):
    return request.config.getoption("--long")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Remembers on the test whether its body failed, for the fixtures that clean up."""
    del call
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.has_failed = report.failed


@pytest.fixture(scope="session")
def binary():
    path = pathlib.Path(default_binary())
    if not os.access(path, os.X_OK):
        pytest.exit(f"no binary at {path}: cmake --preset release && cmake --build --preset release", 2)
    return path


@pytest.fixture(scope="session")
def debug_binary():
    """The binary of the test build, which has the deliberately broken variants in it."""
    path = ROOT / "build" / "debug" / "bin" / "millrace"
    if not os.access(path, os.X_OK):
        pytest.exit(f"no binary at {path}: cmake --preset debug && cmake --build --preset debug --target millrace", 2)
    return path


@pytest.fixture()
def folder(request):
    """This test's own folder, with the brokers' data and logs; kept if the test fails."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", request.node.name)[:80]
    path = ROOT / "build" / "cluster" / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    yield path
    if getattr(request.node, "has_failed", True):
        print(f"data and logs are kept in {path}")
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture()
def make_cluster(binary, folder):
    """Makes clusters that end with the test, whatever happens in it."""
    clusters = []

    def make(count=3, name="demo", flags=(), subfolder=".", binary=binary):
        cluster = LocalCluster(binary, folder / subfolder, count=count, name=name, flags=flags)
        clusters.append(cluster)
        return cluster

    yield make
    for cluster in clusters:
        cluster.stop_all()


@pytest.fixture()
def cluster(make_cluster):
    """Three brokers, up and answering."""
    made = make_cluster()
    made.start_all()
    return made


@pytest.fixture()
def single(make_cluster):
    """The embedded single broker."""
    made = make_cluster(count=1)
    made.start_all()
    return made
