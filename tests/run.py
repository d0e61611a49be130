#!/usr/bin/env python3
"""The stages of tests/run.sh, one after the other: a failing stage never keeps the others from running.

Every test counts by itself: a GoogleTest or pytest case, or a program that only says yes or no. What failed is said
again at the end, each with the command that runs it again. Standard library only; tools live in build/tools.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time
import traceback
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
TOOLS = BUILD / "tools"
RESULTS = BUILD / "test-results"
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
RELEASE_BINARY = BUILD / "release" / "bin" / "millrace"
LABELS_IN_PROCESS = {"unit", "scenario", "simulation", "fuzz"}
# Units and scenarios run once, under the address sanitizer; all others in the debug build. Debian's gRPC is not
# instrumented, so that what links it is one of the others; and CLI11 would take a quarter of that build's time.
SANITIZED_LABELS = {"unit", "scenario"}
NOT_SANITIZED = {"tests_broker_edge", "tests_client_grpc", "tests_client_cli", "tests_broker_server_settings"}
# What has threads, and which of its cases: the journal's own tests run on one simulated thread.
TSAN_TESTS = {"tests_raft_runtime": "*", "tests_raft_net": "*", "tests_storage_file": "*",
              "tests_storage_logstore": "LogStoreOnRealFiles.*", "tests_client_api": "*Handle.*"}
ASAN_CORE_SEEDS = 100
# Begun first, so that no core is idle at the end.
LONG_TESTS = ["tests_simulation_broker", "tests_simulation_core", "tests_storage_journal",
              "tests_storage_logstore", "tests_storage_segment"]
# In so many processes, or it runs alone for half of its time.
SHARDS = {"tests_simulation_broker": 4}
# What clang-tidy reads in a short run: some five seconds a file.
TIDY_COMMITS = 20
TIDY_FILES_MAX = 40
FRESH_SEEDS = {"core": ["--seeds", 200], "broker": ["--seeds", 10]}
FRESH_SEEDS_LONG = {"core": ["--seconds", 600], "broker": ["--seeds", 300]}
FUZZ_CORPUS = BUILD / "fuzz" / "corpus"  # tests/fuzz/corpus.py unpacks it
FUZZ_SECONDS = 15
FUZZ_SECONDS_LONG = 600
# Nothing takes so long, not even on a slow machine: what does is stuck, fails by name, and the others go on.
TEST_SECONDS_MAX = 900
PYTEST_CASE_SECONDS_MAX = 600
PYTEST_CASE_SECONDS_MAX_LONG = 3600
NOT_COMPARABLE = 2  # count.py's exit code under another compiler


class Tally:
    """What passed, failed and was skipped, and how to run again what failed."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.stage_seconds = []

    def add(self, is_good, name, again, output=""):
        if is_good:
            self.passed += 1
            return
        self.failed += 1
        self.failures.append((name, again))
        if output:
            print("\n".join(output.splitlines()[-60:]))
        print(f"FAILED {name}\n  run it again: {again}", flush=True)

    def skip(self, name, why):
        self.skipped += 1
        print(f"skipped {name}: {why}", flush=True)


def run(command, **options):
    """The process with its output, both streams together."""
    options.setdefault("cwd", ROOT)
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False, **options)


def shown(command):
    """A command as one types it in the root."""
    return " ".join(str(word).replace(f"{ROOT}/", "") for word in command)


def check_program(tally, name, command):
    """A program whose exit code is the verdict."""
    done = run(command)
    tally.add(done.returncode == 0, name, shown(command), done.stdout)
    return done


def tracked(*patterns):
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns])
    return sorted({name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()})


def tool(name):
    return TOOLS / "bin" / name


def add_junit(tally, path, name, again, output):
    """Counts the cases of a pytest run; the run as a whole if it wrote nothing."""
    if not path.exists():
        return tally.add(False, name, again, output)
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        title = f"{case.get('classname')}.{case.get('name')}"
        if case.find("skipped") is not None:
            tally.skip(title, case.find("skipped").get("message", ""))
        else:
            bad = next((case.find(kind) for kind in ("failure", "error")
                        if case.find(kind) is not None), None)
            tally.add(bad is None, title, f"{again} -k {case.get('name').split('[')[0]}",
                      "" if bad is None else bad.text or "")


