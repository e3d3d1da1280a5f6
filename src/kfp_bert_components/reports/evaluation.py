"""The page of an evaluation."""

from typing import TYPE_CHECKING, Any

import numpy as np

from kfp_bert_components.reports import gate_charts, render

if TYPE_CHECKING:
    from kfp_bert_components.evaluation import Evaluation

WRONG_SHOWN = 25
# Shown as a table, in this order.
OVERALL = (
    "accuracy",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "weighted_f1",
    "weighted_precision",
    "weighted_recall",
    "mcc",
    "log_loss",
    "brier",
    "ece",
    "roc_auc",
    "pr_auc",
)


def page(evaluation: "Evaluation") -> str:
    """The page of an evaluation: metrics with intervals, classes, slices, confusions, reliability, mistakes."""
    from kfp_bert_components.evaluation.metrics import confusion
    from kfp_bert_components.evaluation.row_metrics import reliability
    from kfp_bert_components.gate.policy import METRICS

    truth, probabilities = evaluation.truth(), evaluation.probabilities()
    said = probabilities.argmax(1)
    counts = confusion(truth, said, len(evaluation.labels))
    drawn = len(evaluation.labels) <= gate_charts.MOST_CLASSES
    return render(
        "evaluation.html",
        evaluation=evaluation,
        rows=len(truth),
        names=METRICS,
        overall=[name for name in OVERALL if name in evaluation.metrics],
        classes=gate_charts.metric_chart(_classes(evaluation, counts), "F1, with 95 % interval"),
        slices=_slices(evaluation, truth == said),
        mistakes=_mistakes(evaluation, truth, said, probabilities),
        matrix=gate_charts.confusion_chart(counts, evaluation.labels, "number of rows") if drawn else None,
        reliability=gate_charts.reliability_chart({"model": reliability(truth, probabilities)}),
    )


def _classes(evaluation: "Evaluation", counts: np.ndarray) -> list[dict[str, Any]]:
    totals = dict(zip(evaluation.labels, counts.sum(1).tolist(), strict=True))
    found = [
        {"name": label, "rows": totals[label], **evaluation.metrics[f"f1:{label}"]}
        for label in evaluation.labels
        if f"f1:{label}" in evaluation.metrics
    ]
    return sorted(found, key=lambda one: one["value"])[:40]


def _slices(evaluation: "Evaluation", right: np.ndarray) -> list[dict[str, Any]]:
    """Accuracy of every slice with Wilson's 95 % interval (Wilson 1927)."""
    from scipy.stats import binomtest

    found = []
    for name in evaluation.slices:
        rows = evaluation.members(name)
        if rows.any():
            test = binomtest(int(right[rows].sum()), int(rows.sum()))
            low, high = test.proportion_ci(0.95, "wilson")
            found.append({"name": name, "rows": int(rows.sum()), "value": test.statistic, "low": low, "high": high})
    return found


def _mistakes(
    evaluation: "Evaluation", truth: np.ndarray, said: np.ndarray, probabilities: np.ndarray
) -> list[tuple[str, str, str, float]]:
    """The mistakes that the model was surest of: text, true class, answer, probability."""
    assert evaluation.predictions is not None
    sure = probabilities.max(1)
    wrong = np.flatnonzero(said != truth)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:WRONG_SHOWN]
    texts = evaluation.predictions["text"].take(wrong).to_pylist()
    return [
        (text, evaluation.labels[truth[i]], evaluation.labels[said[i]], float(sure[i]))
        for text, i in zip(texts, wrong, strict=True)
    ]
