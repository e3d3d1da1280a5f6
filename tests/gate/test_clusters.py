"""Tests of whole texts or groups of rows: against all swaps, against rows, and in any order."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_bert_components.evaluation.clusters import Clusters, independent
from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, confusion, margins
from kfp_bert_components.gate.difference import difference
from kfp_bert_components.gate.paired import PairedPredictions
from kfp_bert_components.gate.shortage import shortage
from kfp_bert_components.gate.swaps import pivot_of_counts, pivot_of_flips, pivot_of_rows
from kfp_bert_components.gate.tables import MOST_MIXED, Table, types_of

COUNTED = ["accuracy", "macro_f1", "mcc", "weighted_precision"]


def rows_of(seed, rows=14, clusters=6, classes=3, copies=False):
    """Truth, the two models' answers and the clusters of random rows."""
    rng = np.random.default_rng(seed)
    numbers = np.r_[np.arange(clusters), rng.integers(0, clusters, rows - clusters)]
    answers = rng.integers(0, classes, (3, rows))
    return (*(answers[:, numbers] if copies else answers), numbers)


def studentised(metric, truth, one, two, numbers):
    """Difference over error by the definition: influences of rows, summed over each cluster."""
    many, present = truth.max() + 1, np.bincount(truth) > 0
    many = max(many, one.max() + 1, two.max() + 1)
    present = np.bincount(truth, minlength=many) > 0
    parts = [metric.both(margins(truth, said, many), present) for said in (one, two)]
    influence = parts[0][1].at(truth, one) - parts[1][1].at(truth, two)
    error = np.sqrt((np.bincount(numbers, influence) ** 2).sum()) / len(truth)
    value = float(parts[0][0] - parts[1][0])
    return value, error, value / error if error > 1e-12 else np.copysign(np.inf, value) if abs(value) > 1e-12 else 0.0


def dense(name, counts):
    """A metric by its definition, from the confusion matrix of the classes that are present."""
    kind, true, predicted, right = name.split("_")[-1], counts.sum(1), counts.sum(0), np.diag(counts)
    total = counts.sum()
    if name == "accuracy":
        return right.sum() / total
    if name == "mcc":
        spread = np.sqrt((total**2 - (true**2).sum()) * (total**2 - (predicted**2).sum()))
        return (total * right.sum() - true @ predicted) / spread if spread > 1e-9 else 0.0
    below = {"f1": (true + predicted) / 2, "precision": predicted, "recall": true}[kind]
    values = np.divide(right, below, out=np.zeros(len(right)), where=below > 0)
    return values[true > 0].mean() if name.startswith("macro") else values @ true / total


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 12), name=st.sampled_from(list(COUNT_METRICS)))
def test_the_difference_and_its_error_are_those_of_whole_confusion_matrices(seed, classes, name):
    truth, one, two, numbers = rows_of(seed, 60, 20, classes)
    values, influence, step = [], np.zeros(60), 1e-5
    for sign, said in ((1, one), (-1, two)):
        counts = confusion(truth, said, classes).astype(float)
        values.append(dense(name, counts))
        for row in range(60):
            moved = np.zeros_like(counts)
            moved[truth[row], said[row]] = step
            change = dense(name, counts + moved) - dense(name, counts - moved)
            influence[row] += sign * 60 * change / (2 * step)
    cells, types, sizes = types_of(truth, one, two, numbers)
    table = Table(cells, sizes, np.bincount(truth, minlength=classes) > 0, types)
    value, error = (part[0] for part in table.studentise(COUNT_METRICS[name], table.counts[None]))
    assert value == pytest.approx(values[0] - values[1], abs=1e-12)
    assert error == pytest.approx(np.sqrt((np.bincount(numbers, influence) ** 2).sum()) / 60, abs=1e-6)


def p_value_of_all_swaps(metric, truth, one, two, numbers):
    observed, found = studentised(metric, truth, one, two, numbers)[2], []
    for swaps in product([False, True], repeat=numbers.max() + 1):
        swap = np.array(swaps)[numbers]
        found.append(studentised(metric, truth, np.where(swap, two, one), np.where(swap, one, two), numbers)[2])
    return float(np.mean(np.array(found) >= observed - 1e-9))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), name=st.sampled_from(COUNTED), copies=st.booleans())