def pytest(tally, name, prefix, folder):
    """Runs pytest through `prefix` and counts its cases."""
    path = RESULTS / f"{name}.xml"
    path.unlink(missing_ok=True)
    seconds = PYTEST_CASE_SECONDS_MAX_LONG if "--long" in prefix else PYTEST_CASE_SECONDS_MAX
    done = run([*prefix, f"--junitxml={path}", f"--timeout={seconds}"],
               env=dict(os.environ, MILLRACE_BINARY=str(RELEASE_BINARY)))
    add_junit(tally, path, folder, shown(prefix), done.stdout)
    if done.returncode not in (0, 1):  # ended before its end, or nothing was there to run
        tally.add(False, f"{name} (pytest's exit code {done.returncode})", shown(prefix), done.stdout)


# Stages, in their order.


def stage_tools(tally, options):
    """The Python tools, pinned, in a virtual environment; made again when a pin changes."""
    del options
    mark = TOOLS / "installed.txt"
    if mark.exists() and mark.read_text() == REQUIREMENTS.read_text():
        return
    for command in ([sys.executable, "-m", "venv", TOOLS],
                    [tool("pip"), "install", "-q", "--disable-pip-version-check", "-r", REQUIREMENTS]):
        done = run(command)
        if done.returncode != 0:
            tally.add(False, "tools", shown(command), done.stdout)
            return
    shutil.copy(REQUIREMENTS, mark)


def stage_checks(tally, options):
    """Format, layers and habits, proto lint, examples; then what lizard says of complexity, for the reader."""
    del options
    sources = tracked("*.h", "*.cc")
    done = run([tool("clang-format"), "--dry-run", "--Werror", *sources])
    tally.add(done.returncode == 0, "format",
              "build/tools/bin/clang-format -i $(git ls-files '*.h' '*.cc')", done.stdout)
    done = check_program(tally, "arch", ["python3", "tests/arch/check.py"])
    if done.returncode == 0:
        print(done.stdout)
    protos = ROOT / "proto"
    done = run([tool("buf"), "lint"], cwd=protos)
    tally.add(done.returncode == 0, "buf lint", "cd proto && ../build/tools/bin/buf lint", done.stdout)
    pytest(tally, "scripts", [tool("python"), "-m", "pytest", "-q", "-p", "no:cacheprovider",
                              "-o", "python_files=*_test.py", "tests/arch", "tests/bench",
                              "tests/deploy", "tests/docs", "tests/fuzz", "tests/storage"], "scripts")
    done = run([tool("lizard"), "-C", "12", "-w", *[s for s in sources if not s.startswith("tests/")]])
    print(f"functions over complexity 12 (reported only): {done.stdout.count('warning:')}")


def configure(tally, preset):
    command = ["cmake", "--preset", preset]
    done = run(command)
    if done.returncode != 0:
        tally.add(False, f"configure {preset}", shown(command), done.stdout)
    return done.returncode == 0


def build(tally, preset, targets=()):
    """Builds what there is to build, all of it though some fail; false if anything failed."""
    command = ["cmake", "--build", "--preset", preset]
    if targets:
        command += ["--target", *targets]
    done = run([*command, "--", "-k", "0"])
    errors = [line for line in done.stdout.splitlines() if "error:" in line or "FAILED:" in line]
    if done.returncode != 0:
        tally.add(False, f"build {preset}", shown(command), "\n".join(errors[:30]) or done.stdout)
    return done.returncode == 0


def registered_tests(preset):
    """(name, command, labels) of what ctest knows in this build."""
    done = run(["ctest", "--show-only=json-v1"], cwd=BUILD / preset)
    tests = []
    for test in json.loads(done.stdout)["tests"]:
        properties = {entry["name"]: entry["value"] for entry in test.get("properties", [])}
        tests.append((test["name"], test.get("command") or [], set(properties.get("LABELS", []))))
    return tests


