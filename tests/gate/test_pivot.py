"""The statistics: they agree with scipy and statsmodels, and test and interval agree with each other."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS
from kfp_bert_components.gate.swaps import pivot_of_accuracy, pivot_of_counts, pivot_of_rows, swap_sums
from kfp_bert_components.gate.tables import Table


@settings(max_examples=60)
@given(wins=st.integers(0, 60), losses=st.integers(0, 60), more=st.integers(1, 500))
def test_accuracy_is_the_exact_mcnemar_test_of_scipy_and_statsmodels(wins, losses, more):
    from statsmodels.stats.contingency_tables import mcnemar

    pivot = pivot_of_accuracy(wins, losses, wins + losses + more)
    if wins + losses == 0:
        assert pivot.p_value() == pytest.approx(1)
        return
    one_sided = binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue
    assert pivot.p_value() == pytest.approx(one_sided, abs=1e-9)
    if wins > losses:
        assert 2 * pivot.p_value() == pytest.approx(mcnemar([[0, wins], [losses, 0]], exact=True).pvalue, abs=1e-9)


@settings(max_examples=100)
# Parts of 64 add up exactly, so that scipy and we find the same ties.
@given(st.lists(st.integers(-200, 200).filter(bool).map(lambda n: n / 64), min_size=2, max_size=10), st.integers(0, 40))
def test_few_rows_that_differ_give_the_exact_permutation_test_of_scipy(gains, same):
    from scipy.stats import permutation_test

    gains = np.array(gains + [0.0] * same)
    assume(len(set(gains)) > 1)
    exact = permutation_test(
        (gains[gains != 0],), np.sum, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert pivot_of_rows(gains, gains.mean()).p_value() == pytest.approx(exact.pvalue, abs=1e-9)


def test_drawn_swaps_of_rows_come_close_to_all_of_them():
    gains = np.random.default_rng(0).normal(0.3, 1, 12)
    exact = pivot_of_rows(gains, gains.mean()).p_value()
    assert pivot_of_rows(gains, gains.mean(), draws=4_000).p_value() == pytest.approx(exact, abs=0.02)


def cells(seed, rows=300, classes=3):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, classes**3, rows)
    unique, sizes = np.unique(codes, return_counts=True)
    found = np.stack([unique // classes**2, unique // classes % classes, unique % classes])
    return found, sizes, np.bincount(found[0], minlength=classes) > 0


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc", "weighted_precision"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("alpha", [0.05, 0.01, 1e-5])
def test_the_interval_leaves_a_difference_out_exactly_where_the_test_rejects_it(name, seed, alpha):
    pivot = pivot_of_counts(COUNT_METRICS[name], Table(*cells(seed)), draws=999)
    low, _ = pivot.interval(alpha)
    # Odd numbers, so that no difference lies on the edge of the interval by design.
    for delta in np.linspace(-0.3013, 0.2987, 121):
        assert (pivot.p_value(delta) <= alpha) == (low > delta)
    assert np.isfinite(low)


@pytest.mark.parametrize("wins, losses", [(3, 0), (5, 0), (12, 3), (40, 25)])
def test_accuracy_test_and_interval_agree(wins, losses):
    pivot = pivot_of_accuracy(wins, losses, 400)
    low, high = pivot.interval(0.05)
    assert (pivot.p_value() <= 0.05) == (low > 0)
    assert low <= pivot.value <= high


@pytest.mark.parametrize("name", ["macro_f1", "mcc"])
@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_leaves_out_only_what_the_test_rejects(name, seed):
    pivot = pivot_of_counts(COUNT_METRICS[name], Table(*cells(seed)), draws=999)
    low, high = pivot.estimate(0.95)
    assert low < pivot.value < high
    for delta in np.linspace(-0.3, low, 50, endpoint=False):
        assert pivot.p_value(delta) <= 0.05


def test_the_error_of_accuracy_changes_alike_by_formula_by_rows_and_by_cells():
    found, sizes, present = cells(1, 200, 2)
    ours, theirs = (np.repeat(found[i] == found[0], sizes).astype(float) for i in (1, 2))
    gains = ours - theirs
    by_formula = pivot_of_accuracy(int((gains > 0).sum()), int((gains < 0).sum()), 200).slope
    assert pivot_of_rows(gains, gains.mean(), 99).slope == pytest.approx(by_formula, abs=1e-12)
    by_cells = pivot_of_counts(COUNT_METRICS["accuracy"], Table(found, sizes, present), 99).slope
    assert by_cells == pytest.approx(by_formula, abs=1e-7)


def test_the_estimate_covers_the_gain_of_a_better_candidate_where_a_class_has_ten_rows():
    """Of 300 pairs; with one error for both ends it covers 90 %, as the error is small where the gain is."""
    rng = np.random.default_rng(1)

    def table(rows):
        truth = (rng.random(rows) < 0.05).astype(int)
        common = rng.standard_normal(rows)
        predicted = [(truth * 2.3 - 1.15) * s + 0.9 * common + 0.4 * rng.standard_normal(rows) > 0 for s in (1.7, 1.0)]
        return np.bincount(truth * 4 + predicted[0] * 2 + predicted[1], minlength=8)

    every = np.array([[code // 4, code // 2 % 2, code % 2] for code in range(8)]).T
    metric, present, covered = COUNT_METRICS["mcc"], np.ones(2, bool), 0
    true = pivot_of_counts(metric, Table(every, table(1_000_000), present), 9).value
    for _ in range(300):
        sizes = table(200)
        low, high = pivot_of_counts(metric, Table(every, sizes, present), 499).estimate()
        covered += low <= true <= high
    assert covered >= 300 * (0.93 - 2 * np.sqrt(0.93 * 0.07 / 300))


def test_drawn_swaps_of_counts_come_close_to_the_exact_ones():
    found, sizes, present = cells(1, 200, 2)
    ours, theirs = (found[i] == found[0] for i in (1, 2))
    exact = pivot_of_accuracy(int(sizes[ours & ~theirs].sum()), int(sizes[theirs & ~ours].sum()), 200)
    drawn = pivot_of_counts(COUNT_METRICS["accuracy"], Table(found, sizes, present))
    assert drawn.value == pytest.approx(exact.value, abs=1e-12)
    assert drawn.error == pytest.approx(exact.error, abs=1e-12)
    assert drawn.p_value() == pytest.approx(exact.p_value(), abs=0.02)


@pytest.mark.parametrize("alpha", [1e-5, 1e-9])
def test_overwhelming_evidence_is_seen_beyond_the_last_draw(alpha):
    gains = np.random.default_rng(0).normal(0.5, 1, 400)
    pivot = pivot_of_rows(gains, gains.mean(), draws=999)
    assert pivot.p_value() == pytest.approx(norm.sf(pivot.value / pivot.error), rel=2)
    assert (pivot.p_value() <= alpha) == (pivot.interval(alpha)[0] > 0)
    assert pivot_of_rows(-gains, -gains.mean(), draws=999).p_value() > 1 - 1e-3


def test_no_p_value_is_below_that_of_the_rarest_swap():
    gains = np.random.default_rng(0).normal(3, 0.5, 15)
    assert pivot_of_rows(gains, gains.mean(), draws=999).p_value() >= 0.5**15
    assert pivot_of_rows(gains, gains.mean(), draws=999).interval(1e-6)[0] == -np.inf


def test_swaps_of_groups_have_the_spread_of_swaps_of_rows():
    gains = np.random.default_rng(0).normal(size=(20_000, 1))
    assert swap_sums(gains, 4000).std() == pytest.approx(np.sqrt((gains**2).sum()), rel=0.05)


def test_every_row_is_swapped_in_half_of_the_draws():
    signs = np.concatenate([swap_sums(np.eye(9), draws, seed) for draws in (1, 1001) for seed in range(200)])
    assert np.abs(signs).min() == np.abs(signs).max() == 1 and np.abs(signs.mean(0)).max() < 0.02
    alone = np.concatenate([swap_sums(np.eye(9), 1, seed) for seed in range(400)])
    assert np.abs(alone.mean(0)).max() < 0.2


def test_a_larger_test_set_resolves_less():
    small, large = pivot_of_accuracy(20, 20, 500), pivot_of_accuracy(200, 200, 5000)
    assert large.resolvable(0.05) < small.resolvable(0.05) < 0.1


@pytest.mark.parametrize("power", [0.8, 0.5])
def test_a_difference_that_is_just_resolvable_is_shown_as_often_as_the_power_says(power):
    rng, found = np.random.default_rng(0), pivot_of_accuracy(400, 400, 10_000).resolvable(0.05, power)
    # Rows that change sides make the gain, beside the 800 that differ anyhow.
    shares = [0.04 + found, 0.04, 0.92 - found]
    shown = sum(pivot_of_accuracy(*rng.multinomial(10_000, shares)[:2], 10_000).p_value() <= 0.05 for _ in range(1000))
    assert shown / 1000 == pytest.approx(power, abs=0.05)


def test_equal_models_are_promoted_no_more_often_than_alpha():
    rng = np.random.default_rng(3)
    promoted = 0
    for _ in range(400):
        truth = (rng.random(200) < 0.1).astype(int)
        one, two = (np.where(rng.random(200) < 0.1, 1 - truth, truth) for _ in range(2))
        unique, sizes = np.unique(truth * 4 + one * 2 + two, return_counts=True)
        found = np.stack([unique // 4, unique // 2 % 2, unique % 2])
        present = np.array([True, truth.any()])
        promoted += pivot_of_counts(COUNT_METRICS["macro_f1"], Table(found, sizes, present), 499).p_value() <= 0.05
    assert promoted / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc"])
@pytest.mark.parametrize("delta", [-0.05, 0.02])
def test_rows_that_are_weighted_to_have_a_difference_have_it(name, delta):
    pivot = pivot_of_counts(COUNT_METRICS[name], Table(*cells(2, 2000)), draws=2_000, delta=delta)
    # Rows are drawn, and nothing is mirrored as where swaps are drawn; only the observed one is added.
    assert len(pivot.values) == 2_001 and np.isinf(pivot.values).tolist() == [False] * 2_000 + [True]
    middle, spread = np.median(pivot.values), norm.ppf(0.75)
    assert middle == pytest.approx(0, abs=0.1)
    assert np.quantile(pivot.values, [0.25, 0.75]) == pytest.approx([-spread, spread], abs=0.12)
    assert (pivot.p_value(delta) <= 0.05) == (pivot.interval(0.05)[0] > delta)


def test_many_weighted_draws_are_made_in_parts(monkeypatch):
    monkeypatch.setattr("kfp_bert_components.gate.tilt.NUMBERS_AT_ONCE", 500)
    pivot = pivot_of_counts(COUNT_METRICS["mcc"], Table(*cells(2, 2000)), draws=2_000, delta=-0.05)
    assert len(pivot.values) == 2_001
    assert np.quantile(pivot.values, [0.25, 0.5, 0.75]) == pytest.approx(norm.ppf([0.25, 0.5, 0.75]), abs=0.12)


def test_a_difference_that_no_weights_can_make_is_tested_by_swaps():
    found, sizes, present = cells(2)
    swaps, same = (
        pivot_of_counts(COUNT_METRICS["accuracy"], Table(found, sizes, present), 99, delta=d) for d in (0, 1)
    )
    assert np.array_equal(swaps.values, same.values)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_candidates_that_lose_just_the_margin_are_promoted_no_more_often_than_alpha(name):
    rng, promoted, margin = np.random.default_rng(4), 0, 0.04
    metric, present = COUNT_METRICS[name], np.ones(2, bool)
    for _ in range(400):
        truth = (rng.random(200) < 0.5).astype(int)
        # Wrong in 10 % of the rows, and in 14 %; balanced classes have a macro F1 like their accuracy.
        old, new = (np.where(rng.random(200) < share, 1 - truth, truth) for share in (0.1, 0.1 + margin))
        codes, sizes = np.unique(truth * 4 + new * 2 + old, return_counts=True)
        found = np.stack([codes // 4, codes // 2 % 2, codes % 2])
        promoted += pivot_of_counts(metric, Table(found, sizes, present), 499, delta=-margin).p_value(-margin) <= 0.05
    assert promoted / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
