"""From predictions to an evaluation: what is kept of each row, and all metrics."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.labels import spelled_column
from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation.metrics import metrics_with_intervals
from kfp_bert_components.evaluation.records import CLUSTER, Evaluation, check_evidence_by
from kfp_bert_components.evaluation.slices import PREFIX, seen_in_train
from kfp_bert_components.evaluation.text_keys import TEXT_KEY, TEXTS, with_text_keys

_PLACE = ("source", "source_row")


def measure(
    table: pa.Table,
    probabilities: np.ndarray,
    labels: list[str],
    *,
    slices: Mapping[str, np.ndarray],
    test_fingerprint: str,
    evidence_by: str = "text",
    keep_texts: bool = True,
    **known: Any,
) -> Evaluation:
    """Measure a model's predictions.

    Args:
        table: Columns id, text, label, for pairs text_pair, and perhaps in_train.
        probabilities: [rows, classes], float32.
        labels: Names of the classes, in the order of the probabilities.
        slices: By name, which rows belong to it, bool [rows]; see `slices.find_slices`.
        test_fingerprint: Fingerprint of the test split.
        evidence_by: What counts as one piece of evidence: "text", "row" or a column of `table`.
        keep_texts: Whether to keep the texts beside the predictions.
        **known: Other attributes of the evaluation: model_fingerprint, model_version, champion_generation, system.

    Raises:
        UserError: `table` has no column `evidence_by`, or a row's probabilities are NaN, below 0 or above 1, or don't
            add up to 1.
    """
    predictions = _predictions(table, probabilities, slices, evidence_by, keep_texts)
    found = Evaluation(
        labels, test_fingerprint, slices=list(slices), evidence_by=evidence_by, predictions=predictions, **known
    )
    if fault := found.probability_fault():
        who = f"Version {found.model_version}" if found.model_version else "The model"
        raise UserError(
            f"{who} can't be evaluated: {fault}. Train it with a lower learning rate, or look at how it was exported."
        )
    truth = found.truth()
    metrics = metrics_with_intervals(truth, found.probabilities(), labels, clusters=found.clusters())
    return replace(found, metrics=metrics, majority_share=float(np.bincount(truth).max() / len(truth)))


def _predictions(
    table: pa.Table, probabilities: np.ndarray, slices: Mapping[str, np.ndarray], evidence_by: str, keep_texts: bool
) -> pa.Table:
    columns = ("id", *(TEXTS if keep_texts else ()), "label")
    kept = {name: table[name] for name in columns if name in table.column_names}
    if evidence_by not in ("text", "row"):
        check_evidence_by(evidence_by, table.column_names)
        kept[CLUSTER] = spelled_column(table[evidence_by].cast(pa.string()))  # older splits keep what stood there
    kept["label"] = kept["label"].cast(pa.string())
    offsets = np.arange(0, probabilities.size + 1, probabilities.shape[1], dtype=np.int32)
    if (seen := seen_in_train(table)) is not None:
        kept["in_train"] = pa.array(seen)
    kept["probabilities"] = pa.ListArray.from_arrays(offsets, probabilities.ravel())
    texts = table.select([name for name in TEXTS if name in table.column_names])
    kept |= {TEXT_KEY: with_text_keys(texts)[TEXT_KEY]}
    kept |= {name: table[name] for name in _PLACE if name in table.column_names}
    return pa.table(kept | {PREFIX + name: pa.array(rows) for name, rows in slices.items()})