class GoogleTestRun(NamedTuple):
    name: str
    command: list
    report: pathlib.Path
    code: int | None  # None: it took too long
    output: str
    seconds: float


def run_googletests(tally, preset, tests):
    """Runs test binaries, (name, command) each, as many at a time as there are cores; longest first."""
    place = {name: number for number, name in enumerate(LONG_TESTS)}
    tests = sorted(tests, key=lambda test: place.get(test[0], len(place)))
    tests = [(name, command, shard) for name, command in tests for shard in range(SHARDS.get(name, 1))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for ran in pool.map(lambda test: run_googletest(preset, *test), tests):
            count_googletest(tally, preset, ran)


def run_googletest(preset, name, command, shard):
    shards = SHARDS.get(name, 1)
    if shards > 1:
        name += f" ({shard + 1} of {shards})"
    report = RESULTS / preset / f"{name}.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    began = time.monotonic()
    try:
        if not pathlib.Path(command[0]).exists():
            return GoogleTestRun(name, command, report, 127, "it was not built", 0)
        done = run([*command, f"--gtest_output=json:{report}"], timeout=TEST_SECONDS_MAX,
                   env=dict(os.environ, GTEST_TOTAL_SHARDS=str(shards), GTEST_SHARD_INDEX=str(shard)))
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired:
        code, output = None, f"not done within {TEST_SECONDS_MAX} s"
    return GoogleTestRun(name, command, report, code, output, time.monotonic() - began)


def count_googletest(tally, preset, ran):
    """Counts the cases of a run; a crash counts as one failure more."""
    again = shown(ran.command)
    if not ran.report.exists():
        return tally.add(False, f"{preset}/{ran.name}", again, ran.output)
    cases = [(suite["name"], case) for suite in json.loads(ran.report.read_text())["testsuites"]
             for case in suite["testsuite"]]
    failed_before = tally.failed
    for suite, case in cases:
        title = f"{suite}.{case['name']}"
        if case.get("result") == "SKIPPED" or case.get("status") == "NOTRUN":
            tally.skip(f"{preset}/{title}", "")
        else:
            said = "\n".join(failure["failure"] for failure in case.get("failures", []))
            tally.add("failures" not in case, f"{preset}/{title}",
                      f"{again} --gtest_filter='{title}'", said)
    if ran.code != 0 and tally.failed == failed_before:
        tally.add(False, f"{preset}/{ran.name} (exit code {ran.code})", again, ran.output)
    print(f"  {ran.name}: {len(cases)} cases, {ran.seconds:.1f} s", flush=True)
    for line in ran.output.splitlines():
        if line.startswith("seeds "):
            print(f"    {line}", flush=True)


def stage_release(tally, options):
    del options
    if configure(tally, "release"):
        build(tally, "release", ["millrace", "millrace_client"])


def lately_touched(pattern):
    """The files that the last commits touched, those of the newest first."""
    named = run(["git", "log", f"-{TIDY_COMMITS}", "--format=", "--name-only", "--diff-filter=d"]).stdout.split("\n")
    there = set(tracked(pattern))
    return [name for name in dict.fromkeys(named) if name in there]


def stage_tidy(tally, options):
    """clang-tidy (.clang-tidy) on the product's sources that were touched lately; with --long on all."""
    if not configure(tally, "release") or not build(tally, "release", ["millrace", "millrace_client"]):
        return
    known = {entry["file"] for entry in json.loads((BUILD / "release/compile_commands.json").read_text())}
    files = [name for name in (tracked("*.cc") if options.long else lately_touched("*.cc"))
             if str(ROOT / name) in known]
    checked = files if options.long else files[:TIDY_FILES_MAX]
    print(f"  {len(checked)} of {len(files)} files")

    def tidy(name):
        # The release build is g++'s, with warnings that clang does not know.
        return name, run(["clang-tidy-19", "-p", BUILD / "release", "--quiet",
                          "--extra-arg=-Wno-unknown-warning-option",
                          "--extra-arg=-Wno-deprecated-declarations", name])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, done in pool.map(tidy, checked):
            said = "\n".join(line for line in done.stdout.splitlines() if not line.endswith(" generated."))
            tally.add(done.returncode == 0, f"tidy {name}", f"clang-tidy-19 -p build/release {name}", said)


def stage_instructions(tally, options):
    """What the hot paths cost, in instructions, against the recorded baseline."""
    del options
    command = ["tests/bench/instructions/count.py"]
    done = run(command)
    print(done.stdout)
    if done.returncode == NOT_COMPARABLE:
        tally.skip("instruction counts", done.stdout.splitlines()[-1])
    else:
        tally.add(done.returncode == 0, "instruction counts", shown(command))


def is_sanitized(name, labels):
    return bool(labels & SANITIZED_LABELS) and name not in NOT_SANITIZED


def stage_debug(tally, options):
    """Simulations, and the units that the sanitizers can't take; with --long all that runs in one process."""
    if not configure(tally, "debug"):
        return
    chosen = [name for name, _, labels in registered_tests("debug")
              if labels & LABELS_IN_PROCESS and (options.long or not is_sanitized(name, labels))]
    build(tally, "debug", chosen + ["simulate_core", "simulate_broker"])
    run_googletests(tally, "debug", [(name, [BUILD / "debug" / "bin" / name]) for name in chosen])
    # The tests' seeds are the same in every run.
    first = int(os.environ.get("MILLRACE_FIRST_SEED") or random.SystemRandom().randrange(10**4, 10**9))
    print(f"fresh seeds from {first} on; the same again: MILLRACE_FIRST_SEED={first}", flush=True)
    for level, share in (FRESH_SEEDS_LONG if options.long else FRESH_SEEDS).items():
        check_program(tally, f"fresh {level} simulation",
                      [BUILD / f"debug/bin/simulate_{level}", "--first", first, *share])


def stage_fuzz(tally, options):
    """Each fuzz target, from its corpus on; what crashes one is kept in build/test-results/fuzz."""
    if not configure(tally, "fuzz") or not build(tally, "fuzz", ["fuzz_targets"]):
        return
    check_program(tally, "fuzz corpus", ["tests/fuzz/corpus.py", "unpack"])
    kept = RESULTS / "fuzz"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    seconds = FUZZ_SECONDS_LONG if options.long else FUZZ_SECONDS
    targets = sorted(path.name.removesuffix("_fuzz") for path in (BUILD / "fuzz" / "bin").glob("*_fuzz"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, done in zip(targets, pool.map(lambda name: fuzz(name, seconds, kept), targets)):
            found = sorted(kept.glob(f"{name}-*"))
            again = f"build/fuzz/bin/{name}_fuzz {shown(found[:1])}"
            tally.add(done.returncode == 0, f"fuzz/{name}", again, done.stdout)
            runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)
            print(f"  {name}: {runs.group(1) if runs else '?'} inputs", flush=True)


def fuzz(name, seconds, kept):
    grown = BUILD / "fuzz-corpus" / name
    grown.mkdir(parents=True, exist_ok=True)
    return run([BUILD / "fuzz" / "bin" / f"{name}_fuzz", f"-max_total_time={seconds}", "-timeout=20", "-seed=1",
                "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1", "-verbosity=0",
                f"-artifact_prefix={kept}/{name}-", grown, FUZZ_CORPUS / name])


def stage_asan(tally, options):
    """Units and scenarios under address and undefined-behaviour sanitizers; a short core simulation."""
    del options
    if not configure(tally, "asan"):
        return
    chosen = [name for name, _, labels in registered_tests("asan") if is_sanitized(name, labels)]
    build(tally, "asan", chosen + ["simulate_core"])
    run_googletests(tally, "asan", [(name, [BUILD / "asan" / "bin" / name]) for name in chosen])
    check_program(tally, "asan/simulate_core",
                  [BUILD / "asan/bin/simulate_core", f"--seeds={ASAN_CORE_SEEDS}"])


def stage_tsan(tally, options):
    """What has threads, under the thread sanitizer."""
    del options
    if not configure(tally, "tsan"):
        return
    known = {name for name, _, _ in registered_tests("tsan")}
    chosen = [name for name in TSAN_TESTS if name in known]
    build(tally, "tsan", chosen)
    run_googletests(tally, "tsan",
                    [(name, [BUILD / "tsan" / "bin" / name, f"--gtest_filter={TSAN_TESTS[name]}"])
                     for name in chosen])


def stage_cluster(tally, options):
    """Real processes: faults, bad input, other people's clients, the quick start and the README."""
    if not RELEASE_BINARY.exists():
        return tally.add(False, "cluster", "tests/run.sh --only release cluster", "no release binary")
    # The checker, its load, and the server with the broken variants in it.
    if configure(tally, "debug"):
        build(tally, "debug", ["millrace", "history_load", "check_history"])
    pytest(tally, "cluster", [tool("python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/cluster",
                              *(["--long"] if options.long else [])], "tests/cluster")
    pytest(tally, "clients", ["tests/clients/run.sh", RELEASE_BINARY, BUILD / "clients-venv"],
           "tests/clients")
    # In the environment that run.sh has just made.
    pytest(tally, "hostile", [BUILD / "clients-venv/bin/python", "-m", "pytest", "-q", "-p",
                              "no:cacheprovider", "tests/hostile",
                              *(["--long"] if options.long else [])], "tests/hostile")


def stage_bench(tally, options):
    """The bench with hardly any load, Millrace and the bare hardware alone: that it runs, not how fast."""
    del options
    if not RELEASE_BINARY.exists():
        return tally.add(False, "bench", "tests/run.sh --only release bench", "no release binary")
    check_program(tally, "bench", ["tests/bench/run_bench.py", "--quick", "--systems", "millrace", "raw"])


STAGES = {"tools": stage_tools, "checks": stage_checks, "release": stage_release,
          "tidy": stage_tidy, "instructions": stage_instructions,
          "debug": stage_debug, "asan": stage_asan, "tsan": stage_tsan,
          "fuzz": stage_fuzz, "cluster": stage_cluster,
          "bench": stage_bench}


def main():
    parser = argparse.ArgumentParser(prog="tests/run.sh", description="See tests/run.sh.")
    parser.add_argument("--long", action="store_true", help="the long forms too")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), help="these stages alone")
    parser.add_argument("--list", action="store_true", help="name the stages")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:8} {(stage.__doc__ or 'Builds it.').splitlines()[0]}"
                        for name, stage in STAGES.items()))
        return 0
    os.environ["CI"] = "true"
    if options.long:
        os.environ["MILLRACE_LONG"] = "1"  # tests/support/seeds
    # A compiler cache that was filled by another clone on the same machine serves this one too.
    os.environ.setdefault("CCACHE_BASEDIR", str(ROOT))
    os.environ.setdefault("CCACHE_NOHASHDIR", "true")
    RESULTS.mkdir(parents=True, exist_ok=True)
    tally = Tally()
    for name, stage in STAGES.items():
        if name in options.only:
            print(f"== {name}", flush=True)
            began = time.monotonic()
            try:
                stage(tally, options)
            except Exception:  # pylint: disable=broad-except
                tally.add(False, name, f"tests/run.sh --only {name}", traceback.format_exc())
            tally.stage_seconds.append((name, time.monotonic() - began))
            print(f"== {name}: {tally.stage_seconds[-1][1]:.0f} s", flush=True)
    return report(tally)


def report(tally):
    print("\nseconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in tally.stage_seconds))
    for name, again in tally.failures:
        print(f"FAILED {name}\n  run it again: {again}")
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped", flush=True)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
