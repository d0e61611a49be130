"""The examples of the tree compile; and compile_examples.py says no to each way in which one may rot."""
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import compile_examples  # noqa: E402

HEADERS = compile_examples.public_headers(ROOT)
# One member of each struct that programs make, with the least that is to be named: none of the others may warn.
ONE_MEMBER = """
#include <millrace/client.h>
using namespace millrace;
void Use(const ClientOptions&, const ProducerOptions&, const ConsumerOptions&, const TopicSpec&, const Header&,
         const Record&, const ConsumedRecord&, const Delivery&, const Outage&, const OffsetRange&);
void Make() {
  Use({.client_id = "x"}, {.linger = std::chrono::milliseconds(1)}, {.stop_at_end = true}, {.partition_count = 1},
      {.value = "x"}, {.value = "x"}, {.offset = 1}, {.offset = 1}, {.partition = 1}, {.partition = 1});
  Use({.bootstrap = "x"}, {.open_timeout = {}}, {.partitions = {}}, {.name = "x"}, {.key = "x"}, {.key = "x"},
      {.partition = 1}, {.partition = 1}, {.address = "x"}, {.end = 1});
}
"""


@pytest.fixture()
def tree(tmp_path):
    """What the script reads, to be broken."""
    for source in [*HEADERS, *ROOT.glob("client/**/millrace/version.h.in"), ROOT / compile_examples.PAGE]:
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
    return tmp_path


def header(tree, name):
    [found] = [found for found in compile_examples.public_headers(tree) if found.name == name]
    return found


def replace(path, old, new):
    text = path.read_text()
    assert old in text, f"{path.name} has no {old}"
    path.write_text(text.replace(old, new))


def said_against(tree):
    done = subprocess.run([ROOT / "tests/docs/compile_examples.py", tree], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == bool(re.fullmatch(r"\d+ examples compile\n", done.stdout)), done
    return done.stdout if done.returncode else ""


def test_the_examples_of_the_tree_compile(tree):
    assert said_against(tree) == ""


def test_every_public_header_but_outage_has_an_example_and_the_page_has_several():
    with_example = {found.name for found in HEADERS if list(compile_examples.examples_of_header(found))}
    assert with_example == {found.name for found in HEADERS} - {"outage.h"}
    assert with_example >= {"admin.h", "client.h", "consumer.h", "producer.h", "record.h", "status.h"}
    page = (ROOT / compile_examples.PAGE).read_text()
    assert len(list(compile_examples.examples_of_page(ROOT / compile_examples.PAGE))) == len(
        re.findall(r"^```c(?:pp|\+\+)$", page, re.MULTILINE)) > 5


def test_structs_may_be_made_with_any_one_member_named(tmp_path):
    compile_examples.install_headers(HEADERS, ROOT, tmp_path)
    assert compile_examples.compile_source(ONE_MEMBER, tmp_path) == ""
    replace(tmp_path / "millrace/record.h", "std::string_view key = {};", "std::string_view key;")
    assert "missing" in compile_examples.compile_source(ONE_MEMBER, tmp_path)


def test_a_method_that_a_header_lost_is_named_with_the_line_of_its_example(tree):
    admin = header(tree, "admin.h")
    replace(admin, "//   auto offsets = (*client)->admin().ListOffsets(", "//   auto offsets = (*client)->admin().EndOffset(")
    line = admin.read_text()[:admin.read_text().index("EndOffset")].count("\n") + 1
    assert re.search(rf"^{admin.relative_to(tree)}:{line}:\d+: error: .*EndOffset", said_against(tree), re.MULTILINE)


def test_a_renamed_option_breaks_the_page_and_its_own_header(tree):
    consumer = header(tree, "consumer.h")
    replace(consumer, "bool stop_at_end = false;", "bool until_end = false;")
    said = said_against(tree)
    for path in (tree / compile_examples.PAGE, consumer):
        assert re.search(rf"^{path.relative_to(tree)}:\d+:\d+: error: ", said, re.MULTILINE)


def test_a_warning_is_an_error(tree):
    replace(tree / compile_examples.PAGE, "#include <chrono>\n", "#include <chrono>\nvoid Idle(int idle) {}\n")
    assert "[-Werror=unused-parameter]" in said_against(tree)


def test_a_header_that_is_not_installed_is_no_help(tree):
    replace(header(tree, "admin.h"), "#pragma once", '#pragma once\n#include "millrace/runtime.h"')
    assert "millrace/runtime.h" in said_against(tree)


def test_a_tree_without_examples_is_no_success(tree):
    (tree / compile_examples.PAGE).write_text("Read the headers.\n")
    assert "none to compile" in said_against(tree)
