"""Metrics agree with scikit-learn's, and steer towards the better side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef
from sklearn.utils.class_weight import compute_class_weight

from kfp_bert_components.errors import UserError
from kfp_bert_components.training.metrics import check_metric, classification_metrics, is_better
from kfp_bert_components.training.rows import class_weights
from kfp_bert_components.training.state import RunState


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_metrics_are_those_of_scikit_learn(pairs):
    targets, predicted = np.array(pairs).T
    logits = np.eye(4)[predicted] * 2.0
    ours = classification_metrics(logits, targets, list("abcd"))
    assert ours["accuracy"] == pytest.approx(accuracy_score(targets, predicted))
    assert ours["macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert ours["weighted_f1"] == pytest.approx(f1_score(targets, predicted, average="weighted"))
    if len(set(targets)) > 1 and len(set(predicted)) > 1:
        assert ours["mcc"] == pytest.approx(matthews_corrcoef(targets, predicted))
    power = np.exp(logits)
    likely = power / power.sum(axis=1, keepdims=True)
    assert ours["loss"] == pytest.approx(log_loss(targets, likely, labels=range(4)))


def test_balanced_class_weights_are_those_of_scikit_learn():
    targets = np.array([0, 0, 0, 2, 2, 3])  # no row of class 1
    weights = class_weights("balanced", targets, 4)
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=targets)
    np.testing.assert_allclose(weights[[0, 2, 3]], expected)
    assert class_weights("none", targets, 4).tolist() == [1, 1, 1, 1]


def test_a_loss_is_better_when_it_is_lower_and_nan_never_is():
    assert is_better("loss", 0.5, 0.6) and not is_better("loss", 0.7, 0.6)
    assert is_better("f1:a", 0.7, 0.6) and not is_better("f1:a", 0.6, 0.6)
    assert is_better("mcc", -1.0, None) and not is_better("mcc", float("nan"), None)


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(UserError, match=r"metric is 'f1:z', but must be one of loss.*f1:a"):
        check_metric("f1:z", ["a", "b"])


def test_a_seed_is_compared_with_the_median_of_the_earlier_ones():
    state = RunState(trial=2)
    for trial, values in enumerate([[0.5, 0.7], [0.6, 0.8], [0.56]]):
        state.evaluations += [
            {"trial": trial, "step": step, "metrics": {"mcc": value}} for step, value in enumerate(values)
        ]
    assert not state.below_median("mcc")  # 0.56 against 0.5 and 0.6
    state.evaluations.append({"trial": 2, "step": 1, "metrics": {"mcc": 0.74}})
    assert state.below_median("mcc")  # 0.74 against 0.7 and 0.8
    assert not RunState(trial=0, evaluations=state.evaluations).below_median("mcc")
