"""Packs of inputs: nothing is lost on the way there and back, and what is not whole is refused."""
import io
import lzma
import os
import pathlib
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import corpus  # noqa: E402

INPUTS = {"seed-a": b"a", "0beef": bytes(range(256)), "empty": b"", "crash-1": b"\r\n"}


class CorpusTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = pathlib.Path(scratch.name)
        self.path, self.folder = self.root / "packs" / "a.tar.xz", self.root / "a"

    def fill(self, inputs):
        self.folder.mkdir(exist_ok=True)
        for name, content in inputs.items():
            (self.folder / name).write_bytes(content)

    def packed(self):
        self.fill(INPUTS)
        corpus.pack(self.folder, self.path)
        return self.path.read_bytes()

    def refused(self, why, call, *arguments):
        with self.assertRaisesRegex(corpus.CorpusError, why):
            call(*arguments)

    def test_pack_unpack_pack_is_the_identity(self):
        before = self.packed()
        other = self.root / "b"
        corpus.unpack(self.path, other)
        self.assertEqual(corpus.read_folder(other), INPUTS)
        for number, file in enumerate(sorted(other.iterdir(), reverse=True)):
            file.chmod(0o600)
            os.utime(file, (number, number))
        self.path.unlink()
        corpus.pack(other, self.path)
        self.assertEqual(self.path.read_bytes(), before)

    def test_same_inputs_leave_a_pack_that_another_xz_wrote(self):
        before = lzma.compress(lzma.decompress(self.packed()), preset=0)
        self.path.write_bytes(before)
        corpus.pack(self.folder, self.path)
        self.assertEqual(self.path.read_bytes(), before)

    def test_unpack_makes_the_folder_what_the_pack_is(self):
        self.packed()
        untouched = self.folder / "0beef"
        os.utime(untouched, (1, 1))
        (self.folder / "empty").unlink()
        self.fill({"seed-a": b"changed", "not-packed": b"b"})
        corpus.unpack(self.path, self.folder)
        self.assertEqual(corpus.read_folder(self.folder), INPUTS)
        self.assertEqual(untouched.stat().st_mtime, 1)

    def test_missing_empty_and_damaged_packs_are_errors(self):
        self.refused("is missing", corpus.unpack, self.path, self.folder)
        whole = self.packed()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:]
        for bad in (b"", b"no xz", whole[:-1], flipped, lzma.compress(b"no tar")):
            self.path.write_bytes(bad)
            self.refused("is damaged", corpus.unpack, self.path, self.folder)
        self.path.write_bytes(corpus.packed({}))
        self.refused("holds no input", corpus.unpack, self.path, self.folder)

    def test_unpack_refuses_what_is_no_file_of_the_folder(self):
        self.folder.mkdir()
        for name in ("../outside", "/outside", "inner/a", "..", ".hidden", "a\n"):
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_bytes(corpus.packed({"good": b"a", name: b"b"}))
            self.refused("no file of the folder", corpus.unpack, self.path, self.folder)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../outside"
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:xz") as pack:
            pack.addfile(link)
        self.path.write_bytes(out.getvalue())
        self.refused("no file of the folder", corpus.unpack, self.path, self.folder)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_unpack_does_not_write_through_a_link(self):
        self.packed()
        (self.folder / "seed-a").unlink()
        (self.folder / "seed-a").symlink_to(self.root / "outside")
        self.refused("is no input", corpus.unpack, self.path, self.folder)
        self.assertFalse((self.root / "outside").exists())

    def test_pack_loses_inputs_only_when_told(self):
        before = self.packed()
        (self.folder / "empty").unlink()
        self.refused("lacks 1 inputs of the pack, as empty", corpus.pack, self.folder, self.path)
        self.assertEqual(self.path.read_bytes(), before)
        corpus.pack(self.folder, self.path, True)
        self.assertEqual(len(corpus.read_pack(self.path)), len(INPUTS) - 1)
        self.refused("holds no input", corpus.pack, self.root / "nowhere", self.path, True)

    def test_add_puts_an_input_into_the_pack_once(self):
        before = self.packed()
        crash = self.root / "crash-2"
        crash.write_bytes(b"boom")
        corpus.add(self.path, [crash])
        self.assertEqual(corpus.read_pack(self.path), {**INPUTS, "crash-2": b"boom"})
        self.path.write_bytes(before)
        crash.write_bytes(INPUTS["0beef"])
        corpus.add(self.path, [crash])
        self.assertEqual(self.path.read_bytes(), before)

    def test_add_never_replaces_an_input(self):
        before = self.packed()
        other = self.root / "seed-a"
        other.write_bytes(b"not a")
        self.refused("is taken", corpus.add, self.path, [other])
        self.assertEqual(self.path.read_bytes(), before)

    def test_add_begins_the_pack_of_a_new_target(self):
        first = self.root / "first"
        first.write_bytes(b"1")
        corpus.add(self.path, [first])
        self.assertEqual(corpus.read_pack(self.path), {"first": b"1"})


class TreeTest(unittest.TestCase):
    def test_each_target_has_a_pack_and_each_pack_a_target(self):
        names = sorted(path.name for path in corpus.PACKS.iterdir())
        self.assertEqual(names, [corpus.pack_of(target).name for target in corpus.targets()])
        for target in corpus.targets():
            self.assertTrue(corpus.read_pack(corpus.pack_of(target)), target)


if __name__ == "__main__":
    unittest.main()
