"""All rows of a source: their texts in a scratch file, and a few numbers for each in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_bert_components.data.ids import PAIR_MARK, hash_texts
from kfp_bert_components.data.words import hash_words, is_ascii
from kfp_bert_components.errors import UserError
from kfp_bert_components.progress import track
from kfp_bert_components.tables import Batch, FileFacts, TableFile, TableSettings, open_table
from kfp_bert_components.tables.arrow import string_bytes, to_arrow, to_numpy

# Names of columns in batches. That of a metadata column begins with METADATA.
TEXT, PAIR, LABEL, PLACE, METADATA = "text", "text_pair", "label", "place", "metadata:"
# Flags of a row.
EMPTY, NO_LABEL, MOJIBAKE = 1, 2, 4
# More different labels than this is no list of classes.
MOST_LABELS = 10_000
# Rows that are shown of those with one fault.
EXAMPLES = 5
# UTF-8 that was read as Windows-1252 or Latin-1, and the mark that stands for what could not be read at all.
_MOJIBAKE = "[\u00c2\u00c3][\u0080-\u00bf\u0192\u201a-\u203a\u20ac]|\u00e2\u20ac|\u00ef\u00bb\u00bf|\ufffd"
_NUMBERS = {
    "exact": np.uint64,
    "normal": np.uint64,
    "label": np.int32,
    "length": np.int32,
    "words": np.int32,
    "file": np.int32,
    "row": np.int64,
    "flags": np.uint8,
    "place": np.int32,
}


@dataclass
class RowExample:
    """A row to show.

    Attributes:
        file: The file's name.
        row: The row's number in it.
        reason: What is wrong with it, or "".
        excerpt: How it begins.
        index: Its index among all rows; -1 for a row that could not be read.
    """

    file: str
    row: int
    reason: str = ""
    excerpt: str = ""
    index: int = -1


@dataclass
class Unreadable:
    """The rows that could not be read: how many, and the first few of each reason."""

    count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[RowExample] = field(default_factory=list)

    def add(self, file: str, batch: Batch) -> None:
        """Count those of a batch."""
        for fault in batch.faults:
            self.count += 1
            self.reasons[fault.reason] += 1
            if self.reasons[fault.reason] <= EXAMPLES:
                self.examples.append(RowExample(file, fault.row, fault.reason, shorten(fault.excerpt)))


class BatchFile:
    """Record batches in a scratch file, written once and read several times."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def append(self, batch: pa.RecordBatch) -> None:
        """Add a batch at the end."""
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._path), batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Nothing more will be appended."""
        if self._writer is not None:
            self._writer.close()

    def __iter__(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The batches, each with the index of its first row."""
        if self._writer is None:
            return
        start = 0
        # Read, not mapped: mapped pages would count as memory of this process.
        with pa.OSFile(str(self._path)) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                yield start, batch
                start += batch.num_rows


@dataclass
class Rows:
    """All rows that are not blank, in the order of their files. Arrays have one element a row.

    Attributes:
        texts: The texts: columns text, text_pair and the metadata columns.
        word_hashes: The hashes of each text's words: column words; without batches where they were not wanted.
        files: What was found out about each file.
        read: Rows of each file, those that could not be read included, blank ones not.
        blank: Rows of all files without anything in their cells.
        unreadable: The rows that could not be read.
        labels: The different labels as they stand in the data.
        places: The different values of the split column.
        exact: Hash of the text (and its pair), uint64.
        normal: Hash of its words in their order, without case and punctuation, uint64.
        label: Index into `labels`, int32.
        length: Characters, int32.
        words: Words, int32.
        file: Index into `files`, int32.
        row: Number of the row in its file, int64.
        flags: EMPTY, NO_LABEL, MOJIBAKE, uint8.
        place: Index into `places`; 0 where there is no split column, int32.
    """

    texts: BatchFile
    word_hashes: BatchFile
    files: list[FileFacts] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    blank: int = 0
    unreadable: Unreadable = field(default_factory=Unreadable)
    labels: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    exact: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    normal: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    label: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    length: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    words: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    file: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    row: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    flags: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    place: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.exact)

    def example(self, index: int, reason: str = "") -> RowExample:
        """A row to show; its excerpt is left empty."""
        return RowExample(self.files[self.file[index]].name, int(self.row[index]), reason, index=index)

    def read_texts(self, wanted: np.ndarray) -> dict[int, str]:
        """The texts of some rows by index; of pairs, both with PAIR_MARK between them.

        Args:
            wanted: Indices of rows, sorted, int64 [n].
        """
        found: dict[int, str] = {}
        if not len(wanted):
            return found
        for start, batch in self.texts:
            here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)]
            if len(here):
                columns = [batch[name] for name in (TEXT, PAIR) if name in batch.schema.names]
                texts = joined([column.take(to_arrow(here - start)) for column in columns]).to_pylist()
                found.update(zip(here.tolist(), texts, strict=True))
            if len(found) == len(wanted):
                break
        return found


