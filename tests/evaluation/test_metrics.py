"""Metrics agree with scikit-learn, and their influences with what happens when a row counts for more."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq
from scipy.stats import foldnorm
from sklearn import metrics as peer
from statsmodels.stats.proportion import proportion_confint

from kfp_bert_components.evaluation.area_intervals import pr_interval, roc_interval
from kfp_bert_components.evaluation.calibration_interval import ece_interval
from kfp_bert_components.evaluation.count_intervals import class_intervals, count_intervals, wilson
from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, Margins, by_class, confusion, of_class
from kfp_bert_components.evaluation.metrics import metrics_with_intervals
from kfp_bert_components.evaluation.names import is_metric, metric_title
from kfp_bert_components.evaluation.row_metrics import (
    FLOOR,
    ROW_METRICS,
    ClassArea,
    ece,
    pr_auc,
    pr_by_class,
    roc_auc,
    roc_by_class,
)
from tests.support.evaluations import scores


def predictions(rows=300, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    found = np.round(scores(rng, truth, classes, 1.0), 2) + 1e-3  # rounded, so that there are ties
    return truth, found / found.sum(1, keepdims=True)


def test_values_agree_with_scikit_learn():
    truth, probabilities = predictions()
    predicted, classes = probabilities.argmax(1), range(4)
    found = {name: one["value"] for name, one in metrics_with_intervals(truth, probabilities, list("abcd")).items()}
    expected = {
        "accuracy": peer.accuracy_score(truth, predicted),
        "mcc": peer.matthews_corrcoef(truth, predicted),
        "log_loss": peer.log_loss(truth, probabilities),
        "brier": peer.brier_score_loss(truth, probabilities, labels=classes),
        "roc_auc": peer.roc_auc_score(truth, probabilities, multi_class="ovr"),
        "pr_auc": peer.average_precision_score(np.eye(4)[truth], probabilities),
    }
    for kind, score in (("f1", peer.f1_score), ("precision", peer.precision_score), ("recall", peer.recall_score)):
        for average in ("macro", "weighted"):
            expected[f"{average}_{kind}"] = score(truth, predicted, average=average)
        expected |= {
            f"{kind}:{name}": one for name, one in zip("abcd", score(truth, predicted, average=None), strict=True)
        }
    assert set(found) - set(expected) == {"ece"}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("name", list(COUNT_METRICS))
def test_slopes_of_count_metrics_are_their_derivatives(name):
    truth, probabilities = predictions()
    counts, present = confusion(truth, probabilities.argmax(1), 4).astype(float), np.ones(4, bool)
    metric = COUNT_METRICS[name]
    slopes = metric.both(Margins.of(counts), present)[1].matrix()
    assert (slopes * counts).sum() == pytest.approx(0, abs=1e-9)
    for cell in np.ndindex(4, 4):
        up, down = counts.copy(), counts.copy()
        up[cell] += 1e-4
        down[cell] -= 1e-4
        change = 300 * (metric.value(Margins.of(up), present) - metric.value(Margins.of(down), present)) / 2e-4
        assert slopes[cell] == pytest.approx(change, abs=1e-5)


@pytest.mark.parametrize("name", list(COUNT_METRICS))
def test_many_confusion_matrices_at_once_have_the_values_and_slopes_of_each(name):
    truth, probabilities = predictions()
    counts = np.stack([confusion(truth, found, 4) for found in (probabilities.argmax(1), probabilities.argmin(1))])
    counts = np.stack([counts, counts + 1, 2 * counts])  # [3, 2, classes, classes]
    present = np.array([True, True, True, False])
    values, slopes = COUNT_METRICS[name].both(Margins.of(counts), present)
    for place in np.ndindex(3, 2):
        value, slope = COUNT_METRICS[name].both(Margins.of(counts[place]), present)
        assert values[place] == pytest.approx(value)
        assert np.stack(slopes)[:, *place] == pytest.approx(np.stack(slope))


@pytest.mark.parametrize("kind, theirs", [("f1", peer.f1_score), ("precision", peer.precision_score)])
def test_a_metric_of_one_class_is_that_of_scikit_learn(kind, theirs):
    truth, probabilities = predictions()
    predicted, present = probabilities.argmax(1), np.ones(4, bool)
    counts = confusion(truth, predicted, 4).astype(float)
    value, slopes = of_class(kind, 2).both(Margins.of(counts), present)
    assert value == pytest.approx(theirs(truth, predicted, average=None)[2])
    more = counts.copy()
    more[2, 2] += 1e-4
    change = 300 * (of_class(kind, 2).value(Margins.of(more), present) - value) / 1e-4
    assert slopes.matrix()[2, 2] == pytest.approx(change, abs=1e-3)


@pytest.mark.parametrize("name, theirs", [("log_loss", peer.log_loss), ("brier", peer.brier_score_loss)])
def test_the_influence_of_a_row_on_a_loss_is_how_far_its_own_loss_is_from_the_mean(name, theirs):
    truth, probabilities = predictions(50)
    value, influence = ROW_METRICS[name].measure(truth, probabilities)
    assert value == pytest.approx(theirs(truth, probabilities))
    own = [theirs([one], row[None], labels=range(4)) for one, row in zip(truth, probabilities, strict=True)]
    assert influence == pytest.approx(np.array(own) - value)


@pytest.mark.parametrize("ours, theirs", [(roc_auc, peer.roc_auc_score), (pr_auc, peer.average_precision_score)])
def test_influences_of_areas_are_derivatives_by_the_weight_of_a_row(ours, theirs):
    truth, probabilities = predictions(100)
    _, influence = ours(truth, probabilities)

    def weighted(row, weight):
        weights = np.ones(100)
        weights[row] = weight
        return np.mean([theirs(truth == k, probabilities[:, k], sample_weight=weights) for k in range(4)])

    for row in range(10):
        assert influence[row] == pytest.approx(100 * (weighted(row, 1.001) - weighted(row, 0.999)) / 0.002, abs=1e-3)
    assert influence.sum() == pytest.approx(0, abs=1e-9)


def test_every_interval_holds_its_value_and_nothing_is_nan():
    for seed in range(3):
        truth, probabilities = predictions(40, seed=seed)
        for name, one in metrics_with_intervals(truth, probabilities, list("abcd")).items():
            assert one["low"] <= one["value"] <= one["high"], name
            assert np.isfinite(list(one.values())).all()


def test_shares_of_rows_have_wilsons_interval():
    truth = np.repeat([0, 0, 1, 2, 2], [80, 20, 10, 27, 3])
    predicted = np.repeat([0, 1, 1, 2, 0], [80, 20, 10, 27, 3])
    found = metrics_with_intervals(truth, np.eye(3)[predicted], ["a", "b", "c"])
    shares = {"recall:a": (80, 100), "recall:b": (10, 10), "precision:a": (80, 83), "accuracy": (117, 140)}
    for name, (hits, rows) in (shares | {"weighted_recall": (117, 140)}).items():
        low, high = proportion_confint(hits, rows, method="wilson")
        assert found[name]["low"] == pytest.approx(low, abs=1e-6), name
        assert found[name]["high"] == pytest.approx(high, abs=1e-6), name
    shared, either = 80, 80 + 20 + 3  # rows of class a that are taken for it, and rows of either kind
    low, high = (2 * end / (1 + end) for end in proportion_confint(shared, either, method="wilson"))
    assert (found["f1:a"]["low"], found["f1:a"]["high"]) == pytest.approx((low, high), abs=1e-6)


def test_the_interval_of_a_share_is_that_of_statsmodels_to_the_bit():
    rng = np.random.default_rng(0)
    rows = rng.uniform(0.1, 10 ** rng.uniform(0, 6, 5000))  # effective numbers of rows are fractions
    hits = rows * rng.choice([0, 1, 0.5, 0.999, *rng.random(3)], 5000)
    assert np.array_equal(wilson(hits, rows), proportion_confint(hits, rows, method="wilson"))
    assert wilson(np.zeros(1), np.zeros(1)).tolist() == [[0], [1]]


@st.composite
def confusions(draw):
    """2 to 8 classes, some of them never predicted or without a row, the diagonal often far above the rest."""
    classes = draw(st.integers(2, 8))
    counts = draw(arrays(int, (classes, classes), elements=st.integers(0, 3) | st.integers(0, 60), fill=st.just(0)))
    counts += np.diag(draw(arrays(int, classes, elements=st.just(0) | st.integers(0, 200))))
    gone = arrays(bool, classes, elements=st.sampled_from([False, False, True]))
    return counts * ~draw(gone)[None, :] * ~draw(gone)[:, None]


@given(counts=confusions())
@example(np.array([[97, 0, 0, 0], [0, 195, 0, 0], [0, 0, 125, 0], [0, 0, 2, 0]]))  # the last class is never predicted
@example(np.array([[0, 0], [0, 2]]))
@example(np.array([[0, 0, 0], [7, 0, 0], [0, 0, 0]]))
@settings(max_examples=40)
def test_intervals_hold_the_values_and_reach_no_farther_than_those_of_the_classes_together(counts):
    assume(counts.any())
    present, rows = counts.sum(1) > 0, counts.sum()
    found = count_intervals(counts)
    for name, (low, high) in found.items():
        value = float(COUNT_METRICS[name].value(Margins.of(counts), present))
        least = -1 if name == "mcc" else 0
        assert least - 1e-9 <= low <= value + 1e-9 and value - 1e-9 <= high <= 1 + 1e-9, name
    for kind, ends in class_intervals(Margins.of(counts)).items():
        low, high = ends[:, present].mean(1)
        assert low - 1e-9 <= found[f"macro_{kind}"][0] and found[f"macro_{kind}"][1] <= high + 1e-9
        # The shares of the classes are estimated too: by the rows of the classes, each with its own value.
        each = np.repeat(by_class(Margins.of(counts), kind), counts.sum(1))
        low, high = (np.repeat(end, counts.sum(1)).mean() for end in ends)
        moved = 1.96 * each.std() / np.sqrt(rows)
        assert low - moved - 1e-6 <= found[f"weighted_{kind}"][0]
        assert found[f"weighted_{kind}"][1] <= high + moved + 1e-6


def test_a_class_that_is_never_predicted_does_not_make_the_interval_of_an_average_meaningless():
    counts = np.array([[97, 0, 0, 0], [0, 195, 0, 0], [0, 0, 125, 0], [0, 0, 2, 0]])
    low, high = count_intervals(counts)["macro_precision"]
    assert 0.7 < low < 0.746 < high <= 1  # the other three are certain but for 1 to 2 %


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.02, 0.33, 0.5, 1.0])), min_size=1, max_size=8)
)
@example([(0, 0.0), (0, 0.0), (0, 1.0)])  # resampled rows that are all the same but for rounding
@settings(max_examples=40)
def test_intervals_of_a_few_rows_hold_the_values_and_stay_where_the_metrics_do(rows):
    truth = np.array([one for one, _ in rows])
    first = np.array([share for _, share in rows])
    found = metrics_with_intervals(truth, np.stack([first, (1 - first) / 4, 3 * (1 - first) / 4], 1), list("abc"))
    for name, one in found.items():
        most = {"log_loss": -np.log(FLOOR), "brier": 2.0}.get(name, 1.0)
        assert one["low"] <= one["value"] <= one["high"] <= most + 1e-9, name


@given(counts=arrays(int, (3, 3), elements=st.integers(1, 60)))
@settings(max_examples=50)
def test_intervals_of_counts_are_those_of_the_normal_distribution_where_rows_are_many(counts):
    many = 10_000 * counts
    found = count_intervals(many)
    for name, metric in COUNT_METRICS.items():
        value, slopes = metric.both(Margins.of(many), np.ones(3, bool))
        error = np.sqrt((slopes.matrix() ** 2 * many).sum()) / many.sum()
        assert found[name] == pytest.approx((value - 1.96 * error, value + 1.96 * error), abs=0.02 * error), name


@pytest.mark.slow
def test_intervals_cover_the_truth_also_where_a_class_has_ten_rows():
    """Of 200 models on 200 rows, 5 % of them rare; the plain bootstrap covers their recall 71 %."""
    rng = np.random.default_rng(0)

    def model(rows):
        truth = (rng.random(rows) < 0.05).astype(int)
        return truth, scores(rng, truth, 2, 3.0, own=1.0)

    actual = {name: one["value"] for name, one in metrics_with_intervals(*model(400_000), ["a", "b"]).items()}
    names = (
        "accuracy",
        "macro_f1",
        "macro_recall",
        "mcc",
        "f1:b",
        "recall:b",
        "precision:b",
        "log_loss",
        "brier",
        "roc_auc",
        "pr_auc",
        "ece",
    )
    covered = dict.fromkeys(names, 0)
    for _ in range(200):
        found = metrics_with_intervals(*model(200), ["a", "b"])
        for name in names:
            covered[name] += found[name]["low"] <= actual[name] <= found[name]["high"]
    assert min(covered.values()) >= 200 * (0.93 - 2 * np.sqrt(0.93 * 0.07 / 200)), covered


@pytest.mark.parametrize("rows", [3_000, 9_000])  # the latter are resampled in groups
def test_intervals_of_losses_are_those_of_the_normal_distribution_where_rows_are_many(rows):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, rows)
    probabilities = scores(rng, truth, 3, 1.0)
    found = metrics_with_intervals(truth, probabilities)
    own = {
        "log_loss": -np.log(probabilities[np.arange(rows), truth]),
        "brier": ((probabilities - np.eye(3)[truth]) ** 2).sum(1),
    }
    for name, losses in own.items():
        reach = 1.96 * losses.std() / np.sqrt(rows)
        value, low, high = found[name]["value"], found[name]["low"], found[name]["high"]
        assert value == pytest.approx(losses.mean())
        assert (value - low, high - value) == pytest.approx((reach, reach), rel=0.08), name


def test_a_good_model_without_a_mistake_may_have_a_larger_log_loss_than_these_rows_show():
    """It says itself how wrong it expects to be; an interval of the observed losses alone would be far shorter."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.95, 0.99, 60)
    found = metrics_with_intervals(np.zeros(60, int), np.stack([sure, 1 - sure], 1))["log_loss"]
    reach = 1.96 * np.log(sure).std() / np.sqrt(60)
    assert 5 * reach < found["value"] - found["low"] < 7 * reach
    assert 5 * reach < found["high"] - found["value"] < 7 * reach
    wrong = np.arange(60) % 20 == 0  # as often as it says: then the rows show it themselves
    found = metrics_with_intervals(wrong.astype(int), np.tile([0.95, 0.05], (60, 1)))["log_loss"]
    reach = 1.96 * np.where(wrong, -np.log(0.05), -np.log(0.95)).std() / np.sqrt(60)
    assert found["high"] - found["low"] < 3 * reach


