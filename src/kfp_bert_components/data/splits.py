"""A split on disk: `split.json` and `examples.parquet`, written here and read here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_bert_components.errors import NotFoundError, UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FORMAT = 1
EXAMPLES = "examples.parquet"
HEADER = "split.json"
# Rows a Parquet row group: small enough that a reader can go through a large split piece by piece.
ROW_GROUP = 1 << 16


@dataclass(frozen=True)
class Split:
    """One part of the data.

    Attributes:
        name: "train", "validation" or "test".
        labels: All labels, in the order of the model's classes; the same list in all splits of a run.
        fingerprint: Hash of the ids and labels in sorted order, hex.
        pair: Whether an example is two texts.
        table: Columns id, text, text_pair (only where `pair`), label, and metadata such as `source`.
    """

    name: str
    labels: list[str]
    fingerprint: str
    pair: bool
    table: pa.Table


def read_split(folder: Path) -> Split:
    """Read a split folder whole.

    Raises:
        NotFoundError: There is no split in the folder.
        UserError: The split is damaged, or was written by a newer version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(folder)
    header = _read_header(folder)
    try:
        table = pq.ParquetFile(folder / EXAMPLES).read()
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{folder / EXAMPLES} can't be read ({_first_line(error)}): run prepare_text_data again."
        ) from error
    if table.num_rows != header["rows"]:
        raise UserError(
            f"{folder} says {header['rows']:,} rows but holds {table.num_rows:,}: run prepare_text_data again."
        )
    return Split(header["name"], header["labels"], header["fingerprint"], header["pair"], table)


def write_split(folder: Path, name: str, labels: Sequence[str], table: pa.Table) -> str:
    """Write a split folder.

    Args:
        folder: Created if it is missing.
        name: "train", "validation" or "test".
        labels: All labels, in the order of the model's classes.
        table: Columns id, text, label, optionally text_pair and metadata columns.

    Returns:
        The fingerprint of the split.

    Raises:
        UserError: A column is missing, or a label is not in `labels`.
    """
    missing = [column for column in ("id", "text", "label") if column not in table.column_names]
    if missing:
        raise UserError(f"The {name} split has no column {missing[0]!r}: it needs id, text and label.")
    unknown = set(table["label"].unique().to_pylist()) - set(labels)
    if unknown:
        raise UserError(f"The {name} split has the label {min(map(str, unknown))!r}, which is not among its labels.")
    return write_batches(folder, name, labels, table.schema, table.to_batches(ROW_GROUP))


def write_batches(
    folder: Path, name: str, labels: Sequence[str], schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> str:
    """Like `write_split`, for data that is made piece by piece and never lies in memory whole."""
    import pyarrow.parquet as pq

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = 0
    ids: list[pa.Array] = []
    codes: list[pa.Array] = []
    # Texts and ids hardly ever repeat: a dictionary of them costs time and saves nothing.
    repeating = [field.name for field in schema if field.name not in ("id", "text", "text_pair")]
    with pq.ParquetWriter(
        folder / EXAMPLES, schema, compression="snappy", use_dictionary=repeating, write_statistics=False
    ) as writer:
        for table in _row_groups(batches, schema):
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += table.num_rows
            ids.extend(table["id"].chunks)
            codes.extend(_codes(chunk, labels) for chunk in table["label"].chunks)
    fingerprint = _fingerprint(ids, codes, labels)
    header = {
        "format": FORMAT, "name": name, "labels": list(labels), "rows": rows, "fingerprint": fingerprint,
        "pair": "text_pair" in schema.names,
    }
    (folder / HEADER).write_text(json.dumps(header, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return fingerprint


def iterate_texts(folder: Path, columns: Sequence[str] = ("text",), rows: int = ROW_GROUP) -> Iterator[pa.RecordBatch]:
    """The examples of a split piece by piece, for data that does not fit into memory."""
    import pyarrow.parquet as pq

    _read_header(Path(folder))
    yield from pq.ParquetFile(Path(folder) / EXAMPLES).iter_batches(rows, columns=list(columns))


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Batches put together to the size of a row group or a little more."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(one.num_rows for one in held) >= ROW_GROUP:
            yield pa.Table.from_batches(held, schema)
            held = []
    if held:
        yield pa.Table.from_batches(held, schema)


def _read_header(folder: Path) -> dict:
    place = folder / HEADER
    try:
        header = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{folder} holds no split ({HEADER} is missing): give an output of prepare_text_data."
        ) from error
    except ValueError as error:
        raise UserError(f"{place} is damaged: run prepare_text_data again.") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(
            f"{place} is not of format {FORMAT}: it was written by another version of kfp-bert-components; "
            "prepare the data with this one, or read it with that one."
        )
    return header


def _codes(column: pa.Array, labels: Sequence[str]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.index_in(column, value_set=pa.array(labels, column.type)).cast(pa.int32())


def _fingerprint(ids: list[pa.Array], codes: list[pa.Array], labels: Sequence[str]) -> str:
    """Hash of the labels and of every id with its label's number, sorted by both."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    digest = sha256("\n".join(labels).encode())
    if ids:
        ids_, codes_ = pa.chunked_array(ids), pa.chunked_array(codes).to_numpy().astype("<i4")
        keys = _hex_keys(ids_)
        if keys is not None:  # our own ids: as numbers they sort in the same order, far faster
            order = np.argsort(keys, kind="stable")
            if (keys[order[1:]] == keys[order[:-1]]).any():
                order = np.lexsort((codes_, keys))
            sorted_ids = keys[order].astype(">u8").tobytes().hex().encode()
        else:
            table = pa.table({"id": ids_, "code": codes_})
            order = pc.sort_indices(table, [("id", "ascending"), ("code", "ascending")]).to_numpy()
            sorted_ids = "".join(ids_.take(order).to_pylist()).encode()
        digest.update(sorted_ids)
        digest.update(codes_[order].tobytes())
    return digest.hexdigest()[:32]


def _hex_keys(ids: pa.ChunkedArray) -> np.ndarray | None:
    """Ids of 16 hexadecimal digits as numbers, uint64 [n]; None when they are something else."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.all(pc.equal(pc.binary_length(ids), 16)).as_py():
        return None
    values = np.full(256, 16, np.uint8)
    values[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
    parts = [np.frombuffer(part.cast(pa.binary(16)).buffers()[1], np.uint8)[: 16 * len(part)] for part in ids.chunks]
    digits = values[np.concatenate(parts)]
    if digits.max() > 15:
        return None
    return (digits[::2] << 4 | digits[1::2]).view(">u8").astype(np.uint64)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
