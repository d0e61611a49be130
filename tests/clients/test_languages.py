"""docs/languages.md as it stands: its files in an empty folder, its commands in a shell, what it says they print."""
import os
import re
import shutil
import subprocess

import pytest

from compacted_broker import LINES
from conftest import ROOT, STEP_SECONDS_MAX

NEEDED = {"Go": ("go", "protoc"), "Node": ("node", "npm"), "Java": ("javac", "mvn")}
PAGE = (ROOT / "docs/languages.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
# What the second program of each language prints, and Python's.
[PROMISED_OF_TOPICS] = (block.splitlines() for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL))
UNREACHABLE = re.compile(r"dial tcp|lookup .* on|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|Could not transfer artifact|Unknown host")


def files_of(section):
    """A block behind a line that ends with a file's name in backquotes and a colon is that file."""
    return dict(re.findall(r"`([\w./]+)`:\n\n```\w+\n(.*?)```", section, re.DOTALL))


def commands_of(section):
    """To prepare, to run the first program, to run the second one."""
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    return [command for block in blocks for command in block.replace("\\\n", "").splitlines()]


def shell(command, folder):
    environment = {**os.environ, "MILLRACE": str(ROOT), "GOTOOLCHAIN": "local"}
    return subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=STEP_SECONDS_MAX, check=False)


def test_the_page_has_these_languages_and_three_commands_each():
    assert SECTIONS.keys() == NEEDED.keys()
    assert [len(commands_of(section)) for section in SECTIONS.values()] == [3, 3, 3]


@pytest.fixture(scope="module", params=NEEDED)
def prepared(request, tmp_path_factory):
    """A language's section, and a folder with its files where its first command has run."""
    language = request.param
    for tool in NEEDED[language]:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on this machine")
    folder = tmp_path_factory.mktemp(language)
    for name, text in files_of(SECTIONS[language]).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    done = shell(commands_of(SECTIONS[language])[0], folder)
    said = done.stdout + done.stderr
    if done.returncode != 0 and UNREACHABLE.search(said):
        pytest.skip(f"{language}: no registry: {said.strip().splitlines()[-1]}")
    assert done.returncode == 0, said
    return SECTIONS[language], folder


def printed(command, folder, address):
    assert "127.0.0.1:7440" in command
    ran = shell(command.replace("127.0.0.1:7440", address), folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout).split("\n")
    return [line for line in lines if line]


def test_two_commands_store_and_read_records(prepared, server):
    section, folder = prepared
    promised = re.search(r"It prints `(.*)` and `(.*)`\.", section)
    assert printed(commands_of(section)[1], folder, server.address) == list(promised.groups())


def test_the_second_command_tells_offsets_where_records_are_gone(prepared, compacted):
    section, folder = prepared
    assert printed(commands_of(section)[1], folder, compacted) == LINES


def test_a_third_one_changes_a_topic_finds_records_by_time_and_deletes_the_oldest(prepared, server):
    section, folder = prepared
    assert printed(commands_of(section)[2], folder, server.address) == PROMISED_OF_TOPICS
