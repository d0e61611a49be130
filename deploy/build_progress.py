"""Runs a Ninja build that may take minutes so that one sees it going on. Standard library only.

    build(["cmake", "--build", "--preset", "release"], log_path)   # raises BuildError
"""
import os
import re
import subprocess
import sys

TAIL_LINES = 30
_STEP = re.compile(r"\[(\d+)/(\d+)\] ")


class BuildError(Exception):
    """What failed, with the end of its log."""


class Counter:
    """The steps done of all: one line that changes on a terminal, else a line for every tenth part."""

    def __init__(self, out):
        self.out = out
        self.is_terminal = out.isatty()
        self.last_tenth = 0

    def show(self, done, total):
        if self.is_terminal:
            print(f"\rbuilding [{done}/{total}]", end="\n" if done == total else "", file=self.out, flush=True)
        elif done * 10 // total > self.last_tenth:
            self.last_tenth = done * 10 // total
            print(f"building [{done}/{total}]", file=self.out, flush=True)


def build(command, log, out=sys.stderr):
    """Runs the command with its output in the open file `log`, and counts its steps on `out`."""
    counter = Counter(out)
    environment = dict(os.environ, NINJA_STATUS="[%f/%t] ")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", env=environment) as running:
        for line in running.stdout:
            log.write(line)
            log.flush()
            step = _STEP.match(line)
            if step:
                counter.show(int(step[1]), int(step[2]))
    if running.returncode != 0:
        log.seek(0)
        tail = "".join(log.readlines()[-TAIL_LINES:])
        raise BuildError(f"{tail}{' '.join(command)} failed; all of it is in {log.name}")
