"""All rows of a source: their texts, in a file where memory would not do, and a few numbers for each."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_bert_components.data.ids import PAIR_MARK, hash_texts
from kfp_bert_components.data.labels import BLANKS, spelled, spelled_column
from kfp_bert_components.data.settings import LABEL, METADATA, PAIR, PLACE, TEXT
from kfp_bert_components.data.words import Words, hash_words, is_ascii
from kfp_bert_components.errors import UserError
from kfp_bert_components.progress_bar import track
from kfp_bert_components.tables import Batch, Column, FileFacts, TableFile, TableSettings, open_table
from kfp_bert_components.tables.arrow import string_bytes, to_arrow, to_numpy

# Flags of a row.
EMPTY, NO_LABEL, MOJIBAKE = np.uint8(1), np.uint8(2), np.uint8(4)
# More different labels than this is no list of classes.
MOST_LABELS = 10_000
# Rows that are shown of those with one fault.
EXAMPLES = 5
# Bytes of texts and hashes of words that stay in memory; what is beyond goes to a file.
IN_MEMORY = 512 << 20
# The stored column with the hashes of the words.
_WORDS = "words"
# UTF-8 that was read as Windows-1252 or Latin-1, and the mark that stands for what could not be read at all.
_MOJIBAKE = "[\u00c2\u00c3][\u0080-\u00bf\u0192\u201a-\u203a\u20ac]|\u00e2\u20ac|\u00ef\u00bb\u00bf|\ufffd"


@dataclass
class RowExample:
    """A row to show: its file's name, its number in it, what is wrong with it, and how it begins.

    `index` is its index among all rows; -1 for a row that could not be read.
    """

    file: str
    row: int
    reason: str = ""
    excerpt: str = ""
    index: int = -1


class Store:
    """Record batches in their order, written once and read several times; `path` is for those beyond `IN_MEMORY`."""

    def __init__(self, path: Path) -> None:
        self._path, self._room = path, IN_MEMORY
        self._held: list[pa.RecordBatch] = []
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def append(self, batch: pa.RecordBatch) -> None:
        """Add a batch at the end."""
        self._room -= batch.nbytes
        if self._room >= 0:
            self._held.append(batch)
        else:
            self._writer = self._writer or pa.ipc.new_file(str(self._path), batch.schema)
            self._writer.write_batch(batch)

    def close(self) -> None:
        """Nothing more will be added."""
        if self._writer:
            self._writer.close()

    def batches(self, *columns: str) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Those of the columns that there are, batch by batch, each with the index of its first row."""
        start = 0
        for batch in chain(self._held, self._read(columns) if self._writer else ()):
            yield start, batch.select([name for name in batch.schema.names if name in columns])
            start += batch.num_rows

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        # Read, not mapped: mapped pages would count as memory of this process.
        with pa.OSFile(str(self._path)) as file:
            names = pa.ipc.open_file(file).schema.names
            wanted = [index for index, name in enumerate(names) if name in columns]
            reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=wanted))
            yield from map(reader.get_batch, range(reader.num_record_batches))


