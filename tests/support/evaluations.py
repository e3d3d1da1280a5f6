"""Evaluations made of numbers, without a model."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from kfp_bert_components.evaluation import Evaluation, write_evaluation
from kfp_bert_components.evaluation.measure import measure
from kfp_bert_components.evaluation.slices import find_slices

# Answers of a model for a row, and what is said of them.
NO_PROBABILITIES = {
    (float("nan"), 0.5): "nan, 0.5, which must lie between 0 and 1",
    (float("inf"), 0.0): "inf, 0, which must lie between 0 and 1",
    (-0.1, 1.1): "-0.1, 1.1, which must lie between 0 and 1",
    (0.5, 0.498): "0.5, 0.498, which must add up to 1, not 0.998",
    (0.6, 0.6): "0.6, 0.6, which must add up to 1, not 1.2",
}


def write_numbers(
    folder: Path, truth, probabilities, labels, *, version=None, order=None, texts=None, system=None, ids=None, **known
):
    """Write an evaluation of rows with these true classes and probabilities; `order` shuffles its rows.

    Rows with the same of the numbers `ids` are copies of a text. `known` are other arguments of `measure`.
    """
    numbers = range(len(truth)) if ids is None else ids
    table = pa.table(
        {
            "id": [f"{i:08x}" for i in numbers],
            "text": texts or [f"row {i} " + "word " * (i % 5) for i in numbers],
            "label": [labels[k] for k in truth],
        }
    )
    probabilities = np.asarray(probabilities, np.float32)
    if order is not None:
        table, probabilities = table.take(pa.array(order)), probabilities[order]
    made = measure(
        table,
        probabilities,
        labels,
        slices=find_slices(table),
        test_fingerprint="test",
        model_fingerprint=f"model {folder.name}",
        model_version=version,
        champion_generation=7 if version else 0,
        system=system or {},
        **known,
    )
    write_evaluation(made, folder)
    return folder


def write_nobody(folder: Path, labels) -> Path:
    """Write the empty evaluation of a registry without a champion."""
    write_evaluation(Evaluation(labels=labels, test_fingerprint="test"), folder)
    return folder


def scores(rng, truth, classes, strength, common=None, own=0.5):
    """Probabilities of a model whose scores have a signal of `strength`; models may share `common` noise."""
    logits = (0 if common is None else common) + own * rng.standard_normal((len(truth), classes))
    logits[np.arange(len(truth)), truth] += strength
    values = np.exp(logits - logits.max(1, keepdims=True))
    return values / values.sum(1, keepdims=True)


def some_test_set(texts, fingerprint: str = "test", labels=("no", "yes")) -> Evaluation:
    """An evaluation of a model that knows nothing: a row for each text, the labels in turn."""
    names = list(dict.fromkeys(labels))
    even = pa.array([[1 / len(names)] * len(names)] * len(texts), pa.list_(pa.float32()))
    truth = [labels[i % len(labels)] for i in range(len(texts))]
    rows = pa.table({"id": list(texts), "label": truth, "probabilities": even})
    return Evaluation(names, fingerprint, predictions=rows)
