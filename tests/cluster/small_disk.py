"""A small disk that a test fills to the last byte: an ext4 in a loop file.

    disk = SmallDisk(folder, 160 << 20)      # raises NotPermitted where loop devices may not be mounted
    disk.fill()                              # what another program writes; empty() takes it away
    disk.free_bytes()
    disk.close()
"""
import errno
import os
import subprocess

from privileged import NotPermitted, run

_PIECE_BYTES = 1 << 20


class SmallDisk:
    def __init__(self, folder, size_bytes):
        self.image = folder / "disk.img"
        self.path = folder / "disk"
        self._filler = self.path / "filler"
        self._unmount()  # a run that was killed may have left it
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(size_bytes)
        try:
            # -m 0: nothing is kept back for root, whom the tests run as.
            run("mkfs.ext4", "-q", "-F", "-b", 4096, "-m", 0, "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
            run("mount", "-o", "loop", self.image, self.path)
        except NotPermitted:
            self.close()
            raise

    def fill(self, left_bytes=0):
        """Down to so many free bytes; fewer where the others write."""
        with open(self._filler, "ab", buffering=0) as filler:
            piece = bytes(_PIECE_BYTES)
            while piece and self.free_bytes() > left_bytes:
                try:
                    filler.write(piece)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece = piece[:len(piece) // 2]
            os.fsync(filler.fileno())

    def empty(self):
        self._filler.unlink(missing_ok=True)

    def free_bytes(self):
        usage = os.statvfs(self.path)
        return usage.f_bavail * usage.f_frsize

    def close(self):
        self._unmount()
        self.image.unlink(missing_ok=True)

    def _unmount(self):
        if os.path.ismount(self.path):
            subprocess.run(["umount", str(self.path)], check=False)
        if os.path.ismount(self.path):  # someone has it open still: it goes when they do
            subprocess.run(["umount", "--lazy", str(self.path)], check=False)
