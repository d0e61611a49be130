"""`millrace completion`: what the shells offer."""
import os
import pathlib
import shutil
import socket
import subprocess
import time
import uuid

import pytest

from conftest import free_ports

COMPLETE = """
source /dev/stdin
COMP_WORDS=({words}) COMP_CWORD=$(({count} - 1))
_millrace
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def script(binary, shell):
    done = subprocess.run([binary, "completion", shell], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout


def environment(binary, address):
    """Where `millrace` is found, and finds its cluster."""
    folder = pathlib.Path(binary).resolve().parent
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "MILLRACE_BOOTSTRAP": address}


def offered(binary, *words, address="127.0.0.1:1"):
    """What bash offers for the last of the words, taken apart as bash does."""
    quoted = " ".join(f"'{word}'" for word in words)
    done = subprocess.run(["bash", "-c", COMPLETE.format(words=quoted, count=len(words))],
                          input=script(binary, "bash"), capture_output=True, text=True, timeout=10, check=True,
                          env=environment(binary, address))
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def topics(binary, server):
    """Two topics whose names begin alike."""
    stem = f"flights-{uuid.uuid4().hex[:8]}"
    names = {f"{stem}-a", f"{stem}-b"}
    for name in names:
        subprocess.run([binary, "topic", "create", name, "--bootstrap", server.address], capture_output=True,
                       timeout=60, check=True)
    return stem, names


def test_bash_offers_commands_and_what_is_below_them(binary):
    assert {"topic", "produce", "consume", "partition", "cluster", "bench", "server", "completion"} <= offered(binary, "millrace", "")
    assert offered(binary, "millrace", "pro") == {"produce"}
    assert {"create", "list", "describe", "offsets", "delete"} <= offered(binary, "millrace", "topic", "")
    assert offered(binary, "millrace", "topic", "de") == {"describe", "delete", "delete-records"}


def test_bash_offers_a_commands_options_also_behind_its_arguments(binary):
    assert "--partitions" in offered(binary, "millrace", "topic", "create", "flights", "--p")
    assert offered(binary, "millrace", "consume", "flights", "--un") == {"--until-end"}


def test_bash_offers_the_values_of_an_option(binary):
    assert offered(binary, "millrace", "produce", "t", "--compression", "") == {"none", "gzip", "snappy", "lz4", "zstd"}
    assert offered(binary, "millrace", "completion", "") >= {"bash", "zsh", "fish"}


def test_bash_offers_the_values_of_an_option_behind_an_equals_sign(binary):
    assert offered(binary, "millrace", "consume", "--output", "=") == {"value", "key-value", "json"}
    assert offered(binary, "millrace", "consume", "--output", "=", "key") == {"key-value"}


def test_bash_offers_nothing_that_is_refused(binary):
    assert offered(binary, "millrace", "consume", "-o", "") == {"value", "key-value", "json"}
    assert offered(binary, "millrace", "topic", "list", "-o", "t") == {"table"}
    assert offered(binary, "millrace", "consume", "flights", "--partition", "") == set()
    assert offered(binary, "millrace", "completion", "bash", "z") == set()
    assert offered(binary, "millrace", "topic", "list", "--no-such", "-") >= {"--output"}


def test_bash_offers_commands_to_have_help_for(binary):
    assert {"topic", "produce", "server"} <= offered(binary, "millrace", "help", "")
    assert offered(binary, "millrace", "help", "topic", "de") == {"describe", "delete", "delete-records"}
    assert offered(binary, "millrace", "help", "consume", "") == set()


@pytest.mark.parametrize("words", [
    ("consume",), ("produce",), ("topic", "describe"), ("topic", "offsets"), ("topic", "delete"),
    ("topic", "delete-records"),
    ("consume", "--partition", "0"), ("consume", "--until-end"), ("bench", "produce", "--topic"),
    ("bench", "consume", "--topic", "="),
])
def test_bash_offers_topics_where_one_is_wanted(binary, server, topics, words):
    stem, names = topics
    assert offered(binary, "millrace", *words, stem, address=server.address) == names


@pytest.mark.parametrize("words", [
    ("topic", "create"), ("consume", "flights"), ("produce", "flights"), ("consume", "--partition"), ("topic",)])
def test_bash_offers_no_topics_elsewhere(binary, server, topics, words):
    stem, _ = topics
    assert offered(binary, "millrace", *words, stem, address=server.address) == set()


@pytest.mark.parametrize("action", ["describe", "offsets", "reset", "delete-offsets", "delete"])
def test_bash_offers_groups_where_one_is_wanted(binary, server, topics, action):
    stem, names = topics
    group = f"readers-{stem}"
    subprocess.run([binary, "group", "reset", group, "--topic", min(names), "--to", "latest", "--yes", "--bootstrap",
                    server.address], capture_output=True, timeout=60, check=True)
    assert offered(binary, "millrace", "group", action, group[:-1], address=server.address) == {group}
    assert offered(binary, "millrace", "consume", min(names), "--group", group[:-1], address=server.address) == {group}
    if action in ("offsets", "reset", "delete-offsets"):
        assert offered(binary, "millrace", "group", action, group, "--topic", stem, address=server.address) == names


@pytest.mark.parametrize("action", ["describe", "abort"])
def test_bash_offers_transactional_ids_where_one_is_wanted(binary, api, channel, server, action):
    name = f"orders-{uuid.uuid4().hex[:8]}"
    api.ProducerServiceStub(channel).InitProducer(api.InitProducerRequest(transactional_id=name, request_id=1), timeout=60)
    assert offered(binary, "millrace", "transaction", action, name[:-1], address=server.address) == {name}
    assert offered(binary, "millrace", "transaction", action, name, name[:-1], address=server.address) == set()
    assert offered(binary, "millrace", "transaction", "list", "--state", "a") == {"aborting"}


def test_bash_offers_where_a_group_can_be_moved_to(binary):
    assert offered(binary, "millrace", "group", "reset", "g", "--to", "") == {"earliest", "latest"}
    assert offered(binary, "millrace", "consume", "t", "--to", "") == {"latest"}


@pytest.mark.parametrize("equals", [[], ["="]])
def test_bash_asks_the_cluster_that_is_named_on_the_line(binary, server, topics, equals):
    stem, names = topics
    host, port = server.address.split(":")
    for address in ([server.address], [host, ":", port]):  # bash takes the second apart
        words = ["consume", "--bootstrap", *equals, *address, stem]
        assert offered(binary, "millrace", *words) == names


@pytest.mark.parametrize("address", ["refused", "silent", "no.such.host.invalid:1", "nonsense"])
def test_bash_gives_up_in_silence_after_a_second(binary, address):
    if address == "refused":
        address = f"127.0.0.1:{free_ports(1)[0]}"
    is_silent = address == "silent"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if is_silent:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        assert "--from" in offered(binary, "millrace", "consume", "", address=address)
        assert time.monotonic() - began < 4, "a slow machine's second"


def shell_of(name):
    return shutil.which(name) or pytest.skip(f"there is no {name} here to read it")


def test_fish_offers_commands_options_and_their_values(binary, server, topics, tmp_path):
    (tmp_path / "completion.fish").write_text(script(binary, "fish"))

    def offers(line, address=server.address):
        command = f"source {tmp_path}/completion.fish; complete -C '{line}'"
        done = subprocess.run([shell_of("fish"), "--no-config", "-c", command], capture_output=True, text=True,
                              timeout=20, check=True, env=environment(binary, address))
        assert done.stderr == ""
        return {one.split("\t")[0] for one in done.stdout.splitlines()}

    assert {"topic", "produce", "consume", "completion"} <= offers("millrace ")
    assert offers("millrace topic de") == {"describe", "delete", "delete-records"}
    assert offers("millrace consume flights --un") == {"--until-end"}
    assert offers("millrace produce t --compression z") == {"zstd"}
    stem, names = topics
    for wanted in ("consume", "topic describe", "consume --partition 0", "bench produce --topic"):
        assert offers(f"millrace {wanted} {stem}") == names, wanted
    assert offers(f"millrace consume flights {stem}") == set()
    assert offers(f"millrace consume --bootstrap {server.address} {stem}", "127.0.0.1:1") == names
    assert offers(f"millrace consume --bootstrap={server.address} {stem}", "127.0.0.1:1") == names
    assert offers(f"millrace consume {stem}", "127.0.0.1:1") == set()


def test_zsh_offers_commands_options_and_their_values(binary, server, topics, tmp_path):
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
                              text=True, timeout=20, check=True,
                              env={**environment(binary, server.address), "ZDOTDIR": str(tmp_path)})
        assert done.stderr == ""
        return set(done.stdout.split())

    assert {"topic", "produce", "consume", "completion"} <= offers("millrace", "")
    assert {"describe", "delete", "create"} <= offers("millrace", "topic", "")  # zsh itself leaves out what does not fit
    assert {"none", "gzip", "snappy", "lz4", "zstd"} == offers("millrace", "produce", "t", "--compression", "")
    assert topics[1] <= offers("millrace", "consume", "")
    assert topics[1] <= offers("millrace", "bench", "produce", "--topic", "")