@dataclass(frozen=True)
class Rows:
    """All rows that are not blank, in the order of their files. Arrays have one element a row.

    Attributes:
        store: Their texts, and the hashes of their words where they were wanted.
        files: What was found out about each file.
        read: Rows of each file, those that could not be read included, blank ones not.
        blank: Lines of all CSV files without anything in their cells.
        unreadable: The rows that could not be read, counted by what is wrong with them.
        mended: The same of rows that were read although something is wrong with them.
        unreadable_examples: The first few of each of these.
        labels: The different labels as they stand in the data.
        places: The different values of the split column, each in one spelling.
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

    store: Store
    files: list[FileFacts]
    read: list[int]
    blank: int
    unreadable: Counter[str]
    mended: Counter[str]
    unreadable_examples: list[RowExample]
    labels: list[str]
    places: list[str]
    exact: np.ndarray
    normal: np.ndarray
    label: np.ndarray
    length: np.ndarray
    words: np.ndarray
    file: np.ndarray
    row: np.ndarray
    flags: np.ndarray
    place: np.ndarray

    def __len__(self) -> int:
        return len(self.exact)

    def example(self, index: int) -> RowExample:
        """A row to show; its excerpt is left empty."""
        return RowExample(self.files[self.file[index]].name, int(self.row[index]), index=index)

    def read_words(self, wanted: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, Words]]:
        """The indices of the wanted rows (bool [rows]; default: all), and their words, batch by batch."""
        for start, batch in self.store.batches(_WORDS):
            words, here = batch[_WORDS], np.arange(batch.num_rows)
            if wanted is not None:
                here = np.flatnonzero(wanted[start : start + batch.num_rows])
                words = words.take(to_arrow(here))
            if len(here):
                yield start + here, Words(to_numpy(words.flatten()), to_numpy(words.offsets))

    def read_texts(self, wanted: np.ndarray) -> dict[int, str]:
        """The texts of some rows (sorted indices) by index; of pairs, both with PAIR_MARK between them."""
        found: dict[int, str] = {}
        for start, batch in self.store.batches(TEXT, PAIR) if len(wanted) else ():
            here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)]
            texts = _joined(batch.take(to_arrow(here - start)).columns).to_pylist()
            found.update(zip(here.tolist(), texts, strict=True))
        return found


def read_rows(
    files: Sequence[TableFile], columns: Sequence[Column], settings: TableSettings, with_words: bool, scratch: Path
) -> Rows:
    """Read the columns of all files, called by the names in `data.settings`.

    Args:
        files: What to read, in this order.
        columns: Which columns.
        settings: How.
        with_words: Whether to keep the hashes of the words.
        scratch: A file that may be written, for what does not fit into memory.

    Raises:
        UserError: A file is not a table or lacks a column, or there is no row, or the label column can't be one.
    """
    labels, places = dict[str, int](), dict[str, int]()
    numbers: list[dict[str, np.ndarray]] = []
    facts, read, blank, examples = [], [], 0, list[RowExample]()
    unreadable, mended = Counter[str](), Counter[str]()
    store = Store(scratch)
    with track(None, "reading", "rows", every=2) as bar:
        for number, file in enumerate(files):
            found, batches = open_table(file, columns, settings)
            facts.append(found)
            read.append(0)
            for batch in batches:
                for counts, faults in ((unreadable, batch.faults), (mended, batch.mended)):
                    for fault in faults:
                        counts[fault.reason] += 1
                        if counts[fault.reason] <= EXAMPLES:
                            examples.append(RowExample(file.name, fault.row, fault.reason, shorten(fault.excerpt, 100)))
                filled = batch.take(np.flatnonzero(~np.isin(batch.rows, batch.blank)))
                blank += len(batch.rows) - len(filled.rows)
                read[-1] += len(filled.rows) + len(batch.faults)
                bar.update(len(batch.rows))
                made, texts = _describe(filled, with_words)
                made["file"] = np.full(len(filled.rows), number, np.int32)
                made["label"] = _number(filled.cells[LABEL], labels)
                made["place"] = _place(filled, places)
                numbers.append(made)
                store.append(texts)
                if len(labels) > MOST_LABELS:
                    asked = next(column.asked for column in columns if column.name == LABEL)
                    raise UserError(
                        f"label_column {asked!r} has more than {MOST_LABELS:,} different values: it does not look like "
                        "a label; set label_column to the right column."
                    )
    store.close()
    if not sum(read):
        names = ", ".join(file.name for file in files[:3])
        raise UserError(f"There is not one row of data in {names}: check the source and its first row.")
    # Parts are freed one by one.
    arrays: dict[str, Any] = {name: np.concatenate([part.pop(name) for part in numbers]) for name in list(numbers[0])}
    return Rows(store, facts, read, blank, unreadable, mended, examples, list(labels), list(places), **arrays)


def shorten(text: str, length: int) -> str:
    """A text on one line, cut to a length, with unprintable characters shown as "·"."""
    line = "".join(c if c.isprintable() else "·" for c in text[: length + 1])
    return line if len(line) <= length else line[: length - 1] + "…"


def _number(column: pa.Array, known: dict[str, int], spell: Callable[[str], str] = str) -> np.ndarray:
    """A number for each different value, spelled so, over all batches, int32 [rows]."""
    coded = pc.dictionary_encode(pc.utf8_trim_whitespace(column))
    numbers = [known.setdefault(spell(value), len(known)) for value in coded.dictionary.to_pylist()]
    return np.array(numbers, np.int32)[to_numpy(coded.indices)]


def _place(batch: Batch, places: dict[str, int]) -> np.ndarray:
    if PLACE in batch.cells:
        return _number(batch.cells[PLACE], places, spelled)
    return np.zeros(len(batch.rows), np.int32)


def _describe(batch: Batch, with_words: bool) -> tuple[dict[str, np.ndarray], pa.RecordBatch]:
    """What is kept in memory of each row, and what is stored."""
    kept = {name: spelled_column(cells) if name.startswith(METADATA) else cells for name, cells in batch.cells.items()}
    label = kept.pop(LABEL)
    kept.pop(PLACE, None)
    sides = [kept[name] for name in (TEXT, PAIR) if name in kept]
    text = _joined(sides)
    exact, (words, sequences) = hash_texts(text), hash_words(text)
    empty = np.logical_or.reduce([_is_empty(side) for side in sides])
    flags = EMPTY * empty + NO_LABEL * _is_empty(label)
    length = np.diff(string_bytes(text)[1])
    if not is_ascii(text):
        length = to_numpy(pc.utf8_length(text))
        wide = np.flatnonzero(~to_numpy(pc.string_is_ascii(text)))
        flags[wide] += MOJIBAKE * to_numpy(pc.match_substring_regex(text.take(to_arrow(wide)), _MOJIBAKE))
    numbers = {
        "exact": exact,
        "normal": sequences,
        "words": words.counts,
        "length": length - (PAIR in kept),  # the mark between the texts of a pair is no character of theirs
        "row": batch.rows,
        "flags": flags,
    }
    if with_words:
        kept[_WORDS] = pa.ListArray.from_arrays(to_arrow(words.starts), to_arrow(words.hashes))
    return numbers, pa.record_batch(list(kept.values()), names=list(kept))


def _joined(columns: Sequence[pa.Array]) -> pa.Array:
    """One text a row: the only one, or both of a pair with PAIR_MARK between them."""
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, PAIR_MARK)


def _is_empty(cells: pa.Array) -> np.ndarray:
    """Whether each cell has nothing that shows: white space and zero-width characters at most."""
    return ~to_numpy(pc.match_substring_regex(cells, f"[^{BLANKS}]"))
