#!/usr/bin/env python3
"""What deploy/quickstart.sh does once packages are installed; see there. Standard library only.

One runs at a time: it holds a lock as long as it lives, and wipes nothing that a broker uses.
"""
import argparse
import gzip
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from build_progress import BuildError, build
from in_use import lock_holder, take_lock, use_of
from local_cluster import ClusterError, LocalCluster, default_binary, wait_until
from verify_flights import verify_files

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "quickstart"
LOCK = ROOT / "build" / "quickstart.lock"
BUILD_LOG = ROOT / "build" / "quickstart-build.log"
SAMPLE = ROOT / "tests" / "data" / "flights-2013-01.jsonl.gz"
TOPIC = "flights"
PORTS = (7440, 7441, 7450, 7451, 7460, 7461)
CHUNK_LINES = 500
# The kill comes when this much of the input is handed over.
KILL_AT = 0.5
BAR_WIDTH = 30


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"\n== {text}")


def show(cluster, *arguments):
    say(f"$ millrace {' '.join(map(str, arguments))}")
    say(cluster.run(*arguments).stdout.rstrip("\n"))


def refuse_if_in_use():
    """ClusterError if a broker runs where this quick start would: its data stays as it is."""
    use = use_of(FOLDER, PORTS)
    if use:
        raise ClusterError(f"{use}; stop it first. Nothing was removed.")


def claim():
    """The quick start's lock, to be kept; ClusterError while another one runs."""
    lock = take_lock(LOCK)
    if lock is None:
        raise ClusterError(f"another quick start runs (process {lock_holder(LOCK) or 'unknown'}): try its cluster, "
                           "or stop it with Ctrl-C first. Nothing was removed.")
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def build_millrace():
    step("Building: the first time about ten minutes on two free cores, then seconds "
         f"(all of it: tail -f {os.path.relpath(BUILD_LOG, ROOT)})")
    with open(BUILD_LOG, "w+", encoding="utf-8") as log:
        build(["cmake", "--preset", "release"], log)
        build(["cmake", "--build", "--preset", "release", "--target", "millrace"], log)


def prepare_folder(keep):
    # Again, as the build may have taken its time.
    refuse_if_in_use()
    if not keep and FOLDER.exists():
        shutil.rmtree(FOLDER)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "flights.jsonl"
    with gzip.open(SAMPLE, "rb") as packed, open(path, "wb") as plain:
        shutil.copyfileobj(packed, plain)
    return path


def has_topic(cluster):
    topics = cluster.json("topic", "list")["topics"]
    return any(topic["name"] == TOPIC for topic in topics)


def create_topic(cluster):
    show(cluster, "topic", "create", TOPIC, "--partitions", 6, "--replicas", 3)


def load(cluster, path):
    """Hands the file to one `millrace produce`, which draws the bar itself."""
    arguments = ["produce", TOPIC, path, "--key-field", "carrier"]
    say(f"$ millrace produce {TOPIC} {os.path.relpath(path, ROOT)} --key-field carrier")
    subprocess.run(cluster.command(*arguments), check=True, stdin=subprocess.DEVNULL)


class Bar:
    """How much of the input is handed over; drawn on a terminal, else said in quarters."""

    def __init__(self, total):
        self.total = total
        self.is_terminal = sys.stderr.isatty()
        self.last_quarter = 0

    def show(self, done):
        if self.is_terminal:
            full = done * BAR_WIDTH // self.total
            bar = "#" * full + "-" * (BAR_WIDTH - full)
            end = "\n" if done == self.total else ""
            print(f"\r{TOPIC} [{bar}] {done * 100 // self.total:3d}%  {done:,} of {self.total:,} rows",
                  end=end, file=sys.stderr, flush=True)
        elif done * 4 // self.total > self.last_quarter:
            self.last_quarter = done * 4 // self.total
            print(f"{done:,} of {self.total:,} rows", file=sys.stderr, flush=True)


def feed(cluster, lines, pipe):
    """Writes the lines to the producer, and kills the busiest leader half way. Returns who was killed."""
    bar = Bar(len(lines))
    kill_at = int(len(lines) * KILL_AT)
    victim = None
    for begin in range(0, len(lines), CHUNK_LINES):
        is_time = victim is None and begin >= kill_at
        if is_time:
            # Asked before the next rows go out, so that those are in flight when the kill falls.
            wait_until(lambda: cluster.stored_records(TOPIC) > 0, "first records stored")
            victim = cluster.busiest_leader(TOPIC)
        chunk = lines[begin:begin + CHUNK_LINES]
        pipe.write(b"".join(chunk))
        pipe.flush()
        if is_time:
            cluster.kill(victim)
            say(f"\nkilled broker {victim} with SIGKILL, which led most partitions; loading goes on")
        bar.show(begin + len(chunk))
    return victim


