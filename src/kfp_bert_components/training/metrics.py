"""Metrics of one set of predictions, from their logits, in NumPy alone."""

import numpy as np

from kfp_bert_components.errors import UserError


def classification_metrics(logits: np.ndarray, targets: np.ndarray, labels: list[str]) -> dict[str, float]:
    """Metrics of a set of predictions; one of them decides which weights are kept.

    Args:
        logits: float [rows, classes].
        targets: Index of the right class, int [rows].
        labels: Names of the classes.

    Returns:
        loss (mean cross entropy in nats), accuracy, macro_f1 (over the classes that occur in targets or
        predictions), weighted_f1, mcc (Matthews correlation), and f1:LABEL for each of those classes.
    """
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)))
    np.add.at(confusion, (targets, predicted), 1)
    correct, actual, predicted_as = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = actual + predicted_as > 0
    f1 = 2 * correct[occurs] / (actual + predicted_as)[occurs]
    metrics = {
        "loss": float(cross_entropies(logits, targets).mean()),
        "accuracy": float(correct.sum() / len(targets)),
        "macro_f1": float(f1.mean()),
        "weighted_f1": float(np.average(f1, weights=actual[occurs])),
        "mcc": _matthews(correct.sum(), actual, predicted_as),
    }
    names = [label for label, occurring in zip(labels, occurs, strict=True) if occurring]
    return metrics | {f"f1:{name}": float(value) for name, value in zip(names, f1, strict=True)}


def cross_entropies(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Cross entropy of each row in nats, float64 [rows]."""
    logits = logits.astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    logs = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return logs - logits[np.arange(len(targets)), targets]


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether a value of the metric is better than the best so far; a NaN never is."""
    if np.isnan(value):
        return False
    return best is None or (value < best if metric == "loss" else value > best)


def check_metric(metric: str, labels: list[str]) -> None:
    """Check that `classification_metrics` can give this metric.

    Raises:
        UserError: It can't: names the metrics that it gives.
    """
    known = ["loss", "accuracy", "macro_f1", "weighted_f1", "mcc", *(f"f1:{label}" for label in labels)]
    if metric not in known:
        more = f" and {len(known) - 20:,} more" if len(known) > 20 else ""
        raise UserError(f"metric is {metric!r}, but must be one of {', '.join(known[:20])}{more}.")


def _matthews(correct: float, actual: np.ndarray, predicted: np.ndarray) -> float:
    """From the number of correct rows, and the rows of each class by target and by prediction."""
    rows = actual.sum()
    spread = np.sqrt(rows**2 - (predicted**2).sum()) * np.sqrt(rows**2 - (actual**2).sum())
    return float((correct * rows - (actual * predicted).sum()) / spread) if spread else 0.0
