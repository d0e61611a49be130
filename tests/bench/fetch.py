"""Brings the peers, their load generator and the plotter into build/bench-peers, through the ordinary clients.

Versions are pinned here, in peers/kafka.xml and in peerload/go.mod. What is there already is left alone.
"""
import os
import pathlib
import subprocess
import sys

from processes import PEERS, BenchError

HERE = pathlib.Path(__file__).resolve().parent
NATS_SERVER = "github.com/nats-io/nats-server/v2@v2.15.2"
MATPLOTLIB = "matplotlib==3.11.2"
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
VERSIONS = {"kafka": "Apache Kafka 4.3.1, franz-go 1.22.2", "nats": "NATS server 2.15.2, nats.go 1.55.0"}


def run(*command, cwd=HERE, **environment):
    done = subprocess.run([str(word) for word in command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, env={**os.environ, **environment})
    if done.returncode != 0:
        raise BenchError(f"{' '.join(map(str, command))}:\n{done.stdout[-2000:]}")


def is_older(made, *sources):
    return not made.exists() or any(source.stat().st_mtime > made.stat().st_mtime for source in sources)


def fetch_kafka():
    jars = PEERS / "kafka"
    if not list(jars.glob("kafka_2.13-*.jar")):
        run("mvn", "-q", "-B", "-f", HERE / "peers" / "kafka.xml", COPY_JARS, f"-DoutputDirectory={jars}",
            "-DincludeScope=runtime")


def fetch_nats():
    if not (PEERS / "bin" / "nats-server").exists():
        run("go", "install", NATS_SERVER, GOBIN=str(PEERS / "bin"))


def build_peerload():
    made = PEERS / "bin" / "peerload"
    if is_older(made, *(HERE / "peerload").iterdir()):
        run("go", "build", "-o", made, ".", cwd=HERE / "peerload")


def build_raw():
    made = PEERS / "bin" / "raw_limit"
    source = HERE / "raw_limit.cc"
    if is_older(made, source):
        made.parent.mkdir(parents=True, exist_ok=True)
        run(os.environ.get("CXX", "c++"), "-std=c++20", "-O2", "-Wall", "-Wextra", "-pthread", source, "-o", made)


def plotter():
    """A Python that has matplotlib."""
    python = PEERS / "venv" / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", PEERS / "venv")
    if subprocess.run([python, "-c", "import matplotlib"], capture_output=True, check=False).returncode != 0:
        run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", MATPLOTLIB)
    return python


NEEDS = {"millrace": (), "millrace-before": (), "kafka": (fetch_kafka, build_peerload), "nats": (fetch_nats, build_peerload),
         "nats-fsync": (fetch_nats, build_peerload), "raw": (build_raw,)}


def fetch(servers):
    PEERS.mkdir(parents=True, exist_ok=True)
    for need in dict.fromkeys(need for server in servers for need in NEEDS[server]):
        need()
