"""The quick start looks before it takes: nothing is installed for a wrong flag, nothing is wiped that is in use."""
import fcntl
import io
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))

from build_progress import BuildError, build  # noqa: E402
from in_use import lock_holder, take_lock, use_of  # noqa: E402


class Tree(unittest.TestCase):
    """A copy of deploy/ whose installer only leaves a mark, with a cmake that fails and leaves one too."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.root = pathlib.Path(holder.name)
        shutil.copytree(ROOT / "deploy", self.root / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
        self.script(self.root / "deploy/install.sh", f'echo "$@" >{self.root}/installed')
        (self.root / "bin").mkdir()
        self.script(self.root / "bin/cmake", f"touch {self.root}/built; echo no compiler; exit 1")
        self.data = self.root / "build/quickstart/broker-1"

    @staticmethod
    def script(path, text):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def quickstart(self, *arguments):
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        return subprocess.run([self.root / "deploy/quickstart.sh", *arguments], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, env=dict(os.environ, PATH=path), check=False)

    def hold_broker_lock(self):
        self.data.mkdir(parents=True)
        lock = open(self.data / "LOCK", "w+", encoding="utf-8")
        self.addCleanup(lock.close)
        lock.write("4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)


class ArgumentsTest(Tree):
    def test_help_is_shown_and_nothing_is_installed(self):
        done = self.quickstart("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("--keep", done.stdout)
        self.assertFalse((self.root / "installed").exists())

    def test_unknown_flags_and_contradictions_are_refused_before_anything_is_installed(self):
        for arguments in (["--onec"], ["--once", "--keep"], ["once"], [""]):
            done = self.quickstart(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(" ".join(arguments), done.stderr)
            self.assertFalse((self.root / "installed").exists())

    def test_only_what_building_takes_is_installed(self):
        self.quickstart()
        self.assertEqual((self.root / "installed").read_text().strip(), "build")


class InUseTest(Tree):
    def test_a_broker_in_the_folder_is_named_and_its_data_stays(self):
        self.hold_broker_lock()
        for arguments in ([], ["--once"], ["--keep"]):
            done = self.quickstart(*arguments)
            self.assertEqual(done.returncode, 1)
            self.assertIn("4711", done.stderr)
            self.assertIn("Nothing was removed", done.stderr)
        self.assertTrue((self.data / "LOCK").exists())
        self.assertFalse((self.root / "built").exists())

    def test_another_quick_start_is_named(self):
        lock = take_lock(self.root / "build/quickstart.lock")
        self.addCleanup(lock.close)
        lock.write("815\n")
        lock.flush()
        done = self.quickstart()
        self.assertEqual(done.returncode, 1)
        self.assertIn("815", done.stderr)
        self.assertFalse((self.root / "built").exists())

    def test_a_failed_build_says_why_and_wipes_nothing(self):
        self.data.mkdir(parents=True)
        done = self.quickstart()
        self.assertEqual(done.returncode, 1)
        self.assertIn("no compiler", done.stderr)
        self.assertTrue(self.data.exists())

    def test_locks_are_those_of_living_processes(self):
        self.hold_broker_lock()
        self.assertEqual(lock_holder(self.data / "LOCK"), "4711")
        (self.data / "OTHER").write_text("12\n")
        self.assertIsNone(lock_holder(self.data / "OTHER"))
        self.assertIsNone(lock_holder(self.data / "none"))

    def test_a_taken_port_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.assertIn(str(port), use_of(self.root, [port]))
        self.assertIsNone(use_of(self.root, [port]))


class BuildTest(unittest.TestCase):
    def run_build(self, script):
        said = io.StringIO()
        with tempfile.NamedTemporaryFile("w+") as log:
            build(["sh", "-c", script], log, said)
            log.seek(0)
            return said.getvalue(), log.read()

    def test_steps_are_counted_and_the_rest_goes_into_the_log(self):
        said, log = self.run_build("for i in 1 2 3 4; do echo \"[$i/4] Building x$i\"; done; echo warning: y")
        self.assertEqual(said.splitlines(), [f"building [{i}/4]" for i in (1, 2, 3, 4)])
        self.assertIn("[3/4] Building x3\n", log)
        self.assertIn("warning: y\n", log)

    def test_ninja_is_asked_for_the_form_that_is_counted(self):
        _, log = self.run_build('echo "$NINJA_STATUS"')
        self.assertEqual(log, "[%f/%t] \n")

    def test_failure_shows_the_end_of_the_log(self):
        with self.assertRaises(BuildError) as failed:
            self.run_build("seq 100; echo 'x.cc:1: error' >&2; exit 3")
        self.assertIn("x.cc:1: error", str(failed.exception))
        self.assertNotIn("\n42\n", str(failed.exception))


class InstallTest(unittest.TestCase):
    """deploy/install.sh asks dpkg for what the list names; here dpkg lacks everything and nobody is root."""

    def missing(self, *purposes):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (("dpkg-query", "exit 1"), ("id", "echo 1000")):
                Tree.script(pathlib.Path(folder) / name, text)
            done = subprocess.run([ROOT / "deploy/install.sh", *purposes], capture_output=True, text=True,
                                  env=dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}"), check=False)
        return done.returncode, done.stderr.rpartition("install these first:")[2].split(), done.stderr

    def test_each_purpose_installs_its_own(self):
        _, build_only, _ = self.missing("build")
        _, run_only, _ = self.missing("run")
        self.assertIn("g++", build_only)
        self.assertNotIn("valgrind", build_only)
        self.assertIn("libgrpc++1.51", run_only)
        self.assertFalse([name for name in run_only if name.endswith("-dev")])

    def test_without_a_purpose_all_is_installed(self):
        code, everything, _ = self.missing()
        self.assertEqual(code, 1)
        self.assertTrue({"g++", "libgrpc++1.51", "valgrind"} <= set(everything))

    def test_an_unknown_purpose_is_refused(self):
        code, _, said = self.missing("everything")
        self.assertEqual(code, 2)
        self.assertIn("everything", said)


if __name__ == "__main__":
    unittest.main()
