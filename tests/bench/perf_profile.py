"""What a broker's CPU is spent for, by kind: samples of perf, sorted by the names of functions and their libraries.

No call chains are taken: they would slow what is measured. So a function is of one kind whoever called it; copies between
user and kernel that both sockets and reads of files use are counted as sockets'.
"""
import collections
import contextlib
import re
import shutil
import signal
import subprocess

from processes import last_line, run_client, spawn

STOP_SECONDS_MAX = 20
HERTZ = 199  # no multiple of the kernel's clock
# In their order: the first whose expression is found in "library function" takes the sample.
KINDS = tuple((kind, re.compile(expression)) for kind, expression in (
    ("checksums", r"crc32|libisal"),
    ("gRPC, HTTP/2, protobuf", r"^lib(grpc|gpr|protobuf|absl|upb|cares|address_sorting)|grpc_|google::protobuf|absl::"),
    ("Raft and its connections", r"millrace::raft::|millrace::TcpConnection"),
    ("journal and segments", r"millrace::storage::"),
    ("the rest of Millrace", r"^millrace "),
    ("memcpy", r"mem(cpy|move|set|cmp)"),
    ("sockets, TCP", r"tcp|skb|sock|inet|\b_*ip_|netif|net_|napi|backlog|loopback|sendmsg|recvmsg|softirq|"
                     r"_copy_(to|from)_iter|simple_copy|check_object_size"),
    ("page cache, ext4, block", r"folio|filemap|page_cache|ext4|jbd2|mpage|writeback|write_(begin|end|iter)|dirty|inode|xas_|xa_|"
                                r"\bbio_|blk_|elv_|virt(queue|io)|iowrite|submit_|fdatasync|lru_|iov_iter|fault_in"),
    ("memory", r"alloc|free|operator (new|delete)|unlink_chunk|slab|kmem_cache|clear_page|page_fault|handle_mm|unmap|tlb|madvise|vma"),
    ("scheduler, futex, epoll", r"futex|sched|switch|spin_|read_(un)?lock|write_(un)?lock|wake|epoll|ep_|eventfd|poll|hrtimer|"
                                r"ktime|clock|pthread_|mutex|enqueue|dequeue|update_(load|curr)|select_|idle|rcu"),
    ("system calls", r"syscall|SYSCALL|irqentry|exit_to_user|fdget|fget|security_"),
))
OTHER = "other"


def why_not():
    """Why there is no profile on this machine; empty if there can be."""
    if not shutil.which("perf"):
        return "perf is not there"
    tried = subprocess.run(["perf", "record", "-o", "/dev/null", "-F", str(HERTZ), "--", "true"], capture_output=True, text=True,
                           check=False)
    return "" if tried.returncode == 0 else f"perf: {last_line(tried.stderr)}"


def kind_of(name):
    """The kind of "library function"."""
    return next((kind for kind, expression in KINDS if expression.search(name)), OTHER)


def shares(reported):
    """The percent of each kind, of `perf report` with samples, library and symbol, where [k] or [.] comes first, separated by bars."""
    samples = collections.Counter()
    for line in reported.splitlines():
        if line.startswith("#") or line.count("|") < 2:
            continue
        count, library, symbol = (part.strip() for part in line.split("|", 2))
        samples[kind_of(f"{library} {symbol[4:]}")] += int(count)
    return {kind: 100 * count / samples.total() for kind, count in samples.most_common()}


@contextlib.contextmanager
def sampled(pid, folder):
    """Samples a process; the shares are in what it yields once it is over."""
    found, data = {}, folder / "perf.data"
    process = spawn(["perf", "record", "-o", data, "-F", HERTZ, "-p", pid], folder / "perf.log")
    try:
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS_MAX)
    found.update(shares(run_client(["perf", "report", "-i", data, "--stdio", "--no-children", "-F", "sample,dso,sym", "-t", "|"])))
