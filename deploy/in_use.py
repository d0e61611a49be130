"""Whether someone uses what a script is about to take: locked files, data directories, ports. Standard library only.

    problem = use_of(folder, ports)
    if problem:
        sys.exit(f"not touched: {problem}")
"""
import fcntl
import pathlib
import socket


def lock_holder(path):
    """Who holds the lock of this file, as it is written there ("" if it says nothing); None if nobody does."""
    try:
        with open(path, encoding="utf-8", errors="replace") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return held.readline().strip()
    except FileNotFoundError:
        pass
    return None


def take_lock(path):
    """The open file, whose lock is this process's until it is closed or the process ends; None if another holds it."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not inherited by what this process starts: Python's files never are.
    held = open(path, "a+", encoding="utf-8")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        return None
    return held


def is_port_taken(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


def use_of(folder, ports):
    """What is in use, in words: a broker's data directory below `folder`, or a port; None if nothing is."""
    for lock in sorted(pathlib.Path(folder).glob("*/LOCK")):
        holder = lock_holder(lock)
        if holder is not None:
            return f"a broker uses {lock.parent}" + (f" (process {holder})" if holder else "")
    taken = [str(port) for port in ports if is_port_taken(port)]
    if taken:
        return f"something listens on 127.0.0.1, port {', '.join(taken)}"
    return None
