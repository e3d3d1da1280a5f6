"""Metrics of predictions, with bootstrap intervals."""

import numpy as np

_REPEATS = 2000


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts of (true, predicted), int [classes, classes]."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of right predictions; `counts` is [..., classes, classes]."""
    return np.trace(counts, axis1=-2, axis2=-1) / counts.sum((-2, -1))


def f1_by_class(counts: np.ndarray) -> np.ndarray:
    """F1 of each class, 0 where it was neither there nor predicted; [..., classes]."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    both = counts.sum(-1) + counts.sum(-2)
    return np.divide(2 * right, both, out=np.zeros(both.shape), where=both > 0)


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Mean of F1 over the classes that the test set or the predictions have."""
    seen = (counts.sum(-1) + counts.sum(-2)) > 0
    return f1_by_class(counts).sum(-1) / np.maximum(seen.sum(-1), 1)


COUNT_METRICS = {"accuracy": accuracy, "macro_f1": macro_f1}


def row_log_loss(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each row's true class, [rows]."""
    return -np.log(np.clip(probabilities[np.arange(len(truth)), truth], 1e-12, 1.0))


def metrics_with_intervals(truth: np.ndarray, probabilities: np.ndarray, seed: int = 0) -> dict[str, dict[str, float]]:
    """Accuracy, macro F1 and log loss, each as value, low and high of a 95 % percentile bootstrap interval.

    Rows are drawn with replacement; for metrics of counts that is a multinomial draw of the confusion matrix
    (Efron and Tibshirani 1993, chapter 13).
    """
    rng = np.random.default_rng(seed)
    classes = probabilities.shape[1]
    counts = confusion(truth, probabilities.argmax(1), classes)
    draws = rng.multinomial(len(truth), counts.ravel() / len(truth), _REPEATS).reshape(-1, classes, classes)
    found = {name: _interval(float(f(counts)), f(draws)) for name, f in COUNT_METRICS.items()}
    losses = row_log_loss(truth, probabilities)
    spread = 1.96 * losses.std(ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else 0.0
    mean = float(losses.mean())
    found["log_loss"] = {"value": mean, "low": mean - float(spread), "high": mean + float(spread)}
    return found


def _interval(value: float, draws: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}
