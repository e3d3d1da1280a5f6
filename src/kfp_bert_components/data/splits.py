"""A split on disk: `split.json` and `examples.parquet`, written here and read here and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.plain import listed
from kfp_bert_components.records import check_types, dump_record, load_record, require

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
        table: Columns id, text, text_pair (only where `pair`), label, metadata: `source` and `source_row` (name of the
            file, and number of the row in it) and others, and in validation and test `in_train` (bool): whether train
            has the row's text, apart from case and punctuation. Splits of version 0.1.0 have no such column.
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
    folder = Path(folder)
    try:
        data = (folder / HEADER).read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{folder} holds no split ({HEADER} is missing): give an output of prepare_text_data."
        ) from error
    header = load_record(data, str(folder / HEADER), {1: _header_1}, "run prepare_text_data again")
    try:
        table = pq.ParquetFile(folder / EXAMPLES).read()
    except (OSError, pa.ArrowException) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{folder / EXAMPLES} can't be read ({said}): run prepare_text_data again.") from error
    if table.num_rows != header["rows"]:
        raise UserError(
            f"{folder} says {header['rows']:,} rows but holds {table.num_rows:,}: run prepare_text_data again."
        )
    return Split(header["name"], header["labels"], header["fingerprint"], header["pair"], table)


def _header_1(fields: dict[str, Any]) -> dict[str, Any]:
    kinds = {"name": str, "labels": list[str], "rows": int, "fingerprint": str, "pair": bool}
    require(fields, kinds)
    check_types(fields, kinds)
    return fields


class Example(NamedTuple):
    """A row to show: its text, "" where texts are left out, and its place, "" where it is not known."""

    text: str
    place: str


def examples(table: pa.Table, rows: np.ndarray, with_texts: bool = True) -> list[Example]:
    """Rows to show on a page.

    Args:
        table: A split's table, or predictions on it.
        rows: Numbers of the rows.
        with_texts: Whether to show texts, as far as the table has them. A row without one is shown by its place, or by
            its id where the place is not known.
    """
    chosen, names = table.take(rows), table.column_names
    texts = [name for name in ("text", "text_pair") if with_texts and name in names]
    found = []
    for row in chosen.to_pylist():
        known = row.get("source") and row.get("source_row") is not None
        place = f"{row['source']} row {row['source_row']}" if known else "" if texts else f"id {row['id']}"
        found.append(Example("\n".join(str(row[name]) for name in texts), place))
    return found


def rows_in_words(fingerprint: str, table: pa.Table | None) -> str:
    """The beginning of a split's fingerprint, and the files that its rows come from, where they are known.

    Args:
        fingerprint: Of the split.
        table: The split's table, predictions on it, or None.
    """
    if table is None or "source" not in table.column_names:
        return fingerprint[:12]
    files = sorted(str(name) for name in table["source"].unique().to_pylist() if name)
    return fingerprint[:12] + (f", rows of {listed(files, 3)}" if files else "")


class SplitWriter:
    """Writes a split whose examples are made batch by batch and never lie in memory whole."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self.schema = Path(folder), schema
        self._folder.mkdir(parents=True, exist_ok=True)
        # Texts and ids hardly ever repeat: a dictionary of them costs time and saves nothing. Nor do ids shrink.
        repeating = [name for name in schema.names if name not in ("id", "text", "text_pair")]
        compression = {name: "none" if name == "id" else "snappy" for name in schema.names}
        self._writer = pq.ParquetWriter(
            self._folder / EXAMPLES, schema, compression=compression, use_dictionary=repeating, write_statistics=False
        )
        self._held: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add some examples."""
        self._held.append(batch)
        self._rows += batch.num_rows
        if sum(one.num_rows for one in self._held) >= ROW_GROUP:
            self._write_held()

    def finish(self, name: str, labels: Sequence[str], fingerprint: str) -> None:
        """Write what is left, and say what the examples are; the folder is a split then."""
        self._write_held()
        self._writer.close()
        pair = "text_pair" in self.schema.names
        header = {"name": name, "labels": list(labels), "rows": self._rows, "fingerprint": fingerprint, "pair": pair}
        (self._folder / HEADER).write_text(dump_record(header), encoding="utf-8")

    def _write_held(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held), row_group_size=ROW_GROUP)
        self._held = []


def fingerprint_of(hashes: np.ndarray, codes: np.ndarray, labels: Sequence[str]) -> str:
    """The fingerprint of a split: a hash of the labels and of every id with its label's number, sorted by both.

    Ids are given as the hashes that they are made of, uint64 [rows], labels as their index, int [rows].
    """
    order = np.argsort(hashes)
    if (hashes[order[1:]] == hashes[order[:-1]]).any():
        order = np.lexsort((codes, hashes))
    digest = sha256("\n".join(labels).encode())
    digest.update(hashes[order].astype(">u8").tobytes().hex().encode())
    digest.update(codes[order].astype("<i4").tobytes())
    return digest.hexdigest()[:32]
