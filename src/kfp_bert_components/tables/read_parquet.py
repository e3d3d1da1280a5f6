"""Parquet in pieces."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.arrow import strings, to_arrow
from kfp_bert_components.tables.batches import LONGEST_CELL, Batch, make_batch
from kfp_bert_components.tables.files import TableFile
from kfp_bert_components.tables.settings import OWN, Column, find_columns, own_names, own_note

ROWS = 1 << 16
# What pyarrow raises for a damaged file; the last one where it is the name of a column.
_DAMAGE = (OSError, pa.ArrowException, UnicodeDecodeError)
_BINARY = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)


def own_types(file: TableFile) -> tuple[dict[str, pa.DataType], str]:
    """The types of all columns of a Parquet file by name, in their order, and what to say of the names.

    A dictionary's type is that of its values, and a view of strings has that of strings.
    """
    try:
        schema = pq.read_schema(file.path)
        names = own_names(schema.names)
    except _DAMAGE as error:
        raise _damaged(file) from error
    types = map(_plain_type, schema.types)
    return dict(zip(names, types, strict=True)), own_note(schema.names, names)


def read_parquet(file: TableFile, columns: Sequence[Column], keep: bool, own: bool = False) -> Iterator[Batch]:
    """Read the wanted columns of a Parquet file, and with `own` all of them besides, as they are.

    Raises:
        UserError: The file is damaged, lacks a column, or a column holds lists or structures.
    """
    row = 1
    try:
        reader = pq.ParquetFile(file.path)
        names = reader.schema_arrow.names
        found = find_columns(columns, names, file.name)
        # Columns can be left out by their names only, and a.b is b of the structure a too: then all are read.
        dotted = any("." in names[index] for index in found.values())
        alone = len(set(names)) == len(names) and not own and not dotted
        wanted = sorted(set(found.values())) if alone else list(range(len(names)))
        for batch in reader.iter_batches(ROWS, columns=[names[index] for index in wanted] if alone else None):
            cells = {
                name: _texts(batch.column(wanted.index(index)), names[index], file) for name, index in found.items()
            }
            rows = np.arange(row, row + batch.num_rows)
            decoded = _decoded(rows, cells, keep)
            if own:
                good = to_arrow(np.isin(rows, decoded.rows))
                own_columns = [_valid(column).filter(good) for column in batch.columns]
                decoded.cells.update(zip((OWN + one for one in own_names(names)), own_columns, strict=True))
            yield decoded
            row += batch.num_rows
    except pa.ArrowNotImplementedError as error:
        raise UserError(
            f"{file.name} has a column of a type that can't be read ({error}): write it in another type."
        ) from error
    except _DAMAGE as error:
        raise _damaged(file) from error


def _damaged(file: TableFile) -> UserError:
    return UserError(f"{file.name} is a damaged Parquet file: fetch or write it again.")


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind, kind)


def _valid(column: pa.Array) -> pa.Array:
    """A column as it is, but for bytes that it calls strings: U+FFFD stands for those."""
    column = column.cast(_plain_type(column.type))
    try:
        column.validate(full=True)
        return column
    except pa.ArrowInvalid:
        if not pa.types.is_string(column.type):
            raise
    texts = (one or b"" for one in column.cast(pa.binary()).to_pylist())
    filled = strings([text.decode("utf-8", "replace") for text in texts])
    return pc.if_else(column.is_valid(), filled, pa.scalar(None, pa.string()))


def _texts(column: pa.Array, name: str, file: TableFile) -> pa.Array:
    """A column as strings, or as bytes where it is not known whether they are UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        raise UserError(f"{file.name} has lists or structures in {name!r}: give a column of texts.")
    if pa.types.is_floating(column.type):
        column = _numbers(column)
    binary = any(is_kind(column.type) for is_kind in _BINARY)
    try:
        column = column.cast(pa.binary() if binary else pa.string())
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{file.name} has values in {name!r} that can't be written as text ({column.type}): write them as text."
        ) from error
    return pc.fill_null(column, b"" if binary else "") if column.null_count else column


def _numbers(column: pa.Array) -> pa.Array:
    """Floating-point numbers as strings: NaN and infinity are missing, whole numbers are written without a point."""
    column = column.cast(pa.float64()) if pa.types.is_float16(column.type) else column
    column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), pa.scalar(2.0**53, column.type)))
    digits = pc.if_else(whole, column, pa.scalar(None, column.type)).cast(pa.int64()).cast(pa.string())
    return pc.coalesce(digits, _small_numbers(column), column.cast(pa.string()))


def _small_numbers(column: pa.Array) -> pa.Array:
    """Numbers that JSON writes with a negative exponent, written as there; null for others."""
    small = np.abs(column.to_numpy(zero_copy_only=False)) < 1e-4
    texts = np.full(len(column), None, object)
    texts[small] = [str(value) for value in column.to_numpy(zero_copy_only=False)[small]]
    return pa.array(texts, pa.string())


def _decoded(rows: np.ndarray, cells: dict[str, pa.Array], keep: bool) -> Batch:
    try:
        texts = {name: values.cast(pa.string()) for name, values in cells.items()}
        for values in texts.values():
            values.validate(full=True)  # a file can hold bytes that it calls strings
        if all((pc.max(pc.utf8_length(values)).as_py() or 0) <= LONGEST_CELL for values in texts.values()):
            return Batch(rows, texts)
    except pa.ArrowInvalid:
        pass
    columns = [values.cast(pa.binary()).to_pylist() for values in cells.values()]
    found = zip(rows.tolist(), zip(*columns, strict=True), strict=True)
    return make_batch(list(cells), (_row(number, values) for number, values in found), keep)


def _row(number: int, values: Sequence[bytes]) -> tuple[int, list[str], str, str]:
    """A row as `make_batch` takes it."""
    cells = [value.decode("utf-8", "surrogateescape") for value in values]
    if max(map(len, cells)) > LONGEST_CELL:
        return number, [], f"the row is longer than {LONGEST_CELL:,} characters", max(cells, key=len)[:400]
    return number, cells, "", ""
