#!/usr/bin/env python3
"""The inputs that fuzzing begins with: packed in tests/fuzz/corpus, one .tar.xz a target, unpacked in build/fuzz/corpus.

    tests/fuzz/corpus.py unpack [TARGET ...]        # all, or these: the folder then holds what the pack holds, no more
    tests/fuzz/corpus.py add TARGET FILE ...        # puts inputs into a pack, each under its file's name
    tests/fuzz/corpus.py pack [--drop] [TARGET ...] # the folder back into the pack; --drop: what is gone from it, too

The same inputs make the same bytes, whatever the files' times and owners are. Whoever unpacks wants every input there: a
pack that is missing, damaged or empty is an error. Standard library only; `tar -tJf` looks into one.
"""
import argparse
import io
import lzma
import os
import pathlib
import re
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
PACKS = HERE / "corpus"
FOLDERS = HERE.parents[1] / "build" / "fuzz" / "corpus"
# A plain file of the folder itself, wherever a pack comes from; and no longer than tar has room for.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class CorpusError(Exception):
    """What is wrong, and where."""


def targets(here=HERE):
    return sorted(path.name.removesuffix("_fuzz.cc") for path in here.glob("*_fuzz.cc"))


def pack_of(target):
    return PACKS / f"{target}.tar.xz"


def read_pack(path):
    """Name to content of each input; at least one."""
    inputs = {}
    try:
        # All of it first, so that xz has held it against its checksum.
        with tarfile.open(fileobj=io.BytesIO(lzma.decompress(path.read_bytes())), mode="r:") as pack_file:
            for member in pack_file:
                if not member.isreg() or not NAME.fullmatch(member.name) or member.name in inputs:
                    raise CorpusError(f"{path}: {member.name!r} is no file of the folder itself, or is there twice")
                inputs[member.name] = pack_file.extractfile(member).read()
    except FileNotFoundError:
        raise CorpusError(f"{path}: is missing") from None
    except (tarfile.TarError, lzma.LZMAError) as error:
        raise CorpusError(f"{path}: is damaged: {error}") from None
    if not inputs:
        raise CorpusError(f"{path}: holds no input")
    return inputs


def packed(inputs):
    """The bytes of a pack: by name, without times, owners and modes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.USTAR_FORMAT) as pack_file:
        for name, content in sorted(inputs.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            pack_file.addfile(member, io.BytesIO(content))
    return lzma.compress(out.getvalue())


def write_pack(path, inputs):
    """Leaves a pack of these inputs as it is: another version of xz may write them otherwise."""
    if path.exists() and read_pack(path) == inputs:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(packed(inputs))
    os.replace(unfinished, path)


def read_folder(folder):
    """Name to content, of a folder that holds inputs alone."""
    inputs = {}
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_symlink() or not path.is_file() or not NAME.fullmatch(path.name):
            raise CorpusError(f"{path}: is no input, take it away")
        inputs[path.name] = path.read_bytes()
    return inputs


def unpack(path, folder):
    """Makes the folder hold what the pack holds and no more; touches only what differs."""
    inputs, there = read_pack(path), read_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in there.keys() - inputs.keys():
        (folder / name).unlink()
    for name, content in inputs.items():
        if there.get(name) != content:
            (folder / name).write_bytes(content)
    return f"{len(inputs)} inputs"


def pack(folder, path, may_drop=False):
    """Loses no input by accident, as when the folder was unpacked before the pack grew."""
    inputs = read_folder(folder)
    if not inputs:
        raise CorpusError(f"{folder}: holds no input; unpack first")
    known = read_pack(path) if path.exists() else {}
    gone = sorted(known.keys() - inputs.keys())
    if gone and not may_drop:
        raise CorpusError(f"{folder}: lacks {len(gone)} inputs of the pack, as {gone[0]}; --drop if they are to go")
    write_pack(path, inputs)
    changed = sum(known.get(name) != content for name, content in inputs.items())
    return f"{len(inputs)} inputs, {changed} new or changed, {len(gone)} gone"


def add(path, files):
    """To the pack alone: what is unpacked follows at the next unpack."""
    inputs = read_pack(path) if path.exists() else {}
    before = len(inputs)
    for file in files:
        content = file.read_bytes()
        if not NAME.fullmatch(file.name) or inputs.get(file.name, content) != content:
            raise CorpusError(f"{file}: the name is taken by another input, or not a plain one")
        if content not in inputs.values():
            inputs[file.name] = content
    write_pack(path, inputs)
    return f"{len(inputs)} inputs, {len(inputs) - before} new"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("unpack").add_argument("targets", nargs="*", metavar="TARGET")
    packs = commands.add_parser("pack")
    packs.add_argument("--drop", action="store_true")
    packs.add_argument("targets", nargs="*", metavar="TARGET")
    adds = commands.add_parser("add")
    adds.add_argument("targets", nargs=1, metavar="TARGET")
    adds.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    code = 0
    for target in options.targets or targets():
        try:
            if target not in targets():
                raise CorpusError(f"{target}: there is no {target}_fuzz.cc")
            path, folder = pack_of(target), FOLDERS / target
            if options.command == "unpack":
                done = unpack(path, folder)
            elif options.command == "pack":
                done = pack(folder, path, options.drop)
            else:
                done = add(path, options.files)
            print(f"{target}: {done}")
        except (CorpusError, OSError) as error:
            print(f"corpus.py: {error}", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
