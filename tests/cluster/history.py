"""A load on a cluster whose history the checker judges: history_load and check_history, built by the debug preset.

    with HistoryLoad(cluster, "events", folder) as load:
        load.wait_progress()                 # every partition acknowledges more records
        cluster.kill(1)
        load.wait_progress()
    load.verify()                            # drained, nobody began again, and the checker finds nothing
"""
import json
import os
import pathlib
import subprocess
import threading
import time

from local_cluster import ClusterError, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = pathlib.Path(os.environ.get("MILLRACE_TEST_TOOLS", ROOT / "build" / "debug" / "bin"))
DRAIN_SECONDS_MAX = 60
# Between two deletions of some partition's oldest records.
DELETE_MS = 400
# What a partition must acknowledge to have made progress: more than what may have been under way.
PROGRESS_RECORDS = 50
PROGRESS_SECONDS_MAX = 30
STUCK_SECONDS = 1
STAYS_STUCK_SECONDS = 5


def tool(name):
    path = TOOLS / name
    if not os.access(path, os.X_OK):
        raise ClusterError(f"no {path}: cmake --preset debug && cmake --build --preset debug --target {name}")
    return str(path)


def epochs(cluster, topic, leader=None):
    """{partition: leader epoch}, of what this broker leads if one is given."""
    return {row["partition"]: row["leader_epoch"] for row in cluster.partitions(topic)
            if leader in (None, row["leader_id"])}


def hold(began, seconds):
    """Until a fault, which has lasted since `began`, has lasted so long."""
    time.sleep(max(0.0, began + seconds - time.monotonic()))


class HistoryLoad:
    """Producers and readers until the end of the `with`; then they drain."""

    def __init__(self, cluster, topic, folder, rate=1500, delete_ms=DELETE_MS, drain_seconds=DRAIN_SECONDS_MAX):
        self.cluster = cluster
        self.path = pathlib.Path(folder) / "history.jsonl"
        self.partitions = len(cluster.partitions(topic))
        self.drain_seconds = drain_seconds
        self.last_line = {}
        self._log_path = pathlib.Path(folder) / "history_load.log"
        self._command = [*cluster.prefix, tool("history_load"), "--bootstrap", cluster.bootstrap, "--topic", topic,
                         "--history", str(self.path), "--rate", str(rate), "--delete-ms", str(delete_ms),
                         "--drain-seconds", str(drain_seconds)]
        self._process = None
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self):
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self._thread.start()
        return self

    def __exit__(self, error_type, *unused):
        if error_type is not None:
            self._process.kill()
        self._process.stdin.close()
        try:
            self._process.wait(self.drain_seconds + 10)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            self._process.wait()
            raise ClusterError(f"the load did not end:\n{self.cluster.log_tails()}") from error
        finally:
            self._thread.join()
            self._process.stdout.close()

    def _follow(self):
        for line in self._process.stdout:
            self.last_line = json.loads(line)

    def acknowledged(self):
        """Records acknowledged so far, by partition."""
        counts = self.last_line.get("acknowledged", [])
        return counts + [0] * (self.partitions - len(counts))

    def wait_progress(self, records=PROGRESS_RECORDS, seconds_max=PROGRESS_SECONDS_MAX, what=""):
        """Until every partition has acknowledged so many records more than now; `what` says when, for the error."""
        before = self.acknowledged()

        def has_progressed():
            if self._process.poll() is not None:
                raise ClusterError(f"the load ended: {self._log_path.read_text()}")
            return all(now >= then + records for now, then in zip(self.acknowledged(), before))

        try:
            wait_until(has_progressed, f"{records} records more in every partition {what}", seconds_max)
        except ClusterError as error:
            raise ClusterError(f"{error}: {before} acknowledged then, {self.acknowledged()} now\n"
                               f"{self.cluster.log_tails()}") from error

    def wait_silent(self, seconds, meanwhile=lambda: None):
        """Until nothing has been acknowledged for so long; `meanwhile()` is called again and again."""
        last = [time.monotonic(), self.acknowledged()]

        def is_silent():
            meanwhile()
            now = self.acknowledged()
            if now != last[1]:
                last[:] = [time.monotonic(), now]
            return time.monotonic() - last[0] > seconds

        wait_until(is_silent, "nothing more acknowledged")

    def wait_stuck(self):
        """Until nothing has been acknowledged for a second; and then nothing is, for many election timeouts more."""
        self.wait_silent(STUCK_SECONDS)
        stuck = self.acknowledged()
        hold(time.monotonic(), STAYS_STUCK_SECONDS)
        assert self.acknowledged() == stuck, "acknowledged without a majority"

    def check(self):
        """The checker's exit code and what it says."""
        done = subprocess.run([tool("check_history"), str(self.path)], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def verify(self):
        """After the `with`: the history is good, and the clients saw nothing that they could not ride out."""
        # First of all: a load that crashed tells no last line, and its history is cut.
        assert self._process.returncode == 0, (self._process.returncode, self.last_line, self._log_path.read_text())
        code, said = self.check()
        assert code == 0, f"{said}history: {self.path}\n{self.last_line}"
        assert self.last_line.get("ended") == "OK", self.last_line
        assert self.last_line["producer_restarts"] == 0, self.last_line
        assert self.last_line["reader_restarts"] == 0, self.last_line
        print(said.splitlines()[0])
