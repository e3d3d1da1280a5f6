"""The first pass: texts into the spool, and a few numbers for each row into memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_bert_components.data.ahead import ahead
from kfp_bert_components.data.arrow import bytes_of, strings, to_arrow, to_numpy
from kfp_bert_components.data.digests import digest
from kfp_bert_components.data.keys import PAIR_MARK
from kfp_bert_components.data.near import Piles
from kfp_bert_components.data.settings import METADATA, PrepareSettings
from kfp_bert_components.data.spool import Spool
from kfp_bert_components.data.words import is_ascii
from kfp_bert_components.data.xxh3 import xxh3
from kfp_bert_components.errors import UserError
from kfp_bert_components.progress import track
from kfp_bert_components.tables.chunks import Chunk, Faults, FileFacts

# Flags of a row.
EMPTY, BLANK, NO_LABEL, MOJIBAKE = 1, 2, 4, 8
# More different labels than this is no list of classes.
MOST_LABELS = 10_000
# Chunks that are held: as many as can be read while the compiled loops are loaded.
MOST_CHUNKS = 24
# UTF-8 that was read as Windows-1252 or Latin-1, and the mark that stands for what could not be read at all.
_MOJIBAKE = "[\u00c2\u00c3][\u0080-\u00bf\u0192\u201a-\u203a\u20ac]|\u00e2\u20ac|\u00ef\u00bb\u00bf|\ufffd"
_COLUMNS = {
    "exact": np.uint64,
    "normal": np.uint64,
    "label": np.int32,
    "length": np.int32,
    "words": np.int32,
    "bitmaps": np.uint64,
    "file": np.int32,
    "row": np.int64,
    "flags": np.uint8,
    "place": np.int32,
}


@dataclass
class Rows:
    """Numbers of all rows, in the order of the spool, each an array [rows].

    Attributes:
        exact: Hash of the text (and its pair).
        normal: Hash of its words in their order, without case and punctuation.
        label: Index into `labels`.
        length: Characters.
        words: Words.
        bitmaps: Bits of the words, for the search for near duplicates, [rows, 2]; empty without it.
        file: Number of the file.
        row: Row in its file.
        flags: EMPTY, BLANK, NO_LABEL, MOJIBAKE.
        place: Index into `places` with split_by column or group, else 0.
        labels: The different labels as they stand in the data.
        places: The different values of the split column.
        texts: The texts themselves: columns text and text_pair, the metadata columns by their roles, and near, the
            keys of the search for near duplicates.
        pair: Whether there are second texts.
    """

    texts: Spool
    pair: bool
    labels: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    exact: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    normal: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    label: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    length: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    words: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    bitmaps: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.uint64))
    file: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    row: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    flags: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    place: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.exact)


def gather(
    chunks: Iterator[Chunk], spool: Spool, settings: PrepareSettings, facts: list[FileFacts], faults: Faults
) -> Rows:
    """Take in all chunks.

    Args:
        chunks: What the readers yield.
        spool: Gets the texts.
        settings: Columns and policies.
        facts: The files, for their names.
        faults: Gets the rows whose bytes can't be decoded.

    Raises:
        UserError: The label column has too many different values to be one.
    """
    rows = Rows(spool, bool(settings.pair_column))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
    labels, places = _Numbers(), _Numbers()
    piles = Piles(settings.near_duplicates) if settings.near_duplicates else None
    decoded = (_decoded(chunk, facts[chunk.file].name, faults, settings.unreadable == "keep") for chunk in chunks)
    full = (chunk for chunk in decoded if len(chunk.rows))
    with ThreadPoolExecutor(1) as pool, track(None, "reading", "rows", every=2) as bar:
        # The compiled loops take half a second to load: meanwhile the first file is looked through.
        pool.submit(digest, strings(["some words"]), piles)
        for chunk, (numbers, batch) in ahead(lambda chunk: _numbers(chunk, piles), full, MOST_CHUNKS):
            numbers["label"] = labels.of(chunk.cells["label"])
            numbers["place"] = places.of(chunk.cells["split"]) if "split" in chunk.cells else np.zeros(len(chunk.rows))
            for name, values in numbers.items():
                parts[name].append(values.astype(_COLUMNS[name], copy=False))
            spool.append(batch)
            if len(labels.values) > MOST_LABELS:
                raise UserError(
                    f"label_column {settings.label_column!r} has more than {MOST_LABELS:,} different values: "
                    "it does not look like a label; set label_column to the right column."
                )
            bar.update(len(chunk.rows))
    spool.close()
    for name in list(parts):
        arrays = parts.pop(name)  # freed one by one, for the sake of memory
        if arrays:
            setattr(rows, name, np.concatenate(arrays))
    rows.labels, rows.places = labels.values, places.values
    return rows


class _Numbers:
    """Gives each different value a number, over all chunks."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self._numbers: dict[str, int] = {}

    def of(self, column: pa.Array) -> np.ndarray:
        coded = pc.dictionary_encode(pc.utf8_trim_whitespace(column))
        known = []
        for value in coded.dictionary.to_pylist():
            if value not in self._numbers:
                self._numbers[value] = len(self.values)
                self.values.append(value)
            known.append(self._numbers[value])
        return np.array(known, np.int32)[to_numpy(coded.indices)] if known else np.empty(0, np.int32)


