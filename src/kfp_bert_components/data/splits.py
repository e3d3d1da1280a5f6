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
    fingerprint = _fingerprint(table, labels)
    write_rows(folder, table.schema, table.to_batches(ROW_GROUP))
    write_header(folder, name, labels, table.num_rows, fingerprint, "text_pair" in table.column_names)
    return fingerprint


def write_rows(folder: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write the examples of a split that are made piece by piece and never lie in memory whole.

    Args:
        folder: Created if it is missing. It is a split when `write_header` has been called, too.
        schema: Of the batches.
        batches: The examples.
    """
    import pyarrow.parquet as pq

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Texts and ids hardly ever repeat: a dictionary of them costs time and saves nothing. Nor do ids shrink.
    repeating = [field.name for field in schema if field.name not in ("id", "text", "text_pair")]
    compression = {name: "none" if name == "id" else "snappy" for name in schema.names}
    with pq.ParquetWriter(
        folder / EXAMPLES, schema, compression=compression, use_dictionary=repeating, write_statistics=False
    ) as writer:
        for table in _row_groups(batches, schema):
            writer.write_table(table, row_group_size=ROW_GROUP)


def write_header(folder: Path, name: str, labels: Sequence[str], rows: int, fingerprint: str, pair: bool) -> None:
    """Say what the examples of a split are.

    Args:
        folder: Where its rows were written to.
        name: "train", "validation" or "test".
        labels: All labels, in the order of the model's classes.
        rows: The number of examples.
        fingerprint: From `fingerprint_of`.
        pair: Whether an example is two texts.
    """
    header = {
        "format": FORMAT,
        "name": name,
        "labels": list(labels),
        "rows": rows,
        "fingerprint": fingerprint,
        "pair": pair,
    }
    (Path(folder) / HEADER).write_text(json.dumps(header, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def fingerprint_of(keys: np.ndarray, codes: np.ndarray, labels: Sequence[str]) -> str:
    """The fingerprint of a split whose ids are `keys.ids` of some keys: the same as of those ids as strings.

    Args:
        keys: uint64 [rows].
        codes: Index of each row's label, int [rows].
        labels: All labels.
    """
    import numpy as np

    order = np.argsort(keys)  # as numbers they sort in the same order as their digits, far faster
    if (keys[order[1:]] == keys[order[:-1]]).any():
        order = np.lexsort((codes, keys))
    return _digest(keys[order].astype(">u8").tobytes().hex().encode(), codes[order], labels)


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


def _fingerprint(table: pa.Table, labels: Sequence[str]) -> str:
    """Hash of the labels and of every id with its label's number, sorted by both."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pc.index_in(table["label"], value_set=pa.array(labels, table["label"].type))
    rows = pa.table({"id": table["id"], "code": codes}).sort_by([("id", "ascending"), ("code", "ascending")])
    return _digest("".join(rows["id"].to_pylist()).encode(), rows["code"].to_numpy(), labels)


def _digest(ids: bytes, codes: np.ndarray, labels: Sequence[str]) -> str:
    digest = sha256("\n".join(labels).encode())
    digest.update(ids)
    digest.update(codes.astype("<i4").tobytes())
    return digest.hexdigest()[:32]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
