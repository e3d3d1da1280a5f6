"""Intervals of one model's metrics where rows are copies of texts or belong to groups."""

from collections import Counter

import numpy as np
import pytest

from kfp_bert_components.evaluation.clusters import Clusters, independent
from kfp_bert_components.evaluation.metrics import metrics_with_intervals
from kfp_bert_components.evaluation.names import metric_range

LABELS = ["a", "b"]


def model(rng, texts):
    """Truth and probabilities of texts."""
    truth = (rng.random(texts) < 0.4).astype(int)
    one = 1 / (1 + np.exp(-2 * (2 * truth - 1) - 1.5 * rng.standard_normal(texts)))
    return truth, np.stack([1 - one, one], 1)


def width(one):
    return one["high"] - one["low"]


def test_copies_of_every_text_leave_value_and_interval_as_they_are():
    truth, found = model(np.random.default_rng(0), 300)
    numbers = np.repeat(np.arange(300), 4)
    once = metrics_with_intervals(truth, found, LABELS)
    copied = metrics_with_intervals(truth[numbers], found[numbers], LABELS, clusters=Clusters(numbers))
    by_row = metrics_with_intervals(truth[numbers], found[numbers], LABELS)
    for name in once:
        assert copied[name]["value"] == pytest.approx(once[name]["value"], abs=1e-9), name
        if name != "pr_auc":  # its bias is that of the rows
            assert width(copied[name]) == pytest.approx(width(once[name]), rel=0.1, abs=1e-3), name
        # By rows the interval would be half as wide.
        assert width(by_row[name]) < 0.8 * width(copied[name]), name


def test_rows_that_are_clusters_of_their_own_are_independent_rows():
    truth, found = model(np.random.default_rng(1), 200)
    named = Clusters(np.random.default_rng(2).permutation(200), copies=False)
    assert metrics_with_intervals(truth, found, LABELS, clusters=named) == metrics_with_intervals(truth, found, LABELS)


def test_a_class_of_few_texts_has_a_wide_interval_also_without_a_mistake():
    numbers = np.r_[np.repeat([0, 1, 2], [30, 5, 3]), 3 + np.arange(300)]
    truth = (numbers < 3).astype(int)
    found = metrics_with_intervals(truth, np.eye(2)[truth] * 0.8 + 0.1, LABELS, clusters=Clusters(numbers))
    # Wilson's interval of 1.55 hits of 1.55: 38 rows are 3 texts and count as 1.55.
    assert found["recall:b"]["low"] == pytest.approx(1.55 / (1.55 + 1.96**2), abs=0.01)
    assert found["f1:b"]["low"] < 0.5 and found["recall:a"]["low"] > 0.98


def test_false_positives_that_are_one_text_make_the_interval_of_f1_wide_and_that_of_recall_not():
    rows = np.arange(500)
    truth, said = (rows < 100).astype(int), (rows < 160).astype(int)  # 60 rows of a are taken for b
    said[:20] = 0
    numbers = np.r_[np.arange(100), np.full(60, 100), 101 + np.arange(340)]
    one_text, many = (
        metrics_with_intervals(truth, np.eye(2)[said], LABELS, clusters=Clusters(cluster))
        for cluster in (numbers, rows)
    )
    assert width(one_text["f1:b"]) > 1.5 * width(many["f1:b"])
    assert width(one_text["recall:b"]) == pytest.approx(width(many["recall:b"]), rel=0.1)


def one_of(films):
    """600 rows of so many films in turn; and their metrics, of three classes."""
    truth = np.arange(600) // 4 % 3
    rng = np.random.default_rng(6)
    said = np.where(rng.random(600) < 0.8, truth, (truth + 1) % 3)
    clusters = Clusters(np.arange(600) % films, copies=False)
    return metrics_with_intervals(truth, 0.1 + 0.7 * np.eye(3)[said], ["a", "b", "c"], clusters=clusters)


def test_of_one_group_every_interval_is_the_whole_range():
    for name, one in one_of(1).items():
        assert (one["low"], one["high"]) == metric_range(name), name


