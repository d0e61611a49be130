"""CPU from /proc."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from processes import Threads, cpu_of  # noqa: E402

HZ = os.sysconf("SC_CLK_TCK")


def stat(name, user, system):
    """Of proc(5): the number, the name, the state, ten fields, user and system time, and more."""
    return f"17 ({name}) S {'1 ' * 10}{user} {system} 99 99 20\n"


def put(folder, total, **threads):
    """A process with threads: name=(id, ticks)."""
    for left in folder.glob("7/task/*/stat"):
        left.unlink()
    (folder / "7").mkdir(exist_ok=True)
    (folder / "7" / "stat").write_text(stat("broker", total, 0))
    for name, (thread, ticks) in threads.items():
        (folder / "7" / "task" / str(thread)).mkdir(parents=True, exist_ok=True)
        (folder / "7" / "task" / str(thread) / "stat").write_text(stat(name.replace("_", " "), ticks, 0))


def test_a_name_may_have_blanks_and_brackets():
    assert cpu_of(stat("G1 (old) #2", 2 * HZ, HZ)) == ("G1 (old) #2", 3.0)


def test_a_thread_costs_what_it_took_since_and_the_ended_take_the_rest(tmp_path):
    put(tmp_path, total=10 * HZ, shard=(1, 5 * HZ), idle=(2, HZ), gone=(3, 4 * HZ))
    threads = Threads(7, tmp_path)
    put(tmp_path, total=20 * HZ, shard=(1, 8 * HZ), idle=(2, HZ), gc_1=(4, HZ), gc_2=(5, HZ))
    assert threads.seconds() == {"shard": 3.0, "gc": 2.0, "ended": 5.0}