def test_swaps_of_clusters_come_close_to_all_of_them(seed, name, copies):
    truth, one, two, numbers = rows_of(seed, copies=copies)
    metric = COUNT_METRICS[name]
    value, error, _ = studentised(metric, truth, one, two, numbers)
    cells, types, counts = types_of(truth, one, two, numbers)
    present = np.bincount(truth, minlength=3) > 0
    pivot = pivot_of_counts(metric, Table(cells, counts, present, types), 4_000)
    assert (pivot.value, pivot.error) == pytest.approx((value, error), abs=1e-9)
    if pivot.error:
        exact = p_value_of_all_swaps(metric, truth, one, two, numbers)
        assert pivot.p_value() == pytest.approx(exact, abs=0.04)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), copies=st.booleans())
def test_few_clusters_that_differ_give_the_exact_test_of_accuracy(seed, copies):
    truth, one, two, numbers = rows_of(seed, copies=copies)
    won, lost = (one == truth) & (two != truth), (one != truth) & (two == truth)
    pivot = pivot_of_flips(won, lost, numbers)
    exact = p_value_of_all_swaps(COUNT_METRICS["accuracy"], truth, one, two, numbers)
    if pivot.error:
        assert pivot.p_value() == pytest.approx(exact, abs=1e-9)


def test_texts_of_equal_weight_give_the_exact_mcnemar_test_of_texts():
    won, lost = np.arange(40) < 12, (np.arange(40) >= 12) & (np.arange(40) < 15)
    copies = np.repeat(np.arange(40), 3)
    once, thrice = (pivot_of_flips(won[c], lost[c], k) for c, k in ((np.arange(40), np.arange(40)), (copies, copies)))
    assert thrice.p_value() == pytest.approx(once.p_value(), abs=1e-12)
    assert thrice.interval(0.05) == pytest.approx(once.interval(0.05))
    # By rows, copies would be evidence.
    assert pivot_of_flips(won[copies], lost[copies], np.arange(120)).p_value() < once.p_value() / 10


@pytest.mark.parametrize("name", [*COUNTED, "log_loss", "brier", "roc_auc", "f1:b"])
def test_copies_of_every_row_change_nothing_but_how_many_rows_there_are(name):
    once, copied = paired(3, 200), paired(3, 200, times=4)
    (one, _), (four, _) = (difference(part, name, 999) for part in (once, copied))
    assert (four.value, four.error) == pytest.approx((one.value, one.error), rel=1e-9)
    assert four.p_value() == pytest.approx(one.p_value(), abs=1e-9)
    assert four.resolvable(0.05) == pytest.approx(one.resolvable(0.05), rel=1e-6)


@pytest.mark.parametrize("name", [*COUNTED, "log_loss", "roc_auc", "f1:a"])
@pytest.mark.parametrize("delta", [0.0, -0.05])
def test_clusters_of_one_row_are_rows(name, delta):
    alone = paired(5, 300)
    named = paired(5, 300, numbers=np.random.default_rng(0).permutation(300))
    (one, _), (two, _) = (difference(part, name, 499, delta) for part in (alone, named))
    assert two.error == pytest.approx(one.error, rel=1e-12)
    if name != "log_loss" and name != "roc_auc":
        assert np.array_equal(one.values, two.values)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "log_loss", "f1:a"])
@pytest.mark.parametrize("delta", [0.0, -0.05])
def test_the_order_of_rows_and_the_numbers_of_clusters_mean_nothing(name, delta):
    part = paired(7, 300, clusters=40)
    order = np.random.default_rng(1).permutation(300)
    by_text = np.argsort(part.clusters.numbers[order], kind="stable")
    again = of_rows(part, order[by_text])
    (one, _), (two, _) = (
        difference(one, name, 499, delta)
        for one in (of_rows(part, np.argsort(part.clusters.numbers, kind="stable")), again)
    )
    assert one.p_value(delta) == pytest.approx(two.p_value(delta), abs=1e-12)
    assert one.estimate() == pytest.approx(two.estimate(), rel=1e-9)


def test_very_many_clusters_are_swapped_in_random_groups_with_the_same_error_on_average():
    truth, one, two, _ = rows_of(2, 12_000, 1, 3)
    numbers = np.arange(12_000) // 4
    cells, types, counts = types_of(truth, one, two, numbers)
    whole = studentised(COUNT_METRICS["macro_f1"], truth, one, two, numbers)
    pivot = pivot_of_counts(COUNT_METRICS["macro_f1"], Table(cells, counts, np.ones(3, bool), types), 200)
    assert types.shape[0] < MOST_MIXED + 200 and counts.sum() < 3_000
    assert pivot.value == pytest.approx(whole[0], abs=1e-12) and pivot.error == pytest.approx(whole[1], rel=0.1)
    assert (types.T @ counts).sum() == 12_000


