"""The report of a run: its tables as plain data, handed to the template."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kfp_bert_components.data.splits import Example, Split, examples, rows_in_words
from kfp_bert_components.training.label_errors import LabelErrors
from kfp_bert_components.training.metrics import cross_entropies
from kfp_bert_components.training.rows import TokenizedRows, TrainingData
from kfp_bert_components.training.state import RunState

Show = Callable[[np.ndarray], list[Example]]
TABLE_ROWS = 12  # of the longest and of the hardest rows


def write_report(
    path: Path,
    *,
    parameters: dict[str, Any],
    note: str,
    steps_per_epoch: int,
    state: RunState,
    metrics: dict[str, float],
    data: TrainingData,
    model_fingerprint: str,
    splits: tuple[Split, Split],
    keep_texts: bool,
    logits: np.ndarray,
    label_errors: LabelErrors | None,
) -> None:
    """Write the HTML report of a run.

    Args:
        path: Of the page; its folder is made.
        parameters: `TrainingSettings.parameters()`.
        note: What there is to say about how the weights were chosen; "" for nothing.
        steps_per_epoch: Steps in one pass over the training rows.
        state: Progress of the run at its end.
        metrics: What the run returns.
        data: The rows.
        model_fingerprint: Fingerprint of the bundle.
        splits: The training and the validation split.
        keep_texts: Whether to show texts.
        logits: What the kept weights give for the validation rows, float32 [rows, classes].
        label_errors: What the check of the training labels found, where it was asked for.
    """
    from kfp_bert_components.reports import written
    from kfp_bert_components.reports.training import render_training

    assert state.best is not None
    tables = [split.table for split in splits]
    rows = [(f"{one.name} split", rows_in_words(one.fingerprint, one.table)) for one in splits]
    about = [("model", model_fingerprint[:12]), *rows, written(path)]
    page = render_training(
        about=about,
        settings=parameters,
        note=note,
        first_seed=parameters["seed"],
        steps_per_epoch=steps_per_epoch,
        metric=parameters["metric"],
        curve=np.array(state.curve).reshape(-1, 5),
        evaluations=state.evaluations,
        outcomes=state.outcomes,
        best=(state.best.trial, state.best.step),
        metrics=metrics,
        labels=_label_counts(data),
        lengths=(data.train.full_lengths, data.validation.full_lengths),
        longest=_longest(data.train, data.labels, partial(examples, tables[0], with_texts=keep_texts)),
        hardest=_hardest(data.validation, logits, data.labels, partial(examples, tables[1], with_texts=keep_texts)),
        label_check=label_errors and (label_errors.checked, label_errors.skipped),
        suspects=_suspects(label_errors, tables[0], data, keep_texts) if label_errors else [],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _label_counts(data: TrainingData) -> list[tuple[str, int, int, float]]:
    """Label, rows to train on, rows to validate on, weight in the loss."""
    classes = len(data.labels)
    train, validation = (np.bincount(part.targets, minlength=classes) for part in (data.train, data.validation))
    counts = zip(data.labels, train.tolist(), validation.tolist(), data.class_weights.tolist(), strict=True)
    return list(counts)


def _longest(rows: TokenizedRows, labels: list[str], show: Show) -> list[tuple[str, str, str, int, int]]:
    """Text, place, label, tokens, and tokens that were cut off, of the longest rows."""
    longest = np.argsort(-rows.full_lengths, kind="stable")[:TABLE_ROWS]
    return [
        (*example, labels[rows.targets[row]], int(length), int(length - rows.lengths[row]))
        for example, row, length in zip(show(longest), longest, rows.full_lengths[longest], strict=True)
    ]


def _hardest(
    rows: TokenizedRows, logits: np.ndarray, labels: list[str], show: Show
) -> list[tuple[str, str, str, str, float, float]]:
    """Text, place, label, predicted label, its probability, and loss in nats, of the rows with the highest loss."""
    losses = cross_entropies(logits, rows.targets)
    hardest = np.argsort(-losses, kind="stable")[:TABLE_ROWS]
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = (power / power.sum(axis=1, keepdims=True)).max(axis=1)
    return [
        (
            *example,
            labels[rows.targets[row]],
            labels[int(logits[row].argmax())],
            float(confidence[row]),
            float(losses[row]),
        )
        for example, row in zip(show(hardest), hardest, strict=True)
    ]


def _suspects(
    found: LabelErrors, table: Any, data: TrainingData, keep_texts: bool
) -> list[tuple[str, int, str, str, str, str, float]]:
    """File, row, id, text, label, suggested label and its probability, of each row whose label is likely wrong.

    Where the split does not say which row of the file it is, the row is that of the split, counted from 1.
    """
    part = table.take(found.rows)
    names = part.column("source").to_pylist() if "source" in table.column_names else [""] * len(found.rows)
    if "source_row" in table.column_names:
        numbers = part.column("source_row").to_pylist()
    else:
        names = [f"{name} (training split)".strip() for name in names]
        numbers = (found.rows + 1).tolist()
    ids = part.column("id").to_pylist()
    texts = [data.train.texts[row] if keep_texts else "" for row in found.rows]
    return [
        (name, number, one, text, data.labels[data.train.targets[row]], data.labels[label], certainty)
        for name, number, one, text, row, label, certainty in zip(
            names, numbers, ids, texts, found.rows, found.suggested, found.certainty.tolist(), strict=True
        )
    ]
