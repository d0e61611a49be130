"""Processes as the bench sees them: started, ended by their own id, their CPU and memory; and the machine's facts."""
import collections
import contextlib
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys

import disk

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
PEERS = BUILD / "bench-peers"
sys.path.insert(0, str(ROOT / "deploy"))

from local_cluster import (DIE_WITH_PARENT, ClusterError, LocalCluster, default_binary,  # noqa: E402,F401
                           free_ports, wait_until)

CLIENT_SECONDS_MAX = 240
STOP_SECONDS_MAX = 5  # the data is wiped anyway
FREE_GIGABYTES_MIN = 20
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """What went wrong, with the command that did."""


def spawn(command, log_path, cwd=None):
    """A server process whose output goes to its log; it dies with this script."""
    with open(log_path, "ab") as log:
        return subprocess.Popen([*DIE_WITH_PARENT, *map(str, command)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                cwd=cwd, start_new_session=True)


def end(process):
    """SIGTERM, and SIGKILL for one that does not heed it."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Client:
    """A client process under way; `output` waits for it."""

    def __init__(self, command):
        self.command = [str(word) for word in command]
        self.process = subprocess.Popen([*DIE_WITH_PARENT, *self.command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def output(self, seconds_max=CLIENT_SECONDS_MAX):
        try:
            answer, errors = self.process.communicate(timeout=seconds_max)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            self.process.communicate()
            raise BenchError(f"not within {seconds_max} s: {' '.join(self.command)}") from error
        if self.process.returncode != 0:
            raise BenchError(f"{' '.join(self.command)}: exit {self.process.returncode}\n{errors[-800:]}"
                             f"\n{answer[-800:]}")
        return answer

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def run_client(command, seconds_max=CLIENT_SECONDS_MAX):
    return Client(command).output(seconds_max)


def clients_cpu_seconds():
    """User and system time of the clients that have ended, each from its first instruction to its last."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpu_of(stat):
    """The name of a process or thread, and its seconds of user and system time, of the text of its stat."""
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    return head.partition("(")[2], (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_seconds(pids):
    """User and system time of running processes so far."""
    return sum(cpu_of(pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"))[1] for pid in pids)


class Threads:
    """CPU of the threads of a running process, by name, from its making on."""

    ENDED = "ended"  # of threads that are there no more

    def __init__(self, pid, proc=pathlib.Path("/proc")):
        self.folder = proc / str(pid)
        self.total, self.threads = self._read()

    def _read(self):
        threads = {}
        for stat in self.folder.glob("task/*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended since it was listed
                threads[stat.parent.name] = cpu_of(stat.read_text(encoding="utf-8"))
        return cpu_of((self.folder / "stat").read_text(encoding="utf-8"))[1], threads

    def seconds(self):
        """By name, without numbers behind it; what took no time is left out."""
        total, threads = self._read()
        spent = collections.Counter()
        for thread, (name, seconds) in threads.items():
            spent[re.sub(r"[-#_ ]*\d+$", "", name)] += seconds - self.threads.get(thread, ("", 0.0))[1]
        spent[self.ENDED] = total - self.total - sum(spent.values())
        return {name: round(seconds, 2) for name, seconds in spent.items() if seconds > 0.5 / _TICKS}


def memory_megabytes(pids, field):
    """The largest VmRSS or VmHWM of the processes."""
    largest = 0.0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(field + ":"):
                largest = max(largest, int(line.split()[1]) * 1024 / 1e6)
    return largest


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def last_line(errors):
    """What a program that failed said last."""
    return (errors.strip().splitlines() or ["failed"])[-1]


def machine(folder):
    """The facts without which the figures say nothing."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                if line.startswith("model name")), platform.processor())
    memory = next(line.split()[1] for line in open("/proc/meminfo", encoding="utf-8"))
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": int(memory) >> 20,
            "file_system": output_of("findmnt", "-n", "-o", "FSTYPE", "-T", str(folder)),
            "disk": disk.probe(folder), "linux": platform.release(), "load_average": os.getloadavg()[0],
            "commit": output_of("git", "-C", str(ROOT), "describe", "--always", "--dirty")}


def check_room(folder):
    free = shutil.disk_usage(folder).free / 1e9
    if free < FREE_GIGABYTES_MIN:
        raise BenchError(f"{free:.0f} GB free under {folder}; the bench wants {FREE_GIGABYTES_MIN}")
