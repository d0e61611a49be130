"""`millrace completion`: what the shells offer."""
import shutil
import subprocess

import pytest

COMPLETE = """
source /dev/stdin
COMP_WORDS=({words}) COMP_CWORD=$(({count} - 1))
_millrace
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def script(binary, shell):
    done = subprocess.run([binary, "completion", shell], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout


def offered(binary, *words):
    """What bash offers for the last of the words."""
    quoted = " ".join(f"'{word}'" for word in words)
    done = subprocess.run(["bash", "-c", COMPLETE.format(words=quoted, count=len(words))],
                          input=script(binary, "bash"), capture_output=True, text=True, timeout=10, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_offers_commands_and_what_is_below_them(binary):
    assert {"topic", "produce", "consume", "cluster", "bench", "server", "completion"} <= offered(binary, "millrace", "")
    assert offered(binary, "millrace", "pro") == {"produce"}
    assert {"create", "list", "describe", "offsets", "delete"} <= offered(binary, "millrace", "topic", "")
    assert offered(binary, "millrace", "topic", "de") == {"describe", "delete"}


def test_bash_offers_a_commands_options_also_behind_its_arguments(binary):
    assert "--partitions" in offered(binary, "millrace", "topic", "create", "flights", "--p")
    assert offered(binary, "millrace", "consume", "flights", "--un") == {"--until-end"}


def test_bash_offers_the_values_of_an_option(binary):
    assert offered(binary, "millrace", "produce", "t", "--compression", "") == {"none", "gzip", "snappy", "lz4", "zstd"}
    assert offered(binary, "millrace", "completion", "") >= {"bash", "zsh", "fish"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(binary, shell):
    text = script(binary, shell)
    assert "topic" in text and "until-end" in text
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here to read it")
    subprocess.run([shell, "-n"], input=text, text=True, timeout=10, check=True)