def test_the_interval_of_the_calibration_error_begins_at_zero_where_chance_explains_it():
    rng, from_zero = np.random.default_rng(0), 0
    for _ in range(200):
        confidence = rng.uniform(0.5, 1, 300)
        truth = (rng.random(300) > confidence).astype(int)  # calibrated: right as often as it is sure
        probabilities = np.stack([confidence, 1 - confidence], 1)
        value = ece(truth, probabilities)[0]
        low, high = ece_interval(truth, probabilities, value)
        assert value > 0.01 and low <= value <= high
        from_zero += low == 0
    assert from_zero >= 200 * 0.9


def test_the_interval_of_a_calibration_error_far_from_zero_is_the_normal_one():
    sure = np.tile([0.99, 0.01], (300, 1))
    reach = 1.96 * 0.5 / np.sqrt(300)
    assert ece_interval(np.arange(300) % 2, sure, 0.49) == pytest.approx((0.49 - reach, 0.49 + reach), abs=0.1 * reach)


def test_the_upper_end_of_the_calibration_error_allows_for_gaps_that_chance_made_larger():
    """Zou and Donner 2008; of a gap near 0 the mean size that is seen is that of a folded normal distribution."""
    confidence = np.repeat([0.7, 0.9], 200)
    right = np.concatenate([np.arange(200) < 146, np.arange(200) < 184])  # 73 % and 92 %
    gaps, errors = np.array([0.03, 0.02]) / 2, np.sqrt(200 * np.array([0.7 * 0.3, 0.9 * 0.1])) / 400
    likely = [brentq(lambda gap, seen=seen: foldnorm.mean(gap) - seen, 0, 9) for seen in gaps / errors] * errors
    high = likely.sum() + np.hypot(*(gaps + 1.96 * errors - likely))
    found = ece_interval(1 - right.astype(int), np.stack([confidence, 1 - confidence], 1), gaps.sum())
    assert found == (0, pytest.approx(high, rel=0.005))