def load_with_a_kill(cluster, path):
    """One producer, one kill in the middle of its load; ClusterError if anything was not acknowledged."""
    lines = path.read_bytes().splitlines(keepends=True)
    count = len(lines)
    command = cluster.command("produce", TOPIC, "--key-field", "carrier", "-o", "json")
    # Its standard error is no terminal, so that this script's bar alone is drawn.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as producer:
        victim = feed(cluster, lines, producer.stdin)
        producer.stdin.close()
        producer.stdin = None
        acknowledged, said = producer.communicate(timeout=120)
    print(said.decode(), end="", file=sys.stderr, flush=True)
    if producer.returncode != 0:
        raise ClusterError("not everything was acknowledged:\n" + acknowledged.decode())
    say(f"all {count:,} rows acknowledged")
    return victim


def read_back(cluster):
    path = FOLDER / "readback.jsonl"
    command = cluster.command("consume", TOPIC, "--from", "earliest", "--until-end", "-o", "json")
    with open(path, "wb") as out:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=out, timeout=120)
    return path


def show_data(cluster):
    step("Some records")
    show(cluster, "consume", TOPIC, "--from", "earliest", "--count", 3, "-o", "key-value")
    step("The cluster")
    show(cluster, "cluster", "describe")
    show(cluster, "topic", "describe", TOPIC)


def run_once(cluster, path):
    """The whole demonstration; true if every row came back as it went in."""
    step("Loading, with a kill -9 in the middle")
    victim = load_with_a_kill(cluster, path)
    step(f"Starting broker {victim} again")
    cluster.start(victim)
    cluster.wait_alive(cluster.brokers)
    show_data(cluster)
    step("Reading everything back, and comparing with the input row by row")
    return verify_files(path, read_back(cluster))


def wait_for_interrupt(cluster):
    """Until Ctrl-C or SIGTERM; says when a broker ends by itself."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    reported = set()
    while signal.sigtimedwait({signal.SIGINT, signal.SIGTERM}, 1.0) is None:
        for broker in cluster.brokers.values():
            if not broker.is_running() and broker.broker_id not in reported:
                reported.add(broker.broker_id)
                say(f"broker {broker.broker_id} ended; its log is {broker.log_path}")


def leave_running(cluster):
    binary = os.path.relpath(cluster.binary, ROOT)
    step("The cluster runs until Ctrl-C. In another terminal:")
    say(f"  export MILLRACE_BOOTSTRAP={cluster.bootstrap}")
    say(f"  {binary} topic create greetings")
    say(f"  echo hello | {binary} produce greetings")
    say(f"  {binary} consume greetings --from earliest --until-end")
    say(f"  {binary} consume {TOPIC} --from earliest --count 5 -o json")
    say(f"  {binary} topic describe {TOPIC}")
    say("Stop: Ctrl-C here. Data stays in " + os.path.relpath(FOLDER, ROOT) +
        " until the next run; --keep goes on with it.")
    wait_for_interrupt(cluster)
    say("\nstopping")


def run(options):
    refuse_if_in_use()
    build_millrace()
    began = time.monotonic()
    path = prepare_folder(options.keep)
    step(f"Starting three brokers; data in {os.path.relpath(FOLDER, ROOT)}")
    with LocalCluster(default_binary(), FOLDER, ports=PORTS) as cluster:
        cluster.start_all()
        is_new = not has_topic(cluster)
        if is_new:
            create_topic(cluster)
        if options.once:
            is_good = run_once(cluster, path)
            say(f"{time.monotonic() - began:.1f} s")
            return 0 if is_good else 1
        if is_new:
            step("Loading the sample data")
            load(cluster, path)
        show_data(cluster)
        leave_running(cluster)
    return 0


def main():
    parser = argparse.ArgumentParser(prog="deploy/quickstart.sh", description="See deploy/README.md.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--once", action="store_true", help="kill a leader, verify every row, exit")
    choice.add_argument("--keep", action="store_true", help="keep the data of the last run")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    os.chdir(ROOT)
    try:
        with claim():
            return run(options)
    except KeyboardInterrupt:
        return 130
    except (BuildError, ClusterError, subprocess.SubprocessError, OSError) as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
