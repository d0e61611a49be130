"""Brokers as real processes on loopback, for the quick start, the tests and the benchmarks.

A LocalCluster owns its brokers' processes, data folders and logs: each broker is started and ended by its own
process id, and dies with the script that started it. Waits are on conditions with deadlines. Standard library only.

    with LocalCluster("build/release/bin/millrace", "build/demo") as cluster:
        cluster.start_all()
        cluster.run("topic", "create", "flights", "--partitions", "6", "--replicas", "3")
        cluster.kill(cluster.busiest_leader("flights"))
"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

READY_SECONDS_MAX = 30
STOP_SECONDS_MAX = 20
POLL_SECONDS = 0.02
# Put before a command: it is killed with the thread that started it. Python's own hook between fork and exec would run
# code in a copy of a process that has threads, such as gRPC's, and can wait there for ever for a lock of theirs.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


class ClusterError(Exception):
    """What went wrong, with the end of the log that tells why."""


def free_ports(count):
    """Ports that were free a moment ago; all held at once, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def wait_until(condition, what, seconds_max=READY_SECONDS_MAX):
    """The first true value of `condition()`; ClusterError naming `what` once the time is over."""
    deadline = time.monotonic() + seconds_max
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise ClusterError(f"not within {seconds_max} s: {what}")
        time.sleep(POLL_SECONDS)


class Broker:
    """One `millrace server`: its addresses, folder, log, and process while it runs.

    `prefix` is put before its command; it must become the broker by exec, so that the process id stays.
    """

    def __init__(self, binary, broker_id, folder, client_port, internal_port):
        self.binary = str(binary)
        self.broker_id = broker_id
        self.data_dir = folder / f"broker-{broker_id}"
        self.log_path = folder / f"broker-{broker_id}.log"
        self.client_address = f"127.0.0.1:{client_port}"
        self.internal_address = f"127.0.0.1:{internal_port}"
        self.prefix = []
        self.process = None

    def start(self, *flags):
        """Starts the process with its addresses, its folder and `flags`; does not wait for it."""
        assert not self.is_running(), f"broker {self.broker_id} runs already"
        command = [*DIE_WITH_PARENT, *self.prefix, self.binary, "server", "--data-dir", str(self.data_dir), "--listen",
                   self.client_address, "--internal-listen", self.internal_address, *flags]
        with open(self.log_path, "ab") as log:
            # A session of its own: Ctrl-C reaches the script alone, which then stops the brokers in order.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def end(self, sig, seconds_max=STOP_SECONDS_MAX):
        """Sends the signal to this process alone and waits for its end; the exit code, None if none ran."""
        if self.process is None:
            return None
        if self.is_running():
            self.process.send_signal(sig)
        try:
            return self.process.wait(seconds_max)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            self.process.wait()
            raise ClusterError(f"broker {self.broker_id} did not end within {seconds_max} s of signal "
                               f"{int(sig)}:\n{self.log_tail()}") from error

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines=15):
        return "\n".join(self.log_text().splitlines()[-lines:])


class LocalCluster:
    """`count` brokers that are each other's controllers; or with count=1 the embedded single broker.

    `prefix` is put before client commands, as where they run matters for some tests.
    """

    def __init__(self, binary, folder, count=3, name="demo", ports=None, flags=()):
        self.binary = str(pathlib.Path(binary).resolve())
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.flags = list(flags)
        self.prefix = []
        ports = ports or free_ports(2 * count)
        self.brokers = {
            i + 1: Broker(self.binary, i + 1, self.folder, ports[2 * i], ports[2 * i + 1])
            for i in range(count)
        }

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stop_all()

    @property
    def bootstrap(self):
        return ",".join(broker.client_address for broker in self.brokers.values())

    @property
    def controllers(self):
        return ",".join(f"{b.broker_id}@{b.internal_address}" for b in self.brokers.values())

    def member_flags(self, broker_id):
        if len(self.brokers) == 1:
            return self.flags
        return ["--broker-id", str(broker_id), "--cluster", self.name, "--controllers",
                self.controllers, *self.flags]

    def start(self, broker_id):
        self.brokers[broker_id].start(*self.member_flags(broker_id))

    def start_all(self):
        """Starts every broker and waits until the cluster answers with all of them alive."""
        for broker_id in self.brokers:
            self.start(broker_id)
        self.wait_alive(self.brokers)

    def kill(self, broker_id):
        """kill -9; returns the moment of it."""
        at = time.monotonic()
        self.brokers[broker_id].end(signal.SIGKILL)
        return at

    def stop_all(self):
        """SIGTERM to all, then waits for each; a broker that hangs is killed and reported."""
        for broker in self.brokers.values():
            if broker.is_running():
                broker.process.terminate()
        errors = []
        for broker in self.brokers.values():
            try:
                broker.end(signal.SIGTERM)
            except ClusterError as error:
                errors.append(str(error))
        if errors:
            raise ClusterError("\n".join(errors))

    def command(self, *arguments):
        return [*self.prefix, self.binary, *map(str, arguments), "--bootstrap", self.bootstrap]

    def run(self, *arguments, check=True, timeout=120, **options):
        """A client command; its CompletedProcess. Fails with its error unless check=False."""
        options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True,
                              timeout=timeout, check=False, **options)
        if check and done.returncode != 0:
            raise ClusterError(f"millrace {' '.join(map(str, arguments))}: {done.stderr.strip()}\n"
                               f"{self.log_tails()}")
        return done

    def json(self, *arguments, **options):
        return json.loads(self.run(*arguments, "-o", "json", **options).stdout)

    def log_tails(self):
        return "\n".join(f"--- {b.log_path}\n{b.log_tail()}" for b in self.brokers.values())

    def wait_alive(self, broker_ids, seconds_max=READY_SECONDS_MAX):
        """Until the cluster says that exactly these brokers, of those listed, are alive."""
        wanted = set(broker_ids)

        def are_alive():
            for broker_id in wanted:
                broker = self.brokers[broker_id]
                if not broker.is_running():
                    raise ClusterError(f"broker {broker_id} ended:\n{broker.log_tail()}")
            described = self.run("cluster", "describe", "-o", "json", "--timeout", "2", check=False)
            if described.returncode != 0:
                return False
            rows = json.loads(described.stdout)["brokers"]
            return {row["broker_id"] for row in rows if row["is_alive"]} == wanted

        try:
            wait_until(are_alive, f"brokers {sorted(wanted)} alive", seconds_max)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self.log_tails()}") from error

    def partitions(self, topic):
        return self.json("topic", "describe", topic)["partitions"]

    def stored_records(self, topic):
        """What is committed of the topic, all partitions together."""
        return sum(row.get("high_watermark", 0) for row in self.partitions(topic))

    def busiest_leader(self, topic):
        """The id of the broker that leads most partitions; the lowest of several."""
        leaders = [row["leader_id"] for row in self.partitions(topic) if row["leader_id"] != 0]
        return max(sorted(set(leaders)), key=leaders.count)


def default_binary():
    """The release binary of this tree, or what MILLRACE_BINARY names."""
    root = pathlib.Path(__file__).resolve().parents[1]
    return pathlib.Path(os.environ.get("MILLRACE_BINARY", root / "build/release/bin/millrace"))
