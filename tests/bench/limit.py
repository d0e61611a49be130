"""A slow disk under a fast machine, for Millrace and peers alike: run_bench.py --disk-limit 400MB.

Ways are tried in their order. None is believed: each has to hold, by the device's own counter, what is written and synced,
what the kernel writes back by itself, and what is read. What a way made is undone when the run ends, however it ends.
"""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import time

import disk
from processes import ClusterError, end, last_line, spawn, wait_until

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
EXCESS_MAX = 1.15
CHECK_SECONDS = 3  # of writing at the limit, and of reading
IMAGE_SHARE = 0.9  # of what is free: the image holds all that the servers write
BURST_SECONDS = 0.1  # nbdkit's two seconds would let the servers' bursts pass


class Refused(Exception):
    """Why a way does not work on this machine."""


def parse_rate(text):
    """Bytes a second of 400MB or 1.5GB."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)(KB|MB|GB)", text)
    if not matched or float(matched[1]) == 0:
        raise ValueError(f"not a rate such as 400MB: {text}")
    return int(float(matched[1]) * UNITS[matched[2]])


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(f"{command[0]}: {last_line(done.stderr)}")
    return done.stdout.strip()


# What the device did.


def _rate(counter, field, work):
    """Bytes a second of the device while `work` runs, to the end."""
    before, began = disk.transferred(counter)[field], time.monotonic()
    work()
    return (disk.transferred(counter)[field] - before) / (time.monotonic() - began)


def measure(folder, rate):
    """Bytes a second that get through of each kind, all of which try to be faster than the limit."""
    counter = disk.counter_of(folder)
    if counter is None:
        raise Refused("no block device, and so no counter, is under the folder")
    path, piece = folder / "limit-check", os.urandom(disk.MIB)
    pieces = rate * CHECK_SECONDS // disk.MIB + 1

    def write(finish):
        os.lseek(fd, 0, os.SEEK_SET)
        for _ in range(pieces):
            os.write(fd, piece)
        finish()

    def read():
        os.lseek(fd, 0, os.SEEK_SET)
        while os.read(fd, disk.MIB):
            pass

    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.sync()
        measured = {"fdatasync": _rate(counter, "written", lambda: write(lambda: os.fdatasync(fd))),
                    "writeback": _rate(counter, "written", lambda: write(os.sync))}
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return {**measured, "read": _rate(counter, "read", read)}
    finally:
        os.close(fd)
        path.unlink()


def check(measured, rate):
    over = [f"{name} {value / 1e6:.0f} MB/s" for name, value in measured.items() if value > rate * EXCESS_MAX]
    if over:
        raise Refused(f"does not hold: {', '.join(over)}")


# The ways. Each puts what undoes it on the stack, and returns the folder whose disk is limited.


def mount_of(file_system, option="", mounts=pathlib.Path("/proc/mounts")):
    """Where a cgroup file system is mounted, with this among its options."""
    for line in mounts.read_text(encoding="utf-8").splitlines():
        _, place, kind, options = line.split()[:4]
        if kind == file_system and (not option or option in options.split(",")):
            return pathlib.Path(place)
    raise Refused(f"no {file_system} {option} is mounted".replace("  ", " "))


def whole_disk(folder, *devices):
    """major:minor of the disk under the folder; of a partition, that which it is part of."""
    path = disk.device_of(folder, *devices).resolve()
    if (path / "partition").exists():
        path = path.parent
    if not (path / "dev").exists():
        raise Refused("no block device is under the folder")
    return (path / "dev").read_text(encoding="utf-8").strip()


def own_group(controller, groups):
    """The group of this process, of the text of /proc/self/cgroup; version 2 names no controller."""
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if controller in controllers.split(","):
            return group.lstrip("/")
    raise Refused(f"this process is in no {controller or 'version 2'} group")


def _join(stack, mount, controller, settings):
    """This process, and so all that it starts, in a new group with these settings."""
    former = own_group(controller, pathlib.Path("/proc/self/cgroup").read_text(encoding="utf-8"))
    group = mount / f"millrace-bench-{os.getpid()}"
    group.mkdir()
    stack.callback(group.rmdir)
    for name, value in settings.items():
        (group / name).write_text(value, encoding="utf-8")
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")
    stack.callback((mount / former / "cgroup.procs").write_text, str(os.getpid()), encoding="utf-8")


def by_io_max(stack, folder, rate):
    mount = mount_of("cgroup2")
    if "io" not in (mount / "cgroup.controllers").read_text(encoding="utf-8").split():
        raise Refused("has no io controller")
    subtree = mount / "cgroup.subtree_control"
    if "io" not in subtree.read_text(encoding="utf-8").split():
        subtree.write_text("+io", encoding="utf-8")
        stack.callback(subtree.write_text, "-io", encoding="utf-8")
    _join(stack, mount, "", {"io.max": f"{whole_disk(folder)} rbps={rate} wbps={rate}"})
    return folder


def by_blkio(stack, folder, rate):
    """What the kernel writes back by itself is nobody's in version 1: `check` finds that out."""
    limit = f"{whole_disk(folder)} {rate}"
    _join(stack, mount_of("cgroup", "blkio"), "blkio",
          {f"blkio.throttle.{kind}_bps_device": limit for kind in ("read", "write")})
    return folder