def _numbers(chunk: Chunk, piles: Piles | None) -> tuple[dict[str, np.ndarray], pa.RecordBatch]:
    """The numbers of the rows that need nothing but their texts, and the batch for the spool."""
    texts = {"text": chunk.cells["text"]}
    joined = chunk.cells["text"]
    if "pair" in chunk.cells:
        texts["text_pair"] = chunk.cells["pair"]
        joined = pc.binary_join_element_wise(joined, chunk.cells["pair"], PAIR_MARK.decode())
    plain = is_ascii(joined)
    length = np.diff(bytes_of(joined)[1]) if plain else to_numpy(pc.utf8_length(joined))
    texts |= {role: cells for role, cells in chunk.cells.items() if role.startswith(METADATA)}
    exact = xxh3(*bytes_of(joined))
    found = digest(joined, piles)
    numbers = {
        "exact": exact,
        # "!" and "--" have no words to compare: they are only equal to themselves.
        "normal": np.where(found.counts > 0, found.sequences, exact),
        # The mark between the texts of a pair is no character of theirs.
        "words": found.counts,
        "length": length - ("pair" in chunk.cells),
        "file": np.full(len(joined), chunk.file),
        "row": chunk.rows,
        "flags": _flags(chunk, joined, plain),
    }
    if piles:
        numbers["bitmaps"] = found.bitmaps
        texts["near"] = pa.ListArray.from_arrays(to_arrow(found.key_starts), to_arrow(found.keys))
    return numbers, pa.record_batch(list(texts.values()), names=list(texts))


def _flags(chunk: Chunk, joined: pa.Array, plain: bool) -> np.ndarray:
    empty = _is_empty(chunk.cells["text"])
    if "pair" in chunk.cells:
        empty |= _is_empty(chunk.cells["pair"])
    no_label = _is_empty(chunk.cells["label"])
    flags = np.where(empty, EMPTY, 0) | np.where(no_label, NO_LABEL, 0)
    blank = np.ones(len(empty), bool)
    for cells in chunk.cells.values():
        blank &= np.diff(bytes_of(cells)[1]) == 0
    flags |= np.where(blank, BLANK, 0)
    if not plain:
        wide = np.flatnonzero(~to_numpy(pc.string_is_ascii(joined)))
        broken = to_numpy(pc.match_substring_regex(joined.take(to_arrow(wide)), _MOJIBAKE))
        flags[wide[broken]] |= MOJIBAKE
    return flags.astype(np.uint8)


def _is_empty(cells: pa.Array) -> np.ndarray:
    return to_numpy(pc.utf8_is_space(cells)) | (np.diff(bytes_of(cells)[1]) == 0)


def _decoded(chunk: Chunk, name: str, faults: Faults, keep: bool) -> Chunk:
    """The chunk with strings for bytes; rows whose bytes are not UTF-8 are faults, or are mended where `keep`."""
    cells = {role: pc.fill_null(values, b"") if values.null_count else values for role, values in chunk.cells.items()}
    try:
        return Chunk(chunk.file, chunk.rows, {role: values.cast(pa.string()) for role, values in cells.items()})
    except pa.ArrowInvalid:
        pass
    good = np.ones(len(chunk.rows), bool)
    mended = {}
    for role, values in cells.items():
        texts = [value.decode("utf-8", "replace") for value in values.to_pylist()]
        for index, (text, value) in enumerate(zip(texts, values.to_pylist(), strict=True)):
            if "\ufffd" in text and good[index] and not keep and not _is_utf8(value):
                good[index] = False
                faults.add(name, int(chunk.rows[index]), "the row has bytes that are not UTF-8", value)
        mended[role] = pa.array(texts, pa.string())
    mask = pa.array(good)
    return Chunk(chunk.file, chunk.rows[good], {role: values.filter(mask) for role, values in mended.items()})


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
