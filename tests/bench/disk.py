"""The disk under a folder: what it can do, and what is written to it."""
import contextlib
import mmap
import os
import pathlib
import statistics
import time

MIB = 1 << 20
SECTOR = 512  # of the counters, whatever the device has
PROBE_MIB = 128
SYNCS = 100


def device_of(folder, devices=pathlib.Path("/sys/dev/block")):
    """What the kernel tells of the block device under a folder; not there where there is no such device (tmpfs, overlay)."""
    device = os.stat(folder).st_dev
    return devices / f"{os.major(device)}:{os.minor(device)}"


def counter_of(folder):
    """The statistics of that device; none where there is none."""
    path = device_of(folder) / "stat"
    return path if path.exists() else None


def transferred(counter):
    """Bytes that the device has read and has written."""
    fields = counter.read_text(encoding="utf-8").split()
    return {"read": int(fields[2]) * SECTOR, "written": int(fields[6]) * SECTOR}


def drop_cached(folder):
    """Brings the folder's files to the disk and out of the page cache, as they are after a while without readers."""
    os.sync()
    for path in pathlib.Path(folder).rglob("*"):
        if not path.is_file():
            continue
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Written:
    """Bytes that reach the device, and that these processes make dirty, from its making on; not what was dirty before."""

    def __init__(self, folder, pids):
        self.counter, self.pids = counter_of(folder), pids
        os.sync()
        self.device, self.processes = self._device(), self._processes()

    def _device(self):
        return transferred(self.counter)["written"] if self.counter else 0

    def _processes(self):
        total = 0
        for pid in self.pids:
            for line in pathlib.Path(f"/proc/{pid}/io").read_text(encoding="utf-8").splitlines():
                if line.startswith("write_bytes:"):
                    total += int(line.split()[1])
        return total

    def per_byte(self, produced):
        """Fields of a sample, for so many bytes of records on so many replicas together. Waits until all is on the device."""
        os.sync()
        fields = {}
        if self.counter is not None:
            fields["device_bytes_per_byte"] = (self._device() - self.device) / produced
        if self.pids:
            fields["process_bytes_per_byte"] = (self._processes() - self.processes) / produced
        return fields


def _sync_ms(fd, piece):
    """The median of a write over bytes that are there, with fdatasync."""
    times = []
    for i in range(SYNCS):
        began = time.monotonic()
        os.pwrite(fd, piece, i * len(piece) % (PROBE_MIB * MIB))
        os.fdatasync(fd)
        times.append(time.monotonic() - began)
    return statistics.median(times) * 1e3


def _sequential(fd, piece):
    """MB/s of the file written once, with what is then dirty brought to the disk."""
    began = time.monotonic()
    for i in range(PROBE_MIB):
        os.pwrite(fd, piece, i * MIB)
    os.fdatasync(fd)
    return PROBE_MIB * MIB / 1e6 / (time.monotonic() - began)


@contextlib.contextmanager
def _opened(path, flags):
    fd = os.open(path, flags, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def probe(folder):
    """What the disk can do, in a file of its own: four lines without which figures of different machines say nothing."""
    path = pathlib.Path(folder) / "disk-probe"
    piece = mmap.mmap(-1, MIB)  # aligned, as O_DIRECT wants it
    piece.write(os.urandom(MIB))
    try:
        with _opened(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as fd:
            facts = {"page_cache_mb_per_second": _sequential(fd, piece), "sync_4k_ms": _sync_ms(fd, memoryview(piece)[:4096]),
                     "sync_1m_ms": _sync_ms(fd, piece)}
        with contextlib.suppress(OSError), _opened(path, os.O_RDWR | os.O_DIRECT) as fd:  # not every file system has it
            facts["direct_mb_per_second"] = _sequential(fd, piece)
    finally:
        path.unlink(missing_ok=True)
    return facts