def test_the_interval_of_an_area_holds_a_perfect_ranking_and_shrinks_with_the_classes():
    perfect = [ClassArea(10, 190, 1.0, 0.0)]
    # By Hanley and McNeil's formula, an area of 1 on these rows varies like a share of 37.6 rows.
    for interval, rows in ((roc_interval, 10 * 190 / (1 + 0.5 * 99)), (pr_interval, 10)):
        assert interval(perfect, 0.0) == pytest.approx(proportion_confint(rows, rows, method="wilson"))
    truth, probabilities = predictions(400)
    for areas, interval in ((roc_by_class, roc_interval), (pr_by_class, pr_interval)):
        (value, influence), classes = areas(truth, probabilities)
        error = np.sqrt((influence**2).sum()) / 400
        low, high = interval(classes, error)
        narrowest = min(np.diff(interval([one], one.error)) for one in classes)
        assert value - 3 * error < low < value - 1.5 * error and value + 1.2 * error < high < 1
        assert high - low < narrowest


def test_the_interval_of_an_area_is_wilsons_where_all_rows_of_a_class_are_alike():
    """Positives above or below all negatives: the area and average precision are shares of them."""
    error = np.sqrt(0.8 * 0.2 / 1999)
    expected = proportion_confint(1600, 2000, method="wilson")
    assert roc_interval([ClassArea(2000, 10**7, 0.8, error)], error) == pytest.approx(expected, abs=1e-4)
    assert pr_interval([ClassArea(2000, 10**7, 0.8, error)], error) == pytest.approx(expected, abs=1e-4)


