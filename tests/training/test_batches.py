"""Batches hold every row once, are of few lengths, and waste little."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_bert_components.training.batches import BatchPlan, bucket_limits, plan_epoch, plan_in_order
from kfp_bert_components.training.schedule import Schedule, learning_rate

LENGTHS = st.lists(st.integers(2, 60), min_size=1, max_size=120).map(np.array)


@given(lengths=LENGTHS, batch_size=st.integers(1, 40), count=st.integers(1, 9), seed=st.integers(0, 9))
def test_every_row_is_in_one_batch_that_is_long_enough(lengths, batch_size, count, seed):
    limits = bucket_limits(lengths, count)
    plans = (
        plan_epoch(lengths, batch_size, limits, np.random.default_rng(seed)),
        plan_in_order(lengths, batch_size, limits),
    )
    for plan in plans:
        assert sorted(np.concatenate([batch.rows for batch in plan])) == list(range(len(lengths)))
        assert all(lengths[batch.rows].max() <= batch.length for batch in plan)
        assert len(plan) == -(-len(lengths) // batch_size)
        assert {batch.length for batch in plan} <= set(limits)


@given(lengths=st.lists(st.integers(2, 14), min_size=1, max_size=60).map(np.array), count=st.integers(1, 4))
def test_no_other_limits_need_fewer_tokens(lengths, count):
    values = np.unique(lengths)

    def tokens(limits):
        return np.array(limits)[np.searchsorted(limits, lengths)].sum()

    limits = bucket_limits(lengths, count)
    assert len(limits) <= count and limits[-1] == lengths.max()
    others = combinations(values[:-1], min(count, len(values)) - 1)
    assert all(tokens(limits) <= tokens((*other, values[-1])) for other in others)


def test_the_plan_of_an_epoch_depends_on_its_generator_alone():
    lengths = np.arange(3, 103) % 40 + 2
    limits = bucket_limits(lengths)
    same = [plan_epoch(lengths, 8, limits, np.random.default_rng([7, 1])) for _ in range(2)]
    other = plan_epoch(lengths, 8, limits, np.random.default_rng([7, 2]))
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(*same, strict=True))
    assert any(not np.array_equal(a.rows, b.rows) for a, b in zip(same[0], other, strict=True))


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (5, 0.5), (10, 1.0), (55, 0.5), (99, 1 / 90), (100, 0.0)])
def test_the_rate_rises_and_falls_in_straight_lines(step, expected):
    assert learning_rate(step, 100, 1.0, 0.1) == pytest.approx(expected)


def make_plan(seed=7):
    lengths = np.arange(3, 103) % 40 + 2
    return BatchPlan(lengths, bucket_limits(lengths), batch_size=8, accumulation_steps=3, seed=seed)


def test_the_steps_of_an_epoch_hold_every_row_once_in_another_order_each_epoch():
    plan = make_plan()
    epochs = [[plan.batches(epoch * 5 + step) for step in range(5)] for epoch in range(2)]
    for epoch in epochs:
        assert [len(batches) for batches in epoch] == [3, 3, 3, 3, 1]
        assert sorted(row for batches in epoch for batch in batches for row in batch.rows) == list(range(100))
    assert [b.rows.tolist() for b in epochs[0][0]] != [b.rows.tolist() for b in epochs[1][0]]


def test_a_step_has_the_same_batches_whenever_it_is_asked_for():
    plan, rows = make_plan(), []
    for step in (7, 0, 7, 3, 7):
        rows.append([batch.rows.tolist() for batch in plan.batches(step)])
    assert rows[0] == rows[2] == rows[4]
    assert rows[0] == [batch.rows.tolist() for batch in make_plan().batches(7)]
    assert rows[0] != [batch.rows.tolist() for batch in make_plan(seed=8).batches(7)]


def test_rows_before_a_step_are_those_of_the_steps_before():
    plan, done = make_plan(), 0
    for step in range(12):
        assert make_plan().rows_before(step) == done
        done += sum(len(batch.rows) for batch in plan.batches(step))


@pytest.mark.parametrize(("times", "steps"), [(1, [10, 20]), (2, [5, 10, 15, 20]), (3, [3, 7, 10, 13, 17, 20])])
def test_validation_rows_are_scored_at_equal_distances_and_at_the_end_of_each_epoch(times, steps):
    schedule = Schedule(
        rows=80,
        batch_size=8,
        accumulation_steps=1,
        epochs=2,
        evaluations_per_epoch=times,
        peak_rate=1.0,
        warmup=0.1,
    )
    assert [step for step in range(21) if schedule.is_evaluated_after(step)] == steps
