"""The rules of write-once storage hold under power cuts, and none of them is idle."""
import pytest

import write_once

SEEDS = range(1, 3001)


def test_all_rules_hold():
    wrong = [(seed, found) for seed in SEEDS if (found := write_once.run(seed, set()))]
    assert not wrong, wrong[0]


@pytest.mark.parametrize("rule", write_once.RULES)
def test_a_rule_left_out_is_found(rule):
    assert any(write_once.run(seed, {rule}) for seed in SEEDS)
