"""Each rule of tests/arch/check.py finds what it is for, and leaves alone what is right."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import check  # noqa: E402
import layers  # noqa: E402


class IncludesTest(unittest.TestCase):
    KNOWN = {"proto/millrace/status.h", "client/include/millrace/client.h", "client/include/millrace/version.h.in"}

    def problems(self, path, text):
        return [what for _, _, what in check.check_includes(path, text, self.KNOWN)]

    def test_include_to_the_left_is_fine(self):
        self.assertEqual(self.problems("raft/core/raft.h", '#include "proto/base/ids.h"\n'), [])

    def test_include_to_the_right_is_refused(self):
        (what,) = self.problems("raft/core/raft.h", '#include "storage/journal/journal.h"\n')
        self.assertIn("raft/core must not know storage/journal", what)

    def test_client_does_not_know_the_broker(self):
        self.assertTrue(self.problems("client/core/client.h", '#include "broker/api/call.h"\n'))

    def test_public_headers_count_as_the_folder_that_they_lie_in(self):
        for folder in ("proto/base", "raft/core", "client/core", "client/api", "client/cli", "client/include/millrace"):
            self.assertEqual(self.problems(folder + "/a.h", '#include "millrace/status.h"\n'), [], folder)
        for name in ("client", "version"):
            text = f'#include "millrace/{name}.h"\n'
            for folder in ("client/api", "client/cli", "client/include/millrace"):
                self.assertEqual(self.problems(folder + "/a.h", text), [], folder)
            for folder in ("proto/base", "raft/core", "storage/file", "client/core", "client/grpc", "broker/node", "broker"):
                (what,) = self.problems(folder + "/a.h", text)
                self.assertIn(f"{folder} must not know client/include/millrace", what)

    def test_public_headers_are_included_as_they_are_installed(self):
        for name in ("proto/millrace/status.h", "client/include/millrace/client.h"):
            (what,) = self.problems("client/api/a.h", f'#include "{name}"\n')
            self.assertIn("as they are installed", what)

    def test_a_tree_whose_core_includes_a_public_header_has_a_problem(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            texts = {"client/include/millrace/a.h": "// A.\n#pragma once\n", "client/core/b.cc": '#include "millrace/a.h"\n',
                     "client/api/c.cc": '#include "millrace/a.h"\n', "client/core/README.md": "", "client/api/README.md": "",
                     "client/include/millrace/README.md": ""}
            for path, text in texts.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            self.assertEqual([path for path, _, _ in check.check_tree(root, sorted(texts))], ["client/core/b.cc"])

    def test_own_folder_is_fine_by_its_full_path_only(self):
        self.assertEqual(self.problems("raft/core/raft.h", '#include "raft/core/log.h"\n'), [])
        self.assertIn("from the root", self.problems("raft/core/raft.h", '#include "log.h"\n')[0])

    def test_unknown_folder_must_enter_the_table(self):
        self.assertIn("not in the layer table", self.problems("broker/new/a.h", "")[0])

    def test_tests_may_include_everything(self):
        self.assertEqual(self.problems("tests/raft/a_test.cc", '#include "broker/node/node.h"\n'), [])

    def test_table_has_no_circle(self):
        def reach(folder, seen):
            for target in layers.LAYERS.get(folder, ()):
                self.assertNotIn(target, seen, f"circle through {target}")
                reach(target, seen | {target})

        for folder in layers.LAYERS:
            reach(folder, {folder})

    def test_table_points_left(self):
        order = {"proto": 0, "millrace": 0, "raft": 1, "storage": 2, "client": 2, "broker": 3}
        for folder, targets in layers.LAYERS.items():
            for target in targets:
                left, right = order[target.split("/")[0]], order[folder.split("/")[0]]
                self.assertLessEqual(left, right, f"{folder} -> {target}")


class BannedTest(unittest.TestCase):
    def problems(self, text, path="raft/core/raft.cc"):
        return [(line, what) for _, line, what in check.check_banned(path, text)]

    def test_each_banned_call_is_found_with_its_replacement(self):
        for call, instead in (
                ("auto t = std::chrono::steady_clock::now();", "Clock&"),
                ("int x = rand();", "Random"),
                ("std::random_device d;", "Random"),
                ("std::this_thread::sleep_for(d);", "RunAfter"),
                ('getenv("A");', "main"),
                ("std::thread t;", "Executor"),
                ("std::mutex mu_;", "executor.h"),
                ("std::lock_guard<std::mutex> lock(mu_);", "Executor"),
                ("std::condition_variable arrived_;", "Executor"),
                ('int fd = open("a", 0);', "FileSystem&"),
                ("fdatasync(fd);", "FileSystem&"),
                ("::pwrite(fd, p, n, 0);", "FileSystem&"),
                ("#include <grpcpp/grpcpp.h>", "call.h")):
            found = self.problems("\n" + call + "\n")
            self.assertTrue(found, call)
            self.assertEqual(found[0][0], 2, call)
            self.assertIn(instead.lower(), found[0][1].lower(), call)

    def test_comments_and_strings_are_not_code(self):
        text = '// std::mutex\n/* rand() */\nLog("std::thread, open(x)");\n'
        self.assertEqual(self.problems(text), [])

    def test_own_names_that_look_alike_are_fine(self):
        text = "file->open(p); files.rename(a); Segment::open(a); reopen(b); operand(c);\n"
        self.assertEqual(self.problems(text), [])

    def test_real_implementations_may(self):
        self.assertEqual(self.problems("std::thread t;\n", "raft/runtime/loop_thread.cc"), [])
        self.assertEqual(self.problems("fdatasync(fd);\n", "storage/file/real_file.cc"), [])


class DesignTest(unittest.TestCase):
    def problems(self, text, path="raft/core/raft.cc"):
        return [(line, what.split()[0]) for _, line, what in check.check_design(path, text, {"D1", "D3", "D4"})]

    def test_what_has_a_section_may_be_cited(self):
        for text in ("// Pure (design D1).", "// Design D3: a voter.", '# design D4, "Journal"', "// (design\n// D3)",
                     "see design D3, D4", "designs D1 and D3", "- design D3\n- S22", "by design, S3 is not D99",
                     "redesign D99", "version D99"):
            self.assertEqual(self.problems(text), [], text)

    def test_what_has_none_is_named_with_its_line(self):
        for text in ("one (design {}).", "Design {}: so", "designs {}", "DESIGN {}", "design D3, {}, D4",
                     "design {} and D4", "design D1 or {}", "design D3/{}", "design D1-{}", "design D1, D3, and {}",
                     "design D1\n// and {}", "design D1,\n// {}", "design\n   * {}", "design\n# {}"):
            for name in ("D99", "H72"):
                cited = "\n// " + text.format(name)
                expected = cited.count("\n", 0, cited.index(name)) + 1
                self.assertEqual(self.problems(cited), [(expected, name)], text)

    def test_the_page_itself_may_name_what_it_likes(self):
        self.assertEqual(self.problems("design " + "D99", check.DESIGN), [])

    def test_a_tree_with_a_made_up_reference_has_a_problem(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            texts = {check.DESIGN: "# Design\n\n## D1. One\n\n### D2. Two\n\nSee D3.\n", "a.md": "design D1\n",
                     "b.py": "# design " + "D2\n", "c.proto": "// Design " + "D3, D1\n", "d.txt": "## D3. Three\n"}
            for path, text in texts.items():
                (root / path).parent.mkdir(exist_ok=True)
                (root / path).write_text(text)
            found = [(path, line, what.split()[0]) for path, line, what in check.check_tree(root, sorted(texts))]
            self.assertEqual(found, [("b.py", 1, "D2"), ("c.proto", 1, "D3")])
            (root / check.DESIGN).unlink()
            self.assertEqual(len(check.check_tree(root, ["a.md"])), 1)


class HabitsTest(unittest.TestCase):
    def text_problems(self, line):
        return [what for _, _, what in check.check_text("raft/core/a.cc", line)]

    def test_header_needs_its_paragraph(self):
        self.assertEqual(list(check.check_header("a/b.h", "// What it is.\n#pragma once\n")), [])
        self.assertEqual(len(list(check.check_header("a/b.h", "#pragma once\n"))), 1)
        self.assertEqual(len(list(check.check_header("a/b.h", "// What it is.\n"))), 1)

    def test_todo_needs_its_issue(self):
        self.assertEqual(len(self.text_problems("// TODO: later")), 1)
        self.assertEqual(self.text_problems("// TODO(#4): compress"), [])

    def test_trailing_spaces_are_found(self):
        self.assertEqual(len(self.text_problems("int a; ")), 1)

    def test_machine_paths_and_registries_are_found(self):
        self.assertEqual(len(self.text_problems("cd /" + "work/main")), 1)
        for address in ("pypi.org/simple", "maven.apache.org/POM/4.0.0", "repo1.maven.org/maven2"):
            self.assertEqual(len(self.text_problems("curl http://" + address)), 1, address)

    def test_folder_with_code_needs_a_readme(self):
        self.assertEqual(len(list(check.check_readmes(["raft/core/a.cc"]))), 1)
        with_readme = ["raft/core/a.cc", "raft/core/README.md"]
        self.assertEqual(list(check.check_readmes(with_readme)), [])
        self.assertEqual(list(check.check_readmes([*with_readme, "tests/raft/core/a_test.cc"])), [])
        self.assertEqual(len(list(check.check_readmes([*with_readme, "tests/support/a.cc"]))), 1)

    def test_blob_outside_data_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path in ("raft/a.bin", "tests/data/a.bin"):
                (root / path).parent.mkdir(parents=True)
                (root / path).write_bytes(bytes(layers.BLOB_BYTES_MAX + 1))
            found = list(check.check_blobs(root, ["raft/a.bin", "tests/data/a.bin"]))
            self.assertEqual([path for path, _, _ in found], ["raft/a.bin"])

    def test_functions_are_measured(self):
        text = "namespace a {\nint F(int b) {\n  return b;\n}\nvoid G(int a,\n       int b) {\n}\n}\n"
        self.assertEqual(list(check.functions_of(text)), [(2, 3), (5, 3)])


if __name__ == "__main__":
    unittest.main()
