"""Parquet in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.batches import Batch, Fault, string_batch, valid_text
from kfp_bert_components.tables.files import TableFile

ROWS = 1 << 16


def parquet_columns(file: TableFile) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        UserError: The file is damaged.
    """
    try:
        return tuple(pq.ParquetFile(file.path).schema_arrow.names)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(file) from error


def read_parquet(file: TableFile, columns: Mapping[str, int], keep: bool) -> Iterator[Batch]:
    """Read a Parquet file.

    Args:
        file: The file.
        columns: Index of each wanted column by its name.
        keep: Whether damaged characters are replaced instead of counted as a fault.

    Raises:
        UserError: The file is damaged, or a column holds lists or structures.
    """
    row = 1
    try:
        reader = pq.ParquetFile(file.path)
        names = reader.schema_arrow.names
        wanted = [names[index] for index in sorted(set(columns.values()))]
        for batch in reader.iter_batches(ROWS, columns=wanted):
            cells = {name: _texts(batch.column(names[index]), names[index], file) for name, index in columns.items()}
            yield _decoded(np.arange(row, row + batch.num_rows), cells, keep)
            row += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise _damaged(file) from error


def _texts(column: pa.Array, name: str, file: TableFile) -> pa.Array:
    """A column as strings, or as bytes where it is not known whether they are UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        raise UserError(f"{file.name} has lists or structures in {name!r}: give a column of texts.")
    binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    column = column.cast(pa.binary() if binary else pa.string())
    return pc.fill_null(column, b"" if binary else "") if column.null_count else column


def _decoded(rows: np.ndarray, cells: dict[str, pa.Array], keep: bool) -> Batch:
    try:
        for values in cells.values():
            values.cast(pa.string()).validate(full=True)  # a file can hold bytes that it calls strings
        return Batch(rows, {name: values.cast(pa.string()) for name, values in cells.items()})
    except pa.ArrowInvalid:
        pass
    texts = {
        name: [
            valid_text(value.decode("utf-8", "surrogateescape"), keep) for value in values.cast(pa.binary()).to_pylist()
        ]
        for name, values in cells.items()
    }
    good = np.array([None not in row for row in zip(*texts.values(), strict=True)], bool)
    faults = [Fault(int(row), "the row has bytes that are not UTF-8") for row in rows[~good]]
    kept = {name: [values[index] or "" for index in np.flatnonzero(good)] for name, values in texts.items()}
    return string_batch(rows[good].tolist(), kept, faults)


def _damaged(file: TableFile) -> UserError:
    return UserError(f"{file.name} is a damaged Parquet file: fetch or write it again.")