def test_equal_models_are_promoted_no_more_often_than_alpha_where_texts_repeat_and_by_rows_they_are():
    rng, by_text, by_row = np.random.default_rng(3), [], []
    zipf = 1 / np.arange(1, 11)
    for _ in range(300):
        numbers = np.r_[rng.choice(10, 60, p=zipf / zipf.sum()), 10 + np.arange(240)]
        truth, one, two = ((rng.random(250) < share)[numbers].astype(int) for share in (0.5, 0.15, 0.15))
        one, two = truth ^ one, truth ^ two
        present = np.bincount(truth, minlength=2) > 0
        for clusters, found in ((numbers, by_text), (np.arange(300), by_row)):
            cells, types, counts = types_of(truth, one, two, clusters)
            pivot = pivot_of_counts(COUNT_METRICS["macro_f1"], Table(cells, counts, present, types), 199)
            found.append(pivot.p_value() <= 0.05)
    assert np.mean(by_text) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(by_row) > 0.12


def test_a_loss_that_the_margin_just_allows_is_promoted_no_more_often_than_alpha_where_texts_repeat():
    rng, promoted, margin = np.random.default_rng(4), 0, 0.05
    numbers = np.repeat(np.arange(150), 1 + np.arange(150) % 4)
    for _ in range(300):
        old, new = ((rng.random(150) < share)[numbers] for share in (0.1, 0.1 + margin))
        pivot = pivot_of_flips(old & ~new, new & ~old, numbers, -margin, 299)
        promoted += pivot.p_value(-margin) <= 0.05
    assert promoted / 300 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "log_loss"])
def test_a_test_of_a_difference_allows_for_other_texts_and_one_of_no_difference_is_exact_without(name):
    weights = np.r_[[40, 30, 20], np.ones(210, int)]
    part = of_rows(paired(0, len(weights)), np.repeat(np.arange(len(weights)), weights))
    (none, _), (some, _) = (difference(part, name, 99, delta) for delta in (0.0, 0.01))
    assert none.spread > 1.5
    assert some.error == pytest.approx(none.error * none.spread) and some.spread == pytest.approx(1)


@pytest.mark.parametrize(("metric", "enough"), [("accuracy", 10), ("macro_f1", 30)])
def test_a_loss_is_not_hidden_by_the_few_texts_of_a_rare_class(metric, enough):
    """Clusters with that loss are drawn, where a class counts as too few texts; else swaps are kept."""

    def methods(rare: int):
        numbers = np.r_[np.repeat(np.arange(10), 4), 10 + np.arange(160)]
        truth = np.isin(numbers, 50 + np.arange(rare)).astype(np.int64)
        rng = np.random.default_rng(0)
        sides = [np.stack([1 - p, p], 1) for p in rng.random((2, 170))[:, numbers]]
        part = PairedPredictions(["a", "b"], truth, *sides, np.arange(200), Clusters(numbers))
        return [difference(part, metric, 99, delta)[1] for delta in (-0.05, 0.0, 0.05)]

    swaps = "clusters" if metric == "accuracy" else "counts"
    assert methods(enough - 1) == ["tilted", swaps, swaps] and methods(enough) == [swaps] * 3


@pytest.mark.parametrize(
    ("sizes", "metric", "label", "effective"),
    [
        ([60, 20, *[1] * 300], "macro_f1", "b", 1.6),  # 80 rows of class b are two texts
        ([60, 20, *[1] * 300], "accuracy", None, 0),
        ([200, 100, *[1] * 100], "accuracy", "", 3.2),
        ([1] * 400, "macro_f1", None, 0),
    ],
)
def test_evidence_is_short_where_few_texts_make_the_rows(sizes, metric, label, effective):
    truth_of_text = np.r_[1, 1, np.zeros(len(sizes) - 2, int)] if max(sizes) > 1 else np.arange(len(sizes)) % 2
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    truth = truth_of_text[numbers]
    sure = np.eye(2, dtype=np.float32)[truth]
    part = PairedPredictions(["a", "b"], truth, sure, sure, np.arange(len(truth)), Clusters(numbers))
    found = shortage(part, metric)
    assert (found.label if found else None) == label
    if found:
        assert found.effective == pytest.approx(effective, abs=0.05)
        assert found.clusters == (2 if label else len(sizes))


