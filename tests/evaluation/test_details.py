"""What the page of an evaluation shows beside the metrics."""

import numpy as np
import pyarrow as pa
import pytest
from statsmodels.stats.proportion import proportion_confint

from kfp_bert_components.evaluation.details import Mistake, details
from kfp_bert_components.evaluation.measure import measure
from kfp_bert_components.evaluation.slices import find_slices


def look(truth, probabilities, labels, slices=None):
    """The details of these predictions; the text of a row is its number."""
    rows = [str(i) for i in range(len(truth))]
    table = pa.table({"id": rows, "text": rows, "label": [labels[k] for k in truth]})
    made = measure(table, np.float32(probabilities), labels, slices=slices or {}, test_fingerprint="test")
    return details(made)


def test_slices_have_their_accuracy_and_wilsons_interval():
    truth, sure = np.repeat([0, 1], [30, 10]), np.eye(2)[np.repeat([0, 1, 1], [24, 6, 10])]
    members = {"all": np.ones(40, bool), "first": truth == 0, "none": np.zeros(40, bool)}
    found = look(truth, sure, ["a", "b"], members)
    assert [(one.name, one.rows, one.value) for one in found.slices] == [("all", 40, 34 / 40), ("first", 30, 24 / 30)]
    assert found.slices[1][3:5] == pytest.approx(proportion_confint(24, 30, method="wilson"), abs=1e-6)
    assert found.confusion.tolist() == [[24, 6], [0, 10]]


def test_of_many_slices_the_worst_are_shown_first_and_empty_ones_are_named():
    truth, film = np.arange(300) % 3, np.arange(300) // 6
    slices = {f"film = {k}": film == k for k in range(50)} | {"nothing": film < 0}
    found = look(truth, np.eye(3)[np.where(film == 49, (truth + 1) % 3, truth)], ["a", "b", "c"], slices)
    assert (found.slices[0].name, found.slices[0].size) == ("film = 49", "6 rows")
    assert (len(found.slices), found.more_slices, found.empty_slices) == (40, 10, ["nothing"])


def test_rows_whose_text_train_has_and_the_others_stand_side_by_side():
    truth = np.repeat([0, 1, 2], [30, 10, 10])
    predicted = np.concatenate([np.zeros(30, int), np.ones(10, int), np.repeat([0, 2], 5)])
    seen = truth == 0
    table = pa.table({"text": ["a b"] * 50, "in_train": seen})
    one, other = look(truth, np.eye(3)[predicted], ["a", "b", "c"], find_slices(table)).seen
    assert (one.name, one.share, one.accuracy.rows, one.accuracy.value) == ("text in train", 0.6, 30, 1.0)
    assert (other.name, other.share, other.accuracy.rows, other.accuracy.value) == ("text not in train", 0.4, 20, 0.75)
    assert (one.macro_f1, other.macro_f1) == pytest.approx((1.0, (1 + 2 / 3) / 2))
    assert other.accuracy[3:5] == pytest.approx(proportion_confint(15, 20, method="wilson"), abs=1e-6)
    assert look(truth, np.eye(3)[predicted], ["a", "b", "c"]).seen == []


def test_the_classes_with_the_lowest_f1_come_first_and_those_without_rows_are_left_out():
    predicted = np.array([0, 0, 1, 1, 1, 2, 0])
    found = look(np.array([0, 0, 1, 1, 2, 2, 2]), np.eye(4)[predicted], ["a", "b", "c", "d"]).classes
    assert [(one.name, one.rows) for one in found] == [("c", 3), ("a", 2), ("b", 2)]
    assert [one.value for one in found] == pytest.approx([0.5, 0.8, 0.8])
    many = np.arange(41)
    assert len(look(many, np.eye(41), [str(k) for k in many]).classes) == 40


def test_the_most_confident_mistakes_come_first():
    truth = np.arange(60) % 2
    sure = 0.5 + (np.arange(60) + 1) / 200  # each row surer than the one before it
    answers = np.where(truth == 0, 1, np.arange(60) % 4 == 1)  # the rows 0, 2, 3, 4, 6, 7, 8 ... are wrong
    found = look(truth, np.where(np.arange(2) == answers[:, None], sure[:, None], 1 - sure[:, None]), ["a", "b"])
    assert found.mistakes[:2] == [
        Mistake("59", "b", "a", pytest.approx(0.8)),
        Mistake("58", "a", "b", pytest.approx(0.795)),
    ]
    assert len(found.mistakes) == 25 and found.mistakes[24].text == str(59 - 33 + 1)


def test_the_reliability_diagram_has_the_bins_that_have_rows():
    confidence = np.repeat([0.65, 0.95], [10, 30])
    right = np.arange(40) % 10 < 6
    sides = np.stack([confidence, 1 - confidence], 1)
    low, high = look(1 - right.astype(int), sides, ["a", "b"]).reliability
    assert low == {"confidence": pytest.approx(0.65), "accuracy": pytest.approx(0.6), "rows": 10}
    assert high == {"confidence": pytest.approx(0.95), "accuracy": pytest.approx(0.6), "rows": 30}
