"""Parquet in pieces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.chunks import Chunk
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
        raise UserError(f"{file.name} is a damaged Parquet file: fetch or write it again.") from error


def read_parquet(file: TableFile, number: int, roles: dict[str, int]) -> Iterator[Chunk]:
    """Read a Parquet file.

    Raises:
        UserError: The file is damaged, or a column holds lists or structures.
    """
    row = 1
    try:
        reader = pq.ParquetFile(file.path)
        names = reader.schema_arrow.names
        wanted = [names[index] for index in sorted(set(roles.values()))]
        for batch in reader.iter_batches(ROWS, columns=wanted):
            cells = {role: _bytes(batch.column(names[index]), names[index], file) for role, index in roles.items()}
            yield Chunk(number, np.arange(row, row + batch.num_rows), cells)
            row += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file.name} is a damaged Parquet file: fetch or write it again.") from error


def _bytes(column: pa.Array, name: str, file: TableFile) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        raise UserError(f"{file.name} has lists or structures in {name!r}: give a column of texts.")
    if pa.types.is_binary(column.type):
        return column
    if not pa.types.is_string(column.type):
        column = pc.cast(column, pa.string())
    return column.cast(pa.binary())