def by_loop(stack, folder, rate):
    """ext4 on a loop device on the file that nbdfuse shows of an image that nbdkit serves, at a rate for each direction."""
    missing = [tool for tool in ("nbdkit", "nbdfuse", "losetup", "mkfs.ext4") if not shutil.which(tool)]
    if missing:
        raise Refused(f"{', '.join(missing)} not there (Debian: nbdkit, libnbd-bin)")
    if not os.path.exists("/dev/fuse"):
        raise Refused("no /dev/fuse")
    place = folder / "limited"
    image, fuse, mount = place / "image", place / "fuse", place / "mount"
    for left in (mount, fuse):  # by a run that was killed
        subprocess.run(["umount", "--quiet", "--lazy", left], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(place, ignore_errors=True)
    for made in (fuse, mount):
        made.mkdir(parents=True)
    stack.callback(shutil.rmtree, place)
    with open(image, "wb") as file:
        file.truncate(int(shutil.disk_usage(folder).free * IMAGE_SHARE))
    run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)  # now, not while we measure
    server = spawn(["nbdfuse", fuse / "disk", "--socket-activation", "nbdkit", "--foreground", "--exit-with-parent",
                    "--filter=rate", "file", image, f"rate={rate * 8}", f"burstiness={BURST_SECONDS}"], place / "log")
    stack.callback(end, server)
    wait_until(lambda: (fuse / "disk").exists() or server.poll() is not None, "nbdfuse")
    if server.poll() is not None:
        raise Refused(f"nbdfuse: {(place / 'log').read_text(encoding='utf-8').strip()}")
    stack.callback(run, "umount", fuse)
    loop = run("losetup", "--show", "--find", "--direct-io=on", fuse / "disk")
    try:
        run("mount", loop, mount)
        stack.callback(run, "umount", mount)
    finally:
        run("losetup", "--detach", loop)  # once nothing is mounted of it
    return mount


WAYS = {"cgroup 2, io.max": by_io_max, "cgroup 1, blkio.throttle": by_blkio, "loop device over nbdkit's rate filter": by_loop}


@contextlib.contextmanager
def limited(folder, rate):
    """The folder to use, and what to tell of its disk: the way, None if none works here, and why not others."""
    if not rate:
        yield folder, None
        return
    told = {"mb_per_second": rate / 1e6, "way": None, "refused": {}}
    for name, way in WAYS.items():
        with contextlib.ExitStack() as stack:
            try:
                place = way(stack, folder, rate)
                measured = measure(place, rate)
                check(measured, rate)
            except (Refused, ClusterError, OSError) as error:
                told["refused"][name] = str(error)
                continue
            told.update(way=name, measured_mb_per_second={kind: value / 1e6 for kind, value in measured.items()})
            yield place, told
            return
    yield folder, told
