"""What is said of the disk."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import disk  # noqa: E402


def test_what_this_process_writes_is_counted_once(tmp_path):
    if disk.counter_of(tmp_path) is None:
        pytest.skip("no block device under the folder")
    written = disk.Written(tmp_path, [os.getpid()])
    size = 4 << 20
    (tmp_path / "file").write_bytes(os.urandom(size))
    fields = written.per_byte(size)
    assert 1.0 <= fields["process_bytes_per_byte"] < 1.1
    assert fields["device_bytes_per_byte"] >= 1.0  # others write there, too


def test_a_folder_without_a_device_has_no_figure():
    assert disk.counter_of("/proc") is None
    assert "device_bytes_per_byte" not in disk.Written("/proc", []).per_byte(1)


def test_the_probe_tells_four_facts_and_leaves_nothing(tmp_path):
    facts = disk.probe(tmp_path)
    assert {"page_cache_mb_per_second", "sync_4k_ms", "sync_1m_ms"} <= set(facts)
    assert all(value > 0 for value in facts.values())
    assert not list(tmp_path.iterdir())
