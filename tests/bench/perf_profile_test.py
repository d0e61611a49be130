"""Which kind a function is of."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import perf_profile  # noqa: E402

KERNEL = "[kernel.kallsyms] "


@pytest.mark.parametrize("name, kind", [
    (KERNEL + "copy_folio_from_iter_atomic", "page cache, ext4, block"),
    (KERNEL + "ext4_da_get_block_prep", "page cache, ext4, block"),
    (KERNEL + "_copy_from_iter", "sockets, TCP"),
    (KERNEL + "tcp_sendmsg_locked", "sockets, TCP"),
    (KERNEL + "__alloc_skb", "sockets, TCP"),
    (KERNEL + "handle_softirqs", "sockets, TCP"),
    (KERNEL + "finish_task_switch.isra.0", "scheduler, futex, epoll"),
    (KERNEL + "_raw_spin_unlock_irqrestore", "scheduler, futex, epoll"),
    (KERNEL + "__slab_free", "memory"),
    (KERNEL + "free_tail_page_prepare", "memory"),
    (KERNEL + "clear_page_erms", "memory"),
    (KERNEL + "never_heard_of", perf_profile.OTHER),
    ("libc.so.6 __memmove_avx512_unaligned_erms", "memcpy"),
    ("libc.so.6 _int_malloc", "memory"),
    ("libc.so.6 cfree@GLIBC_2.2.5", "memory"),
    ("libisal.so.2.0.30 crc32_iscsi_by16_10", "checksums"),
    ("libgrpc.so.29.0.0 0x000000000040e60f", "gRPC, HTTP/2, protobuf"),
    ("libprotobuf.so.32 google::protobuf::MessageLite::Clear", "gRPC, HTTP/2, protobuf"),
    ("millrace millrace::raft::core::Raft::Step", "Raft and its connections"),
    ("millrace millrace::storage::RealFile::Sync", "journal and segments"),
    ("millrace millrace::broker::Partition::Apply", "the rest of Millrace"),
])
def test_a_function_is_of_a_kind_by_its_name_and_library(name, kind):
    assert perf_profile.kind_of(name) == kind


def test_shares_are_of_samples_and_a_name_may_have_bars():
    reported = """# Samples: 8 of event 'cpu-clock'
#   Samples|Shared Object    |Symbol
     4|[kernel.kallsyms]|[k] tcp_ack
     1|[kernel.kallsyms]|[k] __alloc_skb
     3|millrace         |[.] millrace::operator|(Flags, Flags)

# (Tip: a|b|c)
"""
    assert perf_profile.shares(reported) == {"sockets, TCP": 62.5, "the rest of Millrace": 37.5}


def test_no_samples_are_no_shares():
    assert not perf_profile.shares("# nothing\n")
