"""Metrics of one set of predictions, from their logits, in NumPy alone."""

import numpy as np

from kfp_bert_components.errors import UserError


def classification_metrics(logits: np.ndarray, targets: np.ndarray, labels: list[str]) -> dict[str, float]:
    """Metrics by which a run can be steered.

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
    right, true, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = true + said > 0
    f1 = 2 * right[occurs] / (true + said)[occurs]
    metrics = {
        "loss": float(cross_entropies(logits, targets).mean()),
        "accuracy": float(right.sum() / len(targets)),
        "macro_f1": float(f1.mean()),
        "weighted_f1": float(np.average(f1, weights=true[occurs])),
        "mcc": _matthews(right.sum(), true, said),
    }
    names = [label for label, there in zip(labels, occurs, strict=True) if there]
    return metrics | {f"f1:{name}": float(value) for name, value in zip(names, f1, strict=True)}


def cross_entropies(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Cross entropy of each row in nats, float64 [rows]."""
    logits = logits.astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    logs = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return logs - logits[np.arange(len(targets)), targets]


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether a value of the metric is better than the best so far; a NaN never is."""
    if value != value:
        return False
    return best is None or (value < best if metric == "loss" else value > best)


def check_metric(metric: str, labels: list[str]) -> None:
    """Refuse a metric that `classification_metrics` never gives."""
    known = ["loss", "accuracy", "macro_f1", "weighted_f1", "mcc", *(f"f1:{label}" for label in labels)]
    if metric not in known:
        raise UserError(f"metric is {metric!r}, but must be one of {', '.join(known)}.")


def _matthews(right: float, true: np.ndarray, said: np.ndarray) -> float:
    rows = true.sum()
    spread = np.sqrt(rows**2 - (said**2).sum()) * np.sqrt(rows**2 - (true**2).sum())
    return float((right * rows - (true * said).sum()) / spread) if spread else 0.0