def read_rows(files: Sequence[TableFile], settings: TableSettings, with_words: bool, scratch: Path) -> Rows:
    """Read all files of a source.

    Args:
        files: What to read, in this order.
        settings: How; its columns are called by the names above.
        with_words: Whether to keep the hashes of the words.
        scratch: An empty folder for the texts.

    Raises:
        UserError: A file is not a table or lacks a column, or the label column has too many different values to be one.
    """
    rows = Rows(BatchFile(scratch / "texts.arrow"), BatchFile(scratch / "words.arrow"))
    labels, places = _Values(), _Values()
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _NUMBERS}
    with track(None, "reading", "rows", every=2) as bar:
        for number, file in enumerate(files):
            table = open_table(file, settings)
            rows.files.append(table.facts)
            rows.read.append(0)
            for batch in table.batches:
                rows.unreadable.add(file.name, batch)
                filled = _without_blank(batch)
                rows.blank += len(batch.rows) - len(filled.rows)
                rows.read[-1] += len(filled.rows) + len(batch.faults)
                bar.update(len(batch.rows))
                if not len(filled.rows):
                    continue
                numbers, texts, words = _numbers(filled)
                numbers["file"] = np.full(len(filled.rows), number)
                numbers["label"] = labels.number(filled.cells[LABEL])
                numbers["place"] = places.number(filled.cells[PLACE]) if PLACE in filled.cells else numbers["file"] * 0
                for name, values in numbers.items():
                    parts[name].append(values.astype(_NUMBERS[name], copy=False))
                rows.texts.append(texts)
                if with_words:
                    rows.word_hashes.append(words)
                if len(labels.values) > MOST_LABELS:
                    asked = next(column.asked for column in settings.columns if column.name == LABEL)
                    raise UserError(
                        f"label_column {asked!r} has more than {MOST_LABELS:,} different values: it does not look like "
                        "a label; set label_column to the right column."
                    )
    rows.texts.close()
    rows.word_hashes.close()
    for name in list(parts):
        arrays = parts.pop(name)  # freed one by one, for the sake of memory
        if arrays:
            setattr(rows, name, np.concatenate(arrays))
    rows.labels, rows.places = list(labels.values), list(places.values)
    return rows


def joined(columns: Sequence[pa.Array]) -> pa.Array:
    """One text a row: the only one, or both of a pair with PAIR_MARK between them."""
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, PAIR_MARK)


def shorten(text: str, length: int = 100) -> str:
    """A text on one line, cut to a length, with unprintable characters shown as "·"."""
    line = "".join(c if c.isprintable() else "·" for c in text[: length + 1])
    return line if len(line) <= length else line[: length - 1] + "…"


class _Values:
    """Gives each different value a number, over all batches."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def number(self, column: pa.Array) -> np.ndarray:
        coded = pc.dictionary_encode(pc.utf8_trim_whitespace(column))
        known = [self.values.setdefault(value, len(self.values)) for value in coded.dictionary.to_pylist()]
        return np.array(known, np.int32)[to_numpy(coded.indices)]


def _without_blank(batch: Batch) -> Batch:
    """The rows that have something in one of the wanted cells."""
    filled = np.zeros(len(batch.rows), bool)
    for cells in batch.cells.values():
        filled |= np.diff(string_bytes(cells)[1]) > 0
    if filled.all():
        return batch
    kept = np.flatnonzero(filled)
    return Batch(batch.rows[kept], {name: cells.take(to_arrow(kept)) for name, cells in batch.cells.items()})


def _numbers(batch: Batch) -> tuple[dict[str, np.ndarray], pa.RecordBatch, pa.RecordBatch]:
    """What is kept in memory of each row, and what goes to the scratch files: the texts, and the words' hashes."""
    kept = {name: cells for name, cells in batch.cells.items() if name not in (LABEL, PLACE)}
    text = joined([kept[name] for name in (TEXT, PAIR) if name in kept])
    plain = is_ascii(text)
    length = np.diff(string_bytes(text)[1]) if plain else to_numpy(pc.utf8_length(text))
    exact, (words, sequences) = hash_texts(text), hash_words(text)
    empty = np.logical_or.reduce([_is_empty(kept[name]) for name in (TEXT, PAIR) if name in kept])
    flags = EMPTY * empty + NO_LABEL * _is_empty(batch.cells[LABEL])
    if not plain:
        wide = np.flatnonzero(~to_numpy(pc.string_is_ascii(text)))
        broken = to_numpy(pc.match_substring_regex(text.take(to_arrow(wide)), _MOJIBAKE))
        flags[wide[broken]] += MOJIBAKE
    numbers = {
        "exact": exact,
        # "!" and "--" have no words to compare: they are only equal to themselves.
        "normal": np.where(words.counts > 0, sequences, exact),
        "words": words.counts,
        "length": length - (PAIR in kept),  # the mark between the texts of a pair is no character of theirs
        "row": batch.rows,
        "flags": flags,
    }
    hashes = pa.ListArray.from_arrays(to_arrow(words.starts), to_arrow(words.hashes))
    return numbers, pa.record_batch(list(kept.values()), names=list(kept)), pa.record_batch([hashes], names=["words"])


def _is_empty(cells: pa.Array) -> np.ndarray:
    return to_numpy(pc.utf8_is_space(cells)) | (np.diff(string_bytes(cells)[1]) == 0)
