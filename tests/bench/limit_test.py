"""A limit of the disk: what it is believed for, and that it leaves nothing."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import limit  # noqa: E402

MB = 10**6


@pytest.mark.parametrize("text, rate", [("400MB", 400 * MB), ("1.5GB", 1500 * MB), ("64KB", 64_000)])
def test_a_rate_has_a_unit(text, rate):
    assert limit.parse_rate(text) == rate


@pytest.mark.parametrize("text", ["400", "0MB", "400Mb", "-1MB", "MB", "400 MB/s"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError):
        limit.parse_rate(text)


def test_a_limit_may_be_exceeded_by_fifteen_percent_and_no_more():
    limit.check({"fdatasync": 114 * MB, "writeback": 90 * MB, "read": 100 * MB}, 100 * MB)
    with pytest.raises(limit.Refused, match="does not hold: writeback 116 MB/s$"):
        limit.check({"fdatasync": 100 * MB, "writeback": 116 * MB, "read": 100 * MB}, 100 * MB)


def ways_of(monkeypatch, undone, **measured):
    """A way for each name, which reaches so many MB/s, None where it cannot be made."""
    def way_of(name):
        def way(stack, folder, rate):
            del rate
            stack.callback(undone.append, name)
            if measured[name] is None:
                raise limit.Refused("is not here")
            return folder / name

        return way

    monkeypatch.setattr(limit, "WAYS", {name: way_of(name) for name in measured})
    monkeypatch.setattr(limit, "measure", lambda folder, rate: {"read": measured[folder.name] * MB})


def test_the_first_way_that_holds_is_taken_and_the_others_are_undone_and_named(monkeypatch, tmp_path):
    undone = []
    ways_of(monkeypatch, undone, absent=None, leaking=500, holding=99, late=99)
    with limit.limited(tmp_path, 100 * MB) as (folder, told):
        assert folder == tmp_path / "holding"
        assert undone == ["absent", "leaking"]
        assert told == {"mb_per_second": 100, "way": "holding", "measured_mb_per_second": {"read": 99},
                        "refused": {"absent": "is not here", "leaking": "does not hold: read 500 MB/s"}}
    assert undone == ["absent", "leaking", "holding"]


def test_a_limit_is_undone_after_ctrl_c(monkeypatch, tmp_path):
    undone = []
    ways_of(monkeypatch, undone, holding=99)
    with pytest.raises(KeyboardInterrupt), limit.limited(tmp_path, 100 * MB):
        raise KeyboardInterrupt
    assert undone == ["holding"]


def test_where_no_way_works_the_run_goes_on_in_its_own_folder(monkeypatch, tmp_path):
    ways_of(monkeypatch, [], absent=None)
    with limit.limited(tmp_path, 100 * MB) as (folder, told):
        assert folder == tmp_path
        assert told["way"] is None and told["refused"] == {"absent": "is not here"}


def test_a_run_that_asks_for_no_limit_has_none(tmp_path):
    with limit.limited(tmp_path, None) as (folder, told):
        assert folder == tmp_path and told is None


def test_the_group_of_this_process_is_told_by_its_controller():
    groups = "7:cpu,blkio:/jobs/a\n3:cpuset:/\n0::/session\n"
    assert limit.own_group("blkio", groups) == "jobs/a"
    assert limit.own_group("", groups) == "session"
    with pytest.raises(limit.Refused):
        limit.own_group("memory", groups)


def test_a_cgroup_mount_is_found_by_its_controller(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("cgroup /c/cpu cgroup rw,cpu 0 0\ncgroup /c/blkio cgroup rw,blkio 0 0\ncgroup2 /c/two cgroup2 rw 0 0\n")
    assert limit.mount_of("cgroup", "blkio", mounts) == pathlib.Path("/c/blkio")
    assert limit.mount_of("cgroup2", mounts=mounts) == pathlib.Path("/c/two")
    with pytest.raises(limit.Refused, match="no cgroup memory is mounted"):
        limit.mount_of("cgroup", "memory", mounts)


def test_a_partition_is_limited_by_its_disk(tmp_path):
    device = os.stat(tmp_path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    partition = tmp_path / "disk" / "part"
    partition.mkdir(parents=True)
    (tmp_path / number).symlink_to(partition)
    (tmp_path / "disk" / "dev").write_text("8:0\n")
    (partition / "dev").write_text(number)
    assert limit.whole_disk(tmp_path, tmp_path) == number
    (partition / "partition").write_text("1\n")
    assert limit.whole_disk(tmp_path, tmp_path) == "8:0"