def test_the_bias_of_average_precision_is_what_it_is_too_high_on_few_rows():
    rng = np.random.default_rng(0)

    def rare(rows):
        truth = (rng.random(rows) < 0.05).astype(int)
        score = truth + rng.standard_normal(rows)
        return pr_by_class(truth, np.stack([-score, score], 1))[1][1]

    true = rare(1_000_000).value
    found = [rare(200) for _ in range(400)]
    excess = np.mean([one.value for one in found]) - true
    assert excess > 0.03
    assert np.mean([one.bias for one in found]) == pytest.approx(excess, abs=0.02)


def test_what_is_not_defined_is_left_out():
    truth = np.zeros(20, int)
    found = metrics_with_intervals(truth, np.tile([0.9, 0.1], (20, 1)), ["a", "b"])
    assert "roc_auc" not in found and "f1:b" not in found and found["accuracy"]["value"] == 1
    assert set(ROW_METRICS) - set(found) == {"roc_auc", "pr_auc"}


def test_metrics_have_names_for_policies_and_titles_for_sentences():
    assert is_metric("mcc") and is_metric("recall:spam") and not is_metric("recall") and not is_metric("f2:spam")
    titles = {name: metric_title(name) for name in ("weighted_f1", "macro_recall", "ece", "f1:spam", "recall:a:b")}
    assert titles == {
        "weighted_f1": "Weighted F1",
        "macro_recall": "Macro recall",
        "ece": "Calibration error (ECE)",
        "f1:spam": "F1 of class 'spam'",
        "recall:a:b": "Recall of class 'a:b'",
    }


def test_a_probability_of_zero_does_not_make_the_log_loss_infinite():
    assert metrics_with_intervals(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))["log_loss"]["value"] < 20
