"""Commands that only root may run, and not everywhere: mounts, namespaces."""
import os
import subprocess


class NotPermitted(Exception):
    """It cannot be done here, and why."""


def run(*command):
    if os.geteuid() != 0:
        raise NotPermitted("only root may")
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotPermitted(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
