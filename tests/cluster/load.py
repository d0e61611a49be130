"""Load for tests of real processes: numbered rows through one `millrace produce`, and the check of what came of them.

    with Load(cluster, "events") as load:
        load.wait_stored(1000)
        cluster.kill(1)
        load.wait_stored(load.stored() + 1000)
    load.verify()                     # all rows acknowledged, none lost, doubled or out of order
"""
import json
import subprocess
import threading

from local_cluster import ClusterError, wait_until
from verify_flights import compare

KEYS = 20
CHUNK_ROWS = 100
# Between chunks: enough rows to be in flight at any moment, few enough to compare quickly.
PAUSE_SECONDS = 0.01
DRAIN_SECONDS_MAX = 60


def row(number):
    return json.dumps({"carrier": f"key-{number % KEYS}", "number": number})


def read_back(cluster, topic):
    """Every record as `millrace consume -o json` gives it, raw."""
    done = cluster.run("consume", topic, "--from", "earliest", "--until-end", "-o", "json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def stored_rows(cluster, topic):
    """Rows committed so far, as the brokers say; 0 while they cannot say."""
    done = cluster.run("topic", "describe", topic, "-o", "json", "--timeout", "2", check=False)
    if done.returncode != 0:
        return 0
    return sum(found.get("high_watermark", 0) for found in json.loads(done.stdout)["partitions"])


class Load:
    """Rows from a thread of its own until the end of the `with`."""

    def __init__(self, cluster, topic):
        self.cluster = cluster
        self.topic = topic
        self.rows = []
        self._stop = threading.Event()
        command = cluster.command("produce", topic, "--key-field", "carrier", "-o", "json")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE)
        self._thread = threading.Thread(target=self._feed)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, error_type, *unused):
        self._stop.set()
        if error_type is not None:
            self._process.kill()
        self._thread.join(DRAIN_SECONDS_MAX)
        try:
            self._answer, self._error = self._process.communicate(timeout=DRAIN_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            raise ClusterError(f"the producer did not end:\n{self.cluster.log_tails()}") from error

    def _feed(self):
        pipe = self._process.stdin
        try:
            while not self._stop.wait(PAUSE_SECONDS):
                begin = len(self.rows)
                rows = [row(number) for number in range(begin, begin + CHUNK_ROWS)]
                pipe.write("".join(text + "\n" for text in rows).encode())
                pipe.flush()
                self.rows += rows
            pipe.close()
        except BrokenPipeError:
            pass  # the producer ended; verify() says with what
        self._process.stdin = None

    def stored(self):
        return stored_rows(self.cluster, self.topic)

    def wait_stored(self, rows, seconds_max=30):
        """Until so many rows are committed; fails at once if the producer gave up."""
        def is_stored():
            if self._process.poll() is not None:
                raise ClusterError(f"the producer ended: {self._process.stderr.read().decode()}")
            return self.stored() >= rows

        try:
            wait_until(is_stored, f"{rows} rows stored", seconds_max)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self.cluster.log_tails()}") from error

    def verify(self):
        """After the `with`: everything sent was acknowledged, and reads back exactly as it was sent."""
        assert self._process.returncode == 0, self._error.decode()
        assert self.rows, "the load sent nothing"
        problems = compare(self.rows, read_back(self.cluster, self.topic), "carrier")
        assert not problems, "\n".join(problems[:5])
