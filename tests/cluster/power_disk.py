"""A disk that can lose its power, and can stall: what was synced stays, what was only written is gone.

An ext4 in a loop file that lies in another ext4 in a loop file. The outer one is the disk's volatile cache: writes to the
inner file system (even O_DIRECT ones) reach only the outer one's page cache, and its fsync is the disk's flush. Shutting
the outer one down without a log flush (FS_IOC_SHUTDOWN) loses exactly what was not flushed. No sleeping, no guessing.

    disk = PowerDisk(folder, 256 << 20)      # raises NotPermitted where loop devices may not be mounted
    disk.cut_power()                         # from here on every write and flush fails
    disk.restore_power()                     # after whoever used it is dead: mounted again, journals replayed
    disk.close()
"""
import fcntl
import os
import struct
import subprocess

from privileged import NotPermitted, run

_FS_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_FIFREEZE = 0xC0045877
_FITHAW = 0xC0045878
_BLOCK_BYTES = 4096
_OUTER_EXTRA_BYTES = 64 << 20


def _ioctl(path, request, argument):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, request, argument)
    finally:
        os.close(descriptor)


class PowerDisk:
    def __init__(self, folder, size_bytes):
        self.outer_image = folder / "outer.img"
        self.outer = folder / "outer"
        self.inner_image = self.outer / "inner.img"
        self.path = folder / "disk"
        self._is_frozen = False
        self._unmount()  # a run that was killed may have left it
        for mount_point in (self.outer, self.path):
            mount_point.mkdir(parents=True, exist_ok=True)
        try:
            self._make(self.outer_image, size_bytes + _OUTER_EXTRA_BYTES)
            run("mount", "-o", "loop", self.outer_image, self.outer)
            self._make(self.inner_image, size_bytes)
            run("sync", "-f", self.outer)
            run("mount", "-o", "loop", self.inner_image, self.path)
        except (NotPermitted, OSError) as error:
            self.close()
            raise NotPermitted(str(error)) from error

    @staticmethod
    def _make(image, size_bytes):
        with open(image, "wb") as file:
            file.truncate(size_bytes)
        # Without -b it would be 1 KiB blocks for an image this small, and nobody's real disk is like that.
        run("mkfs.ext4", "-q", "-F", "-b", _BLOCK_BYTES, "-E", "lazy_itable_init=0,lazy_journal_init=0", image)

    def cut_power(self):
        # The cache goes first: shutting the inner file system down writes to its disk, and that would flush it.
        for mount_point in (self.outer, self.path):
            _ioctl(mount_point, _FS_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))

    def restore_power(self):
        """Pre: nobody has a file open there, and it does not stall."""
        run("umount", self.path)
        run("umount", self.outer)
        run("mount", "-o", "loop", self.outer_image, self.outer)
        run("mount", "-o", "loop", self.inner_image, self.path)

    def stall(self):
        """Every write waits until resume()."""
        _ioctl(self.path, _FIFREEZE, 0)
        self._is_frozen = True

    def resume(self):
        if self._is_frozen:
            _ioctl(self.path, _FITHAW, 0)
            self._is_frozen = False

    def close(self):
        """Unmounts and deletes what there is; whatever happened before."""
        self.resume()
        self._unmount()
        self.outer_image.unlink(missing_ok=True)

    def _unmount(self):
        for mount_point in (self.path, self.outer):
            if os.path.ismount(mount_point):
                subprocess.run(["umount", str(mount_point)], check=False)
            if os.path.ismount(mount_point):  # someone has it open still: it goes when they do
                subprocess.run(["umount", "--lazy", str(mount_point)], check=False)
