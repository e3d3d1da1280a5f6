"""What a window of rows becomes: the table's own columns, and ours."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from kfp_bert_components.errors import UserError
from kfp_bert_components.prediction.predictor import Predictor
from kfp_bert_components.prediction.rows import WITHOUT_TEXT, Window
from kfp_bert_components.tables.arrow import strings, to_arrow

COLUMNS = {
    "label": pa.string(),
    "score": pa.float32(),
    "probabilities": pa.list_(pa.float32()),
    "reason": pa.string(),
    "source": pa.string(),
    "source_row": pa.int64(),
    "model_version": pa.int64(),
    "model_fingerprint": pa.string(),
}
# Bytes of rows that are held before they are written.
_HELD = 32 << 20


def output_schema(own: dict[str, pa.DataType], predictor: Predictor, prefix: str) -> pa.Schema:
    """The columns of the output: the table's own, then ours; the labels are in the metadata.

    Raises:
        UserError: The table has a column of the same name as one of ours.
    """
    for name in COLUMNS:
        if prefix + name in own:
            other = "predicted_" if prefix != "predicted_" else "model_"
            raise UserError(
                f"The table has a column {prefix + name!r}, and the predictions have one of this name: set prefix, "
                f"such as {other!r}, for the names of theirs."
            )
    ours = {prefix + name: kind for name, kind in COLUMNS.items()}
    metadata = {"labels": json.dumps(predictor.labels, ensure_ascii=False)}
    return pa.schema([*own.items(), *ours.items()], metadata)


def output_rows(window: Window, probabilities: np.ndarray, predictor: Predictor, schema: pa.Schema) -> pa.RecordBatch:
    """The rows of a window with their predictions.

    Args:
        window: The rows.
        probabilities: Of those that were asked, in their order: float32 [asked, classes].
        predictor: Who answered.
        schema: From `output_schema`.
    """
    asked = window.kind < WITHOUT_TEXT
    best = probabilities.argmax(axis=1)
    place: np.ndarray = np.cumsum(asked) - asked  # of each row among those that were asked
    taken = pc.if_else(to_arrow(asked), to_arrow(place.astype(np.int32)), pa.scalar(None, pa.int32()))
    classes = len(predictor.labels)
    ends = to_arrow(np.arange(0, probabilities.size + 1, classes, dtype=np.int32))
    lists = pa.ListArray.from_arrays(ends, to_arrow(np.ascontiguousarray(probabilities).ravel()))
    label = strings(predictor.labels).take(to_arrow(best.astype(np.int32)))
    score = to_arrow(np.ascontiguousarray(probabilities[np.arange(len(best)), best]))
    zeros = to_arrow(np.zeros(len(asked), np.int32))
    version = to_arrow(np.array([predictor.version], np.int64))
    columns = [
        *window.own.values(),
        label.take(taken),
        score.take(taken),
        lists.take(taken),
        window.reason,
        window.source,
        window.source_row,
        version.take(zeros) if predictor.version else pa.nulls(len(asked), pa.int64()),
        strings([predictor.fingerprint]).take(zeros),
    ]
    return pa.record_batch(columns, schema=schema)


class PartWriter:
    """Writes one file of rows.

    Attributes:
        path: The file: its name ends with .parquet or .csv, which is its format.
        rows: Rows so far.

    Args:
        path: The file.
        schema: From `output_schema`.
        labels: The classes.
    """

    def __init__(self, path: Path, schema: pa.Schema, labels: Sequence[str]) -> None:
        self.path, self.rows = path, 0
        self._csv, self._schema, self._labels = path.suffix == ".csv", schema, labels
        self._began = time.monotonic()
        self._held: list[pa.RecordBatch] = []
        self._writer: Any
        if self._csv:
            self._writer = pa.csv.CSVWriter(str(path), _as_csv(schema.empty_table(), labels).schema)
        else:
            self._writer = pq.ParquetWriter(str(path), schema, compression="zstd")

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows."""
        self.rows += rows.num_rows
        self._held.append(rows)
        if sum(one.nbytes for one in self._held) > _HELD:
            self._flush()

    def close(self) -> None:
        """The file is complete."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._held, self._schema)
        self._held = []
        self._writer.write_table(_as_csv(table, self._labels) if self._csv else table)


def _as_csv(table: pa.Table, labels: Sequence[str]) -> pa.Table:
    """A table as CSV can hold it: probabilities as a JSON object by label, other lists and structures as JSON."""
    ours = len(table.column_names) - len(COLUMNS) + list(COLUMNS).index("probabilities")
    for index, kind in enumerate(table.schema.types):
        if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType) or _is_binary(kind):
            values = table.column(index).to_pylist()
            if index == ours:
                values = [one and _by_label(one, labels) for one in values]
            texts = strings([_as_text(one) for one in values])
            column = pc.if_else(table.column(index).combine_chunks().is_valid(), texts, pa.scalar(None, pa.string()))
            table = table.set_column(index, table.column_names[index], column)
    return table


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _as_text(value: Any) -> str:
    """Lists and objects as JSON, bytes in base64, and what else CSV has no form for as Python writes it."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=_as_text)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return "" if value is None else str(value)


def _by_label(probabilities: Sequence[float], labels: Sequence[str]) -> dict[str, float]:
    # The shortest text that is this float32, as in JSON of a server.
    return {label: float(str(np.float32(one))) for label, one in zip(labels, probabilities, strict=True)}
