#!/usr/bin/env python3
"""Holds the tree against tests/arch/layers.py: includes, banned calls, and a few habits that keep it readable; and what it
cites of the design against docs/design.md.

Looks at the files that git tracks, or would track. Prints a line per problem, `path:line: what and what instead`, and
reports the longest files and functions. Exits 1 if there is a problem. Standard library only.

    tests/arch/check.py [ROOT]
"""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import layers  # noqa: E402

CODE = (".h", ".cc")
TEXT = CODE + (".py", ".sh", ".md", ".txt", ".proto", ".json", ".yaml", ".yml", ".cmake", ".go", ".mod", ".sum", ".in", ".toml",
               ".xml", ".cfg")
HERE = "tests/arch/"
DESIGN = "docs/design.md"
# A line may end within what a comment cites: the next one then begins with the comment's mark.
_GAP = r"\s+(?:(?://+|#|\*)\s*)?"
_NAME = r"[A-Z]\d+\b"
_AND = rf"(?:and|or|to|&){_GAP}"
_CITED = re.compile(rf"\b(?i:designs?){_GAP}({_NAME}(?:(?:[/–-]|,(?:{_GAP})?(?:{_AND})?|{_GAP}{_AND}){_NAME})*)")
REPORTED = 5


def folder_of(path):
    return path.rpartition("/")[0]


def starts_with_any(path, prefixes):
    return any(path.startswith(prefix) for prefix in prefixes)


def strip_comments(text):
    """The code alone: comments and the insides of strings become blanks, line ends stay."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"\((?:.*?)\)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'',
                         re.DOTALL)

    def blank(match):
        found = match.group(0)
        inside = re.sub(r"[^\n]", " ", found)
        return inside if found.startswith("/") else '"' + inside[1:-1] + '"'

    return pattern.sub(blank, text)


def lines_of(text):
    return enumerate(text.split("\n"), start=1)


def target_folder(name, known):
    """The folder of what is included as `name`; of a public header the one that it, or what it is made of, lies in."""
    folder, _, file = name.rpartition("/")
    if folder == "millrace":
        for public in layers.PUBLIC_HEADERS:
            if known & {f"{public}/{file}", f"{public}/{file}.in"}:
                return public
    return folder


def check_includes(path, text, known):
    """An include points left in the layer table, never right. `known` are the files that there are."""
    folder = folder_of(path)
    if not path.endswith(CODE) or not starts_with_any(path, [top + "/" for top in layers.CODE_TOPS]):
        return
    allowed = layers.LAYERS.get(folder)
    if allowed is None:
        yield path, 1, f"the folder {folder} is not in the layer table of tests/arch/layers.py"
        return
    for number, line in lines_of(text):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            continue
        target = target_folder(match.group(1), known)
        if not target:
            yield path, number, f'"{match.group(1)}": include paths are from the root'
        elif folder_of(match.group(1)) in layers.PUBLIC_HEADERS:
            yield path, number, f'"{match.group(1)}": public headers are included as they are installed, as "millrace/..."'
        elif target != folder and target not in allowed:
            yield path, number, f"{folder} must not know {target}: includes point left in proto <- raft <- storage <- broker"


def check_banned(path, text):
    """Calls that would bring the real world into code that is given a world."""
    if not path.endswith(CODE) or not starts_with_any(path, [top + "/" for top in layers.CODE_TOPS]):
        return
    code = strip_comments(text)
    for what, pattern, instead, allowed in layers.BANNED:
        if starts_with_any(path, allowed):
            continue
        for match in re.finditer(pattern, code, re.MULTILINE):
            number = code.count("\n", 0, match.start() + 1) + 1
            yield path, number, f"{match.group(0).strip()} ({what}) is banned here: {instead}"


def check_header(path, text):
    """A header opens with a paragraph: what it is, who owns it, which thread."""
    if not path.endswith(".h"):
        return
    if not text.startswith("// "):
        yield path, 1, "a header opens with a paragraph: what it is, who owns it, which thread may call it"
    if "#pragma once" not in text:
        yield path, 1, "a header has #pragma once"


def check_text(path, text):
    """Trailing spaces, TODO without an issue, and text that ties the tree to one machine."""
    is_own = path.startswith(HERE)
    for number, line in lines_of(text):
        if line != line.rstrip() and path != "LICENSE":
            yield path, number, "spaces at the end of the line"
        if not is_own and re.search(r"\b(?:TODO|FIXME|XXX)\b(?!\(#\d+\))", line):
            yield path, number, "a TODO needs the issue that does it: TODO(#12)"
        for pattern, what in () if is_own else layers.MACHINE_TEXT:
            if re.search(pattern, line):
                yield path, number, f"{what} does not belong in the tree"


def decisions_of(root):
    """The names of the decisions that have a section: `## D1. ...` is D1's."""
    page = root / DESIGN
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    return set(re.findall(rf"^## ({_NAME})", text, re.MULTILINE))


