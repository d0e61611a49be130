"""docs/languages.md as it stands: its files in an empty folder, its commands in a shell, what it says they print."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT, STEP_SECONDS_MAX

NEEDED = {"Go": ("go", "protoc"), "Node": ("node", "npm"), "Java": ("javac", "mvn")}
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/languages.md").read_text(),
                           re.MULTILINE | re.DOTALL))
UNREACHABLE = re.compile(r"dial tcp|lookup .* on|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|Could not transfer artifact|Unknown host")


def files_of(section):
    """A block behind a line that ends with a file's name in backquotes and a colon is that file."""
    return dict(re.findall(r"`([\w./]+)`:\n\n```\w+\n(.*?)```", section, re.DOTALL))


def commands_of(section):
    [block] = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    return block.replace("\\\n", "").splitlines()


def shell(command, folder):
    environment = {**os.environ, "MILLRACE": str(ROOT), "GOTOOLCHAIN": "local"}
    return subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=STEP_SECONDS_MAX, check=False)


def test_the_page_has_these_languages_and_two_commands_each():
    assert SECTIONS.keys() == NEEDED.keys()
    assert [len(commands_of(section)) for section in SECTIONS.values()] == [2, 2, 2]


@pytest.mark.parametrize("language", NEEDED)
def test_two_commands_store_and_read_records(language, server, tmp_path):
    for tool in NEEDED[language]:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on this machine")
    for name, text in files_of(SECTIONS[language]).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    prepare, run = commands_of(SECTIONS[language])
    prepared = shell(prepare, tmp_path)
    said = prepared.stdout + prepared.stderr
    if prepared.returncode != 0 and UNREACHABLE.search(said):
        pytest.skip(f"{language}: no registry: {said.strip().splitlines()[-1]}")
    assert prepared.returncode == 0, said
    assert "127.0.0.1:7440" in run
    ran = shell(run.replace("127.0.0.1:7440", server.address), tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    printed = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout).split("\n")
    promised = re.search(r"It prints `(.*)` and `(.*)`\.", SECTIONS[language])
    assert [line for line in printed if line] == list(promised.groups())
