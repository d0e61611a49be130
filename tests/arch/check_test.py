"""Each rule of tests/arch/check.py finds what it is for, and leaves alone what is right."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import check  # noqa: E402
import layers  # noqa: E402


class IncludesTest(unittest.TestCase):
    def problems(self, path, text):
        return [what for _, _, what in check.check_includes(path, text)]

    def test_include_to_the_left_is_fine(self):
        self.assertEqual(self.problems("raft/core/raft.h", '#include "proto/base/ids.h"\n'), [])

    def test_include_to_the_right_is_refused(self):
        (what,) = self.problems("raft/core/raft.h", '#include "storage/journal/journal.h"\n')
        self.assertIn("raft/core must not know storage/journal", what)

    def test_client_does_not_know_the_broker(self):
        self.assertTrue(self.problems("client/cpp/client.h", '#include "broker/service/call.h"\n'))

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