def test_a_class_of_few_rows_is_not_short_where_no_text_repeats():
    truth = np.r_[np.ones(2, int), np.zeros(98, int)]
    sure = np.eye(2, dtype=np.float32)[truth]
    for numbers in (np.arange(100), np.r_[np.arange(99), 98]):
        part = PairedPredictions(["a", "b"], truth, sure, sure, np.arange(100), Clusters(numbers))
        assert shortage(part, "macro_f1") is None


def paired(seed, rows, times=1, numbers=None, clusters=None):
    """Two models on random rows, each of them `times` times; rows are clusters of their own but for that."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, rows)
    common, sides = rng.standard_normal((rows, 3)), []
    for _ in range(2):
        logits = common + 0.7 * rng.standard_normal((rows, 3))
        logits[np.arange(rows), truth] += 2
        sides.append((np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32))
    if numbers is None:
        numbers = np.arange(rows) if clusters is None else rng.integers(0, clusters, rows)
    place = np.repeat(np.arange(rows), times)
    part = PairedPredictions(["a", "b", "c"], truth, *sides, np.arange(rows), Clusters(numbers).of(np.arange(rows)))
    return of_rows(part, place)


def of_rows(part, rows):
    """A part of a test set."""
    return PairedPredictions(
        part.labels,
        part.truth[rows],
        part.candidate[rows],
        part.champion[rows],
        part.order[rows],
        part.clusters.of(rows),
    )


def test_a_mean_over_groups_of_unequal_size_has_the_error_of_a_ratio():
    rng = np.random.default_rng(0)
    numbers = np.repeat(np.arange(12), np.arange(1, 13))
    gains = rng.normal(0.1, 1, len(numbers)) + rng.normal(0, 1, 12)[numbers]
    pivot = pivot_of_rows(gains, gains.mean(), clusters=numbers)
    residuals = np.bincount(numbers, gains - gains.mean())
    assert pivot.error == pytest.approx(np.sqrt((residuals**2).sum()) / len(gains))
    exact = []
    for signs in product([-1, 1], repeat=12):
        turned = gains * np.array(signs)[numbers]
        error = np.sqrt((np.bincount(numbers, turned - turned.mean()) ** 2).sum()) / len(gains)
        exact.append(turned.mean() / error)
    observed = pivot.value / pivot.error
    assert pivot.p_value() == pytest.approx(np.mean(np.array(exact) >= observed - 1e-9), abs=1e-9)


def test_independent_rows_count_as_they_are():
    assert independent(7).effective(np.ones(7)) == 7 and independent(7).single
    assert Clusters(np.repeat([0, 1, 2], [30, 5, 3])).effective(np.ones(38)) == pytest.approx(38**2 / (900 + 25 + 9))


def test_independent_rows_keep_the_values_that_they_had_before_there_were_clusters():
    rng = np.random.default_rng(6)
    truth, one, two = rng.integers(0, 3, (3, 500))
    one, two = (np.where(rng.random(500) < 0.8, truth, said) for said in (one, two))
    cells, types, counts = types_of(truth, one, two, np.arange(500))
    gains = rng.normal(0.05, 1, 500)
    for name, delta, p_value, low, high in (
        ("macro_f1", 0.0, 0.161, -0.021124300525, 0.064660517364),
        ("mcc", -0.05, 0.006, -0.031808570604, 0.097412994387),
        ("weighted_f1", 0.02, 0.469, -0.019648166508, 0.062822127196),
    ):
        pivot = pivot_of_counts(COUNT_METRICS[name], Table(cells, counts, np.ones(3, bool), types), 999, 3, delta)
        assert (pivot.p_value(delta), *pivot.estimate()) == pytest.approx((p_value, low, high), abs=1e-9)
    pivot = pivot_of_rows(gains, gains.mean(), 999, 3, np.arange(500))
    assert (pivot.p_value(), *pivot.estimate()) == pytest.approx((0.005, 0.022217215942, 0.194637544078), abs=1e-9)
    right = one == truth, two == truth
    won, lost = right[0] & ~right[1], right[1] & ~right[0]
    assert pivot_of_flips(won, lost, np.arange(500)).p_value() == pytest.approx(0.175562684878, abs=1e-9)
    assert pivot_of_flips(won, lost, np.arange(500), -0.03, 999).p_value(-0.03) == pytest.approx(0.01, abs=1e-9)
