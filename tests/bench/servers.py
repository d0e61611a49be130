"""Three servers of each system on loopback: started, ended, wiped, killed; where they keep their data.

A Server owns its processes, ports and folder. It does not speak to them: drivers.py does.
"""
import os
import shutil

from processes import PEERS, BenchError, LocalCluster, default_binary, end, free_ports, spawn

COUNT = 3
LOOPBACK = "127.0.0.1"


class Server:
    """Base: processes by id 1..3 under `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = {}
        self.bootstrap = ""

    def start(self):
        """Spawns the servers over empty folders; does not wait until they answer."""
        raise NotImplementedError

    def pids(self):
        return [process.pid for process in self.processes.values() if process.poll() is None]

    def check_running(self):
        """BenchError with the end of its log for one that ended by itself."""
        for server_id, process in self.processes.items():
            if process.poll() is not None:
                log = "\n".join(self.log(server_id).read_text(errors="replace").splitlines()[-12:])
                raise BenchError(f"server {server_id} ended with {process.returncode}:\n{log}")

    def log(self, server_id):
        return self.folder / f"{server_id}.log"

    def kill(self, server_id):
        self.processes[server_id].kill()
        self.processes[server_id].wait()

    def stop(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            end(process)
        self.processes = {}

    def wipe(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)


class Millrace(Server):
    """As it comes: every acknowledgement after fdatasync on a majority."""

    @property
    def binary(self):
        return default_binary()

    def start(self):
        self.wipe()
        cluster = LocalCluster(self.binary, self.folder, count=COUNT, name="bench")
        for broker_id, broker in cluster.brokers.items():
            cluster.start(broker_id)
            self.processes[broker_id] = broker.process
        self.bootstrap = cluster.bootstrap

    def log(self, server_id):
        return self.folder / f"broker-{server_id}.log"


class MillraceBefore(Millrace):
    """The binary of another commit, with its own clients: run_bench.py --before."""

    @property
    def binary(self):
        return os.environ["MILLRACE_BEFORE"]


class Kafka(Server):
    """Combined KRaft nodes; the heap and collector options are those of Kafka's own start script."""

    JARS = PEERS / "kafka" / "*"
    CLUSTER_ID = "bWlsbHJhY2UtYmVuY2gtMQ"
    JVM = ("-server", "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
           "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true")

    def __init__(self, folder):
        super().__init__(folder)
        self.ports = free_ports(2 * COUNT)

    def java(self, *words):
        return ["java", f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}", "-cp", self.JARS, *words]

    def wipe(self):
        """Also formats the nodes' folders, which Kafka wants done once before the first start."""
        super().wipe()
        self.write("log4j2.properties", {
            "rootLogger.level": "WARN", "rootLogger.appenderRef.out.ref": "out", "appender.out.type": "Console",
            "appender.out.name": "out", "appender.out.layout.type": "PatternLayout",
            "appender.out.layout.pattern": "%d %p %c %m%n"})
        formats = []
        for i in range(COUNT):
            path = self.write(f"node-{i + 1}.properties", self.properties(i))
            command = self.java("kafka.tools.StorageTool", "format", "-t", self.CLUSTER_ID, "-c", path)
            formats.append(spawn(command, self.folder / f"format-{i + 1}.log"))
        for process in formats:
            process.wait()

    def write(self, name, properties):
        path = self.folder / name
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="utf-8")
        return path

    def properties(self, i):
        listeners = f"CLIENTS://{LOOPBACK}:{self.ports[i]},CONTROL://{LOOPBACK}:{self.ports[COUNT + i]}"
        voters = ",".join(f"{j + 1}@{LOOPBACK}:{self.ports[COUNT + j]}" for j in range(COUNT))
        return {
            "process.roles": "broker,controller", "node.id": i + 1, "controller.quorum.voters": voters,
            "listeners": listeners, "advertised.listeners": listeners,
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROL:PLAINTEXT",
            "inter.broker.listener.name": "CLIENTS", "controller.listener.names": "CONTROL",
            "log.dirs": self.folder / f"data-{i + 1}", "min.insync.replicas": 2,
            "default.replication.factor": COUNT, "offsets.topic.replication.factor": COUNT,
            "offsets.topic.num.partitions": 3, "transaction.state.log.replication.factor": COUNT,
            "group.initial.rebalance.delay.ms": 0, "log.segment.delete.delay.ms": 1000,
            "auto.create.topics.enable": "false"}

    def start(self):
        for i in range(COUNT):
            command = self.java(*self.JVM, "kafka.Kafka", self.folder / f"node-{i + 1}.properties")
            self.processes[i + 1] = spawn(command, self.log(i + 1), cwd=self.folder)
        self.bootstrap = ",".join(f"{LOOPBACK}:{port}" for port in self.ports[:COUNT])


class Nats(Server):
    """Servers n1, n2, n3 with JetStream; `sync` is sync_interval, empty for its default of two minutes."""

    sync = ""

    def start(self):
        self.wipe()
        ports = free_ports(2 * COUNT)
        routes = ", ".join(f"nats-route://{LOOPBACK}:{port}" for port in ports[COUNT:])
        sync = f"sync_interval: {self.sync}" if self.sync else ""
        for i in range(COUNT):
            path = self.folder / f"n{i + 1}.conf"
            path.write_text(
                f"server_name: n{i + 1}\nlisten: {LOOPBACK}:{ports[i]}\n"
                f'jetstream {{ store_dir: "{self.folder / f"data-{i + 1}"}", max_mem: 1GB, max_file: 20GB\n'
                f"  {sync} }}\n"
                f"cluster {{ name: bench, listen: {LOOPBACK}:{ports[COUNT + i]}, routes: [ {routes} ] }}\n",
                encoding="utf-8")
            command = [PEERS / "bin" / "nats-server", "-c", path]
            self.processes[i + 1] = spawn(command, self.log(i + 1))
        self.bootstrap = ",".join(f"nats://{LOOPBACK}:{port}" for port in ports[:COUNT])


class NatsSyncAlways(Nats):
    sync = "always"


class Raw(Server):
    """Nothing to start: raw_limit brings its brokers along for each run."""

    def start(self):
        self.wipe()


SERVERS = {"millrace": Millrace, "millrace-before": MillraceBefore, "kafka": Kafka, "nats": Nats, "nats-fsync": NatsSyncAlways, "raw": Raw}
