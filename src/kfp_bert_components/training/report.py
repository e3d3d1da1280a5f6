"""What the report of a run says, as plain data for its template."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_bert_components.training.examples import Examples
from kfp_bert_components.training.metrics import cross_entropies
from kfp_bert_components.training.scoring import score

ROWS = 12  # of each table of examples


def write_report(job: Any, classifier: Any, validation: Examples, metrics: dict[str, float], path: Path) -> None:
    """Write the HTML report of a run.

    Args:
        job: The `Run`, over.
        classifier: With the kept weights, in float32.
        validation: The validation rows in the classifier's ids.
        metrics: What the step hands out.
        path: Of the page.
    """
    from kfp_bert_components.reports.training import render_training

    predict = tf.function(lambda inputs: classifier.model(inputs, training=False), reduce_retracing=True)
    logits = score(
        lambda inputs: predict(_tensors(inputs)).numpy(),
        validation,
        2 * job.settings.batch_size,
        len(job.labels),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    page = render_training(
        settings=job.settings.parameters(),
        first_seed=job.settings.seed,
        steps_per_epoch=job.steps_per_epoch,
        metric=job.settings.metric,
        curve=np.array(job.state.curve).reshape(-1, 5),
        evaluations=job.state.evaluations,
        outcomes=job.state.outcomes,
        best=(job.state.best.trial, job.state.best.step),
        metrics=metrics,
        labels=_label_counts(job),
        lengths=(job.train.whole, job.validation.whole),
        longest=_longest(job.train, job.labels),
        hardest=_hardest(validation, logits, job.labels),
    )
    path.write_text(page, encoding="utf-8")


def _tensors(inputs: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(array) for name, array in inputs.items()}


def _label_counts(job: Any) -> list[tuple[str, int, int, float]]:
    """Label, rows to train on, rows to validate on, weight in the loss."""
    counts = [np.bincount(part.targets, minlength=len(job.labels)) for part in (job.train, job.validation)]
    return [
        (label, int(counts[0][i]), int(counts[1][i]), float(job.class_weights[i])) for i, label in enumerate(job.labels)
    ]


def _longest(examples: Examples, labels: list[str]) -> list[tuple[str, str, int, int]]:
    """Text, label, tokens, and tokens that were cut off, of the longest rows."""
    rows = np.argsort(-examples.whole, kind="stable")[:ROWS]
    return [
        (examples.texts[row], labels[examples.targets[row]], int(whole), int(whole - examples.lengths[row]))
        for row, whole in zip(rows, examples.whole[rows], strict=True)
    ]


def _hardest(examples: Examples, logits: np.ndarray, labels: list[str]) -> list[tuple[str, str, str, float, float]]:
    """Text, label, predicted label, probability of that, and loss, of the rows with the highest loss."""
    losses = cross_entropies(logits, examples.targets)
    rows = np.argsort(-losses, kind="stable")[:ROWS]
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    certain = (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    return [
        (
            examples.texts[row],
            labels[examples.targets[row]],
            labels[int(logits[row].argmax())],
            float(certain[row]),
            float(losses[row]),
        )
        for row in rows
    ]
