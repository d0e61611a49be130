"""Fixtures of tests/cluster: the binary, a folder per test that is kept when the test fails, clusters.

A faulty cluster is one whose disks and network obey the test: `cluster.disks[id]` (power_disk.py) and
`cluster.network` (network.py).
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))

from local_cluster import LocalCluster, default_binary  # noqa: E402
from network import Network  # noqa: E402
from power_disk import PowerDisk  # noqa: E402
from privileged import NotPermitted  # noqa: E402

DISK_BYTES = 256 << 20


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
def make_faulty_cluster(make_cluster, folder):
    """Makes clusters with the topic `events`; brokers end with the test, then their disks and network."""
    with contextlib.ExitStack() as stack:
        def make(count=3, has_disks=False, has_network=False, flags=(), **options):
            cluster = make_cluster(count=count, flags=[*flags, *(["--insecure"] if has_network else [])], **options)
            cluster.disks = {}
            cluster.network = None
            try:
                if has_network:
                    cluster.network = Network(count)
                    stack.callback(cluster.network.close)
                    cluster.network.adopt(cluster)
                for broker_id, broker in cluster.brokers.items() if has_disks else ():
                    cluster.disks[broker_id] = PowerDisk(folder / f"disk-{broker_id}", DISK_BYTES)
                    stack.callback(cluster.disks[broker_id].close)
                    broker.data_dir = cluster.disks[broker_id].path / "data"
            except NotPermitted as error:
                pytest.skip(f"not permitted here: {error}")
            stack.callback(end_at_once, cluster)
            cluster.start_all()
            cluster.run("topic", "create", "events", "--partitions", "4", "--replicas", str(count))
            return cluster

        yield make


def end_at_once(cluster):
    """Whatever state the test left it in: a stalled disk would keep its broker from dying."""
    for disk in cluster.disks.values():
        disk.resume()
    for broker in cluster.brokers.values():
        broker.end(signal.SIGKILL)


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
