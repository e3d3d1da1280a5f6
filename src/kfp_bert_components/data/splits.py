"""A split on disk: `split.json` and `examples.parquet`, written here and read here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.records import dump_record, load_record

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

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
    with SplitWriter(folder, table.schema) as writer:
        for batch in table.to_batches(ROW_GROUP):
            writer.write(batch)
    write_header(folder, name, labels, table.num_rows, fingerprint, "text_pair" in table.column_names)
    return fingerprint


class SplitWriter:
    """Writes the examples of a split that are made batch by batch and never lie in memory whole.

    The folder is a split when `write_header` has been called, too. To be used as a context manager.

    Args:
        folder: Created if it is missing.
        schema: Of the batches.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        Path(folder).mkdir(parents=True, exist_ok=True)
        # Texts and ids hardly ever repeat: a dictionary of them costs time and saves nothing. Nor do ids shrink.
        repeating = [field.name for field in schema if field.name not in ("id", "text", "text_pair")]
        compression = {name: "none" if name == "id" else "snappy" for name in schema.names}
        self._writer = pq.ParquetWriter(
            Path(folder) / EXAMPLES, schema, compression=compression, use_dictionary=repeating, write_statistics=False
        )
        self._held: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Add some examples."""
        self._held.append(batch)
        if sum(one.num_rows for one in self._held) >= ROW_GROUP:
            self._write_held()

    def _write_held(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_batches(self._held), row_group_size=ROW_GROUP)
        self._held = []

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._held and not any(raised):
            self._write_held()
        self._writer.close()


def write_header(folder: Path, name: str, labels: Sequence[str], rows: int, fingerprint: str, pair: bool) -> None:
    """Say what the examples of a split are.

    Args:
        folder: Where its examples were written to.
        name: "train", "validation" or "test".
        labels: All labels, in the order of the model's classes.
        rows: The number of examples.
        fingerprint: From `fingerprint_of`.
        pair: Whether an example is two texts.
    """
    header = {"name": name, "labels": list(labels), "rows": rows, "fingerprint": fingerprint, "pair": pair}
    (Path(folder) / HEADER).write_text(dump_record(header), encoding="utf-8")


def fingerprint_of(keys: np.ndarray, codes: np.ndarray, labels: Sequence[str]) -> str:
    """The fingerprint of a split from the hashes that its ids are made of.

    Args:
        keys: The hash of each row's text, uint64 [rows].
        codes: Index of each row's label, int [rows].
        labels: All labels.
    """
    import numpy as np

    order = np.argsort(keys)  # as numbers they sort in the same order as their digits, far faster
    if (keys[order[1:]] == keys[order[:-1]]).any():
        order = np.lexsort((codes, keys))
    return _digest(keys[order].astype(">u8").tobytes().hex().encode(), codes[order], labels)


def _read_header(folder: Path) -> dict:
    place = folder / HEADER
    try:
        data = place.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{folder} holds no split ({HEADER} is missing): give an output of prepare_text_data."
        ) from error
    return load_record(data, str(place), {1: dict}, "run prepare_text_data again")


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