def check_design(path, text, decisions):
    """What is cited of the design, alone or several at once, has its section there."""
    if path == DESIGN:
        return
    for cited in _CITED.finditer(text):
        for name in re.finditer(_NAME, cited.group(1)):
            if name.group(0) in decisions:
                continue
            number = text.count("\n", 0, cited.start(1) + name.start()) + 1
            yield path, number, f"{name.group(0)} has no section in {DESIGN}: cite one that has, or say the thing itself"


def check_readmes(paths):
    """Every folder with code says what it is; one that mirrors another under tests/ leans on that one's."""
    known = set(paths)
    folders = {folder_of(path) for path in paths if path.endswith(CODE) and path.split("/")[0] in layers.TOPS}
    for folder in sorted(folders):
        is_mirror = folder.removeprefix("tests/") in folders - {folder}
        if not is_mirror and f"{folder}/README.md" not in known:
            yield folder, 0, "a folder with code has a README.md of at most a page"


def check_blobs(root, paths):
    for path in paths:
        size = (root / path).stat().st_size
        if size > layers.BLOB_BYTES_MAX and not starts_with_any(path, layers.BLOB_FOLDERS):
            yield path, 0, f"{size:,} bytes: data of this size lives in tests/data"


def tracked_files(root):
    """What git tracks or would track, of what is there."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted({path for path in listed.split("\0") if path and (root / path).is_file()})


def check_tree(root, paths):
    """Every problem of these files, as (path, line, what)."""
    problems = list(check_readmes(paths)) + list(check_blobs(root, paths))
    decisions = decisions_of(root)
    known = set(paths)
    for path in paths:
        if not path.endswith(TEXT):
            continue
        text = (root / path).read_text(encoding="utf-8", errors="replace")
        for check in (check_banned, check_header, check_text):
            problems += check(path, text)
        problems += check_includes(path, text, known)
        problems += check_design(path, text, decisions)
    return problems


def functions_of(text):
    """(first line, lines) of each function of formatted C++: from its head to the brace in column 0."""
    begin = None
    for number, line in lines_of(text):
        if begin is None:
            if re.match(r"[A-Za-z].*[({,]$|[A-Za-z].*\) (?:const )?(?:override )?\{$", line) and \
                    not re.match(r"(?:namespace|class|struct|enum|union|extern|using|template)\b", line):
                begin = number
        elif line.startswith("}"):
            yield begin, number - begin + 1
            begin = None
        elif line.endswith(";") and not line.startswith(" "):
            begin = None


def report_sizes(root, paths):
    """The longest files and functions, for the reader's sake; never a failure."""
    files, functions = [], []
    for path in paths:
        if path.endswith(CODE):
            text = (root / path).read_text(encoding="utf-8", errors="replace")
            files.append((text.count("\n"), path))
            functions += [(length, f"{path}:{begin}") for begin, length in functions_of(text)]
    print(f"longest files (aim 400 lines, at most {layers.FILE_LINES_MAX}):")
    for lines, path in sorted(files, reverse=True)[:REPORTED]:
        print(f"  {lines:5d}  {path}")
    print(f"longest functions (aim 25 lines, at most {layers.FUNCTION_LINES_MAX}):")
    for lines, where in sorted(functions, reverse=True)[:REPORTED]:
        print(f"  {lines:5d}  {where}")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()
    paths = tracked_files(root)
    problems = check_tree(root, paths)
    for path, line, what in problems:
        print(f"{path}:{line}: {what}" if line else f"{path}: {what}")
    report_sizes(root, paths)
    print(f"{len(paths)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