@pytest.mark.parametrize("films", [2, 3, 4])
def test_of_few_groups_no_interval_is_narrower_than_that_of_rows(films):
    by_row = one_of(600)
    for name, one in one_of(films).items():
        if name not in ("pr_auc", "roc_auc"):  # these put classes together, of which errors may cancel out
            assert width(one) > 0.85 * width(by_row[name]), name


def test_of_one_text_nothing_is_known_of_losses_and_areas():
    truth = np.arange(600) % 3
    found = metrics_with_intervals(
        truth, np.tile([0.8, 0.1, 0.1], (600, 1)), [*LABELS, "c"], clusters=Clusters(truth * 0)
    )
    for name in ("log_loss", "brier", "roc_auc", "ece"):
        assert (found[name]["low"], found[name]["high"]) == metric_range(name), name
    assert found["accuracy"]["low"] < 0.1 and found["accuracy"]["high"] > 0.6


def test_a_class_that_one_of_many_groups_has_counts_as_one_group():
    numbers, truth = np.repeat(np.arange(12), 50), np.repeat([1, 0], [50, 550])
    said = np.where(np.arange(600) % 5 == 0, 1 - truth, truth)
    found = metrics_with_intervals(truth, np.eye(2)[said] * 0.8 + 0.1, LABELS, clusters=Clusters(numbers, copies=False))
    assert (found["recall:b"]["low"], found["recall:b"]["high"]) == (0, 1)
    assert found["recall:a"]["low"] > 0.7


def test_the_interval_follows_the_answers_of_a_group():
    rng = np.random.default_rng(3)
    numbers = np.repeat(np.arange(30), 20)
    right = rng.random(600) < np.clip(0.8 + 0.2 * rng.standard_normal(30), 0.3, 1)[numbers]
    truth = rng.integers(0, 2, 600)
    said = np.eye(2)[np.where(right, truth, 1 - truth)]
    by_group, by_row = (
        metrics_with_intervals(truth, said, clusters=clusters)["accuracy"]
        for clusters in (Clusters(numbers, copies=False), independent(600))
    )
    of_groups = np.bincount(numbers, right) / 20
    reach = 2.045 * of_groups.std(ddof=1) / np.sqrt(30)  # Student's, 29 degrees of freedom
    assert width(by_group) == pytest.approx(2 * reach, rel=0.1) and width(by_group) > 1.3 * width(by_row)


@pytest.mark.long
def test_the_intervals_cover_the_values_of_texts_drawn_anew_and_by_rows_they_do_not():
    """Of 120 test sets of 300 rows, a fifth of which are ten texts."""
    actual = metrics_with_intervals(*model(np.random.default_rng(9), 200_000), LABELS)
    rng, by_text, by_row = np.random.default_rng(4), Counter(), Counter()
    zipf = 1 / np.arange(1, 11)
    for seed in range(120):
        numbers = np.r_[rng.choice(10, 60, p=zipf / zipf.sum()), 10 + np.arange(240)]
        truth, found = (part[numbers] for part in model(rng, 250))
        for clusters, covered in ((Clusters(numbers), by_text), (independent(300), by_row)):
            for name, one in metrics_with_intervals(truth, found, LABELS, seed, clusters).items():
                covered[name] += one["low"] <= actual[name]["value"] <= one["high"]
    assert min(by_text.values()) >= 120 * (0.93 - 2 * np.sqrt(0.93 * 0.07 / 120)), by_text
    assert max(by_row[name] for name in ("accuracy", "log_loss")) < 0.9 * 120


def test_the_effective_number_of_clusters():
    sizes = np.repeat([0, 1, 2], [30, 5, 3])
    assert Clusters(sizes).effective(np.ones(38)) == pytest.approx(38**2 / (900 + 25 + 9))
    assert independent(5).by_part(np.array([0, 0, 1, 1, 1]), 3).tolist() == [2, 3, 0]
    parts = np.r_[np.zeros(35, int), np.ones(3, int)]
    assert Clusters(sizes).by_part(parts, 2) == pytest.approx([35**2 / 925, 1])
    some = Clusters(sizes).of(np.array([37, 0, 1]))
    assert some.numbers.tolist() == [0, 1, 1] and some.count == 2
