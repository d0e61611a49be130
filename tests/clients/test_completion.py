"""`millrace completion`: what the shells offer."""
import os
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


def shell_of(name):
    return shutil.which(name) or pytest.skip(f"there is no {name} here to read it")


def test_fish_offers_commands_options_and_their_values(binary, tmp_path):
    (tmp_path / "completion.fish").write_text(script(binary, "fish"))

    def offers(line):
        command = f"source {tmp_path}/completion.fish; complete -C '{line}'"
        done = subprocess.run([shell_of("fish"), "--no-config", "-c", command], capture_output=True, text=True,
                              timeout=20, check=True)
        assert done.stderr == ""
        return {one.split("\t")[0] for one in done.stdout.splitlines()}

    assert {"topic", "produce", "consume", "completion"} <= offers("millrace ")
    assert offers("millrace topic de") == {"describe", "delete"}
    assert offers("millrace consume flights --un") == {"--until-end"}
    assert offers("millrace produce t --compression z") == {"zstd"}


def test_zsh_offers_commands_options_and_their_values(binary, tmp_path):
    (tmp_path / "completion.zsh").write_text(script(binary, "zsh"))
    (tmp_path / "offer.zsh").write_text("""
source $1/completion.zsh || exit 1
[[ $_comps[millrace] == *_millrace ]] || exit 2
offer() {  # as bashcompinit calls it
  emulate -L sh
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
  _millrace
  printf '%s\\n' "${COMPREPLY[@]}"
}
shift
offer "$@"
""")

    def offers(*words):
        done = subprocess.run([shell_of("zsh"), "-f", tmp_path / "offer.zsh", tmp_path, *words], capture_output=True,
                              text=True, timeout=20, check=True, env={**os.environ, "ZDOTDIR": str(tmp_path)})
        assert done.stderr == ""
        return set(done.stdout.split())

    assert {"topic", "produce", "consume", "completion"} <= offers("millrace", "")
    assert {"describe", "delete", "create"} <= offers("millrace", "topic", "")  # zsh itself leaves out what does not fit
    assert {"none", "gzip", "snappy", "lz4", "zstd"} == offers("millrace", "produce", "t", "--compression", "")
