"""Hostile input, one case after the other against one broker: after each it lives, holds no more memory than before,
and serves the next good request."""
import pytest

import cases_calls
import cases_fetch
import cases_groups
import cases_peer
import cases_produce
import cases_small
import cases_transactions
import cases_transport
from conftest import MIB

CASES = [*cases_transport.CASES, *cases_calls.CASES, *cases_produce.CASES, *cases_fetch.CASES, *cases_small.CASES,
         *cases_groups.CASES, *cases_transactions.CASES, *cases_peer.CASES]
# Over the memory before the first case: journal and tail buffers, and what malloc keeps.
GROWTH_BYTES_MAX = 80 * MIB


@pytest.fixture(scope="module")
def rss_max(target):
    """What the broker may hold after a case, from what it holds after some ordinary work."""
    for _ in range(20):
        target.good_request()
    return target.rss() + GROWTH_BYTES_MAX


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
def test_hostile_input(target, rss_max, case):
    pid = target.pid
    outcome = case.attack(target)
    assert target.broker.is_running() and target.pid == pid, target.broker.log_tail()
    target.good_request()
    left = target.wait_rss_below(rss_max)
    print(f"outcome={outcome} rss={left >> 20} MiB")
    assert left <= rss_max, f"{left >> 20} MiB are held, {rss_max >> 20} are allowed"
    assert outcome in case.allowed, f"the broker answered {outcome}"


def test_names_differ():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
