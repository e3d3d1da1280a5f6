"""The rows of a shard in windows: texts, places, what is wrong with them, and the table's own columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_bert_components.data.labels import BLANKS
from kfp_bert_components.errors import UserError
from kfp_bert_components.prediction.settings import PredictionSettings
from kfp_bert_components.prediction.sources import BLOCK_ROWS
from kfp_bert_components.tables import OWN, Batch, Fault, FileFacts, TableFile, open_table
from kfp_bert_components.tables.arrow import strings, to_arrow, to_numpy

# Rows that are predicted together, in the order of their length, unless parts are smaller.
WINDOW = 2_048
# What a row is: the first two kinds are asked.
FINE, MENDED, WITHOUT_TEXT, UNREADABLE = range(4)


@dataclass(frozen=True)
class Window:
    """Some rows, in the order of the table.

    Attributes:
        texts: Their texts, string [n].
        pairs: Their second texts, or None where none are asked for.
        kind: FINE, MENDED, WITHOUT_TEXT or UNREADABLE, uint8 [n].
        reason: What is wrong with them, null where nothing is, string [n].
        source: The name of their file, string [n].
        source_row: Their number in it, int64 [n].
        own: The table's own columns by name, in their order.
    """

    texts: pa.Array
    pairs: pa.Array | None
    kind: np.ndarray
    reason: pa.Array
    source: pa.Array
    source_row: pa.Array
    own: dict[str, pa.Array]

    def asked(self) -> tuple[list[str], list[str] | None]:
        """The texts, and second texts, of the rows that a model is asked about."""
        rows = to_arrow(np.flatnonzero(self.kind < WITHOUT_TEXT))
        return self.texts.take(rows).to_pylist(), None if self.pairs is None else self.pairs.take(rows).to_pylist()


class TableRows:
    """The rows of some files of a table that are a shard's.

    Attributes:
        types: The own columns of all files by name, and their types.
        notes: What is unusual about the files, one line each.
        dropped: Rows of this shard that the last `windows` could not read so far and left out.

    Args:
        files: The files.
        settings: How they are read.
        shards: Into how many shards the rows of each file are divided.
        index: Which of them is wanted.

    Raises:
        UserError: A file is no table or lacks a column, or two files don't agree on the type of a column.
    """

    def __init__(self, files: Sequence[TableFile], settings: PredictionSettings, shards: int, index: int) -> None:
        self._files, self._settings, self._shards, self._index = files, settings, shards, index
        facts = [open_table(file, settings.columns(), settings, own=True)[0] for file in files]
        self.types = _unify(facts)
        self.notes = [f"{one.name}: {one.note}" for one in facts if one.note]
        self.dropped = 0

    def is_empty(self) -> bool:
        """Whether the files have not one row, of which this looks for the first; one that can't be read is one."""
        batches = (batch for file in self._files for batch in self._open(file))
        return not any(len(batch.rows) or batch.faults for batch in batches)

    def windows(self, size: int = WINDOW, start: int = 0) -> Iterator[Window]:
        """The rows from the one with this index on, so many at a time."""
        held, count = list[pa.RecordBatch](), 0
        self.dropped = 0
        for batch in self._batches():
            kept = batch.slice(min(start, batch.num_rows))
            start -= batch.num_rows - kept.num_rows
            held.append(kept)
            count += kept.num_rows
            while count >= size:
                table = pa.Table.from_batches(held)
                yield self._window(table.slice(0, size))
                held, count = table.slice(size).to_batches(), count - size
        if count:
            yield self._window(pa.Table.from_batches(held))

    def _window(self, table: pa.Table) -> Window:
        columns = [column.combine_chunks() for column in table.columns]
        texts, pairs, kind, reason, source, source_row, *own = columns
        asked = pairs if self._settings.pair_column else None
        names = dict(zip(self.types, own, strict=True))
        return Window(texts, asked, to_numpy(kind), reason, source, source_row, names)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for number, file in enumerate(self._files):
            for batch in self._open(file):
                yield self._described(self._of_shard(batch, number), file.name)

    def _open(self, file: TableFile) -> Iterable[Batch]:
        return open_table(file, self._settings.columns(), self._settings, own=True)[1]

    def _of_shard(self, batch: Batch, number: int) -> Batch:
        """The rows and faults of a batch of a file that are this shard's."""
        if self._shards == 1:
            return batch

        def is_own(row: np.ndarray) -> np.ndarray:
            return (row // BLOCK_ROWS + number) % self._shards == self._index

        kept = batch.take(np.flatnonzero(is_own(batch.rows)))
        faults = [one for one in batch.faults if is_own(np.array(one.row))]
        return Batch(kept.rows, kept.cells, faults, batch.mended)

    def _described(self, batch: Batch, file: str) -> pa.RecordBatch:
        """A batch as columns in the order of `Window`, with the rows that can't be read among the others."""
        faults = self._faults(batch, file)
        kind, reasons = self._kinds(batch, faults)
        texts = [batch.cells[column.name] for column in self._settings.columns()]
        own = [self._own(batch, name, kind, file) for name, kind in self.types.items()]
        rows = np.concatenate([batch.rows, np.array([one.row for one in faults], np.int64)])
        reason = pc.if_else(to_arrow(reasons != ""), strings(reasons.tolist()), pa.scalar(None, pa.string()))
        source = strings([file]).take(to_arrow(np.zeros(len(rows), np.int32)))
        read = [_with_nulls(column, len(faults)) for column in [texts[0], texts[-1], *own]]
        columns = [*read[:2], to_arrow(kind), reason, source, to_arrow(rows), *read[2:]]
        made = pa.record_batch(columns, names=[str(index) for index in range(len(columns))])
        return made.take(to_arrow(np.argsort(rows, kind="stable"))) if faults else made

    def _faults(self, batch: Batch, file: str) -> Sequence[Fault]:
        """The rows that can't be read and are to be written."""
        policy = self._settings.unreadable
        if batch.faults and policy == "error":
            first = min(batch.faults, key=lambda one: one.row)
            raise UserError(
                f"{file}, row {first.row}: {first.reason}. Mend it, or set unreadable to 'keep', which gives such rows "
                "no answer, or to 'drop'."
            )
        if policy == "drop":
            self.dropped += len(batch.faults)
            return ()
        return batch.faults

    def _kinds(self, batch: Batch, faults: Sequence[Fault]) -> tuple[np.ndarray, np.ndarray]:
        """What each row is, uint8 [rows and faults], and why, an array of strings, "" where nothing is wrong."""
        count = len(batch.rows)
        kind = np.full(count + len(faults), UNREADABLE, np.uint8)
        kind[:count] = FINE
        reasons = np.full(len(kind), "", object)
        reasons[count:] = [one.reason for one in faults]
        for one in batch.mended:
            at = np.flatnonzero(batch.rows == one.row)
            kind[at], reasons[at] = MENDED, one.reason
        for column in self._settings.columns():
            shows = to_numpy(pc.match_substring_regex(batch.cells[column.name], f"[^{BLANKS}]"))
            empty = np.flatnonzero(~shows)
            kind[empty], reasons[empty] = WITHOUT_TEXT, f"the row has no text in {column.asked!r}"
        return kind, reasons

    def _own(self, batch: Batch, name: str, kind: pa.DataType, file: str) -> pa.Array:
        """One of the table's own columns, of nulls where the file does not have it."""
        values = batch.cells.get(OWN + name)
        if values is None:
            return pa.nulls(len(batch.rows), kind)
        try:
            return values.cast(kind)
        except pa.ArrowException as error:
            raise UserError(
                f"The column {name!r} of {file} can't be made {kind}, which it is in all files together ({error}): "
                "write it alike in each."
            ) from error


def _unify(facts: Sequence[FileFacts]) -> dict[str, pa.DataType]:
    """The columns of all files and the type that the files have in common for each; texts where they have none.

    Raises:
        UserError: A column has lists or structures in one file, and something else in another.
    """
    types: dict[str, pa.DataType] = {}
    for one in facts:
        for name, found in one.own.items():
            kind = found or pa.string()
            known = types.setdefault(name, kind)
            try:
                fields = [pa.schema([(name, each)]) for each in (known, kind)]
                types[name] = pa.unify_schemas(fields, promote_options="permissive").field(0).type
            except pa.ArrowTypeError as error:
                if pa.types.is_nested(kind) or pa.types.is_nested(known):
                    raise UserError(
                        f"The column {name!r} is {kind} in {one.name} and {known} in a file before it: write it alike."
                    ) from error
                types[name] = pa.string()
    return types


def _with_nulls(column: pa.Array, count: int) -> pa.Array:
    return pa.concat_arrays([column, pa.nulls(count, column.type)]) if count else column
