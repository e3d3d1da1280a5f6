"""Texts as sequences of hashed words, many rows at once.

A word is a run of letters and digits; case does not matter. Plain ASCII goes through whole buffers byte by byte;
rows with other characters are first brought to Unicode's compatibility form and lower case, and in scripts written
without spaces each character is made a word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

# Letters and digits in lower case, other ASCII as 0; bytes of longer UTF-8 sequences stay.
_TABLE = bytes(
    c + 32 if 65 <= c <= 90 else c if c >= 128 or chr(c).isalnum() else 0 for c in range(256)
)
_PADDING = bytes(8)
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
_ODD1, _ODD2, _ODD3 = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xBF58476D1CE4E5B9))
# Longer words than this are hashed one by one.
_LONG_WORD = 64
_NO_SPACES = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*)"


@dataclass(frozen=True)
class Words:
    """The words of some rows.

    Attributes:
        hashes: One number a word, rows one after the other, uint64 [words].
        starts: Where each row's words start, and the end of the last, int64 [rows + 1].
    """

    hashes: np.ndarray
    starts: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of words of each row, int64 [rows]."""
        return np.diff(self.starts)

    def row_of_word(self) -> np.ndarray:
        """The row of each word, int64 [words]."""
        return np.repeat(np.arange(len(self.starts) - 1), self.counts)

    def bitmaps(self) -> np.ndarray:
        """128 bits a row, in which each word sets one, uint64 [rows, 2].

        Two rows differ in at least as many words as their bitmaps differ in bits.
        """
        found = np.zeros((len(self.starts) - 1, 2), np.uint64)
        filled = np.flatnonzero(self.counts)
        if len(filled):
            bit = np.uint64(1) << (self.hashes & np.uint64(63))
            upper = (self.hashes & np.uint64(64)) > 0
            starts = self.starts[filled]
            found[filled, 0] = np.bitwise_or.reduceat(np.where(upper, np.uint64(0), bit), starts)
            found[filled, 1] = np.bitwise_or.reduceat(np.where(upper, bit, np.uint64(0)), starts)
        return found

    def sequence_keys(self) -> np.ndarray:
        """A hash of each row's words in their order, uint64 [rows]; 0 for a row without words."""
        position = np.arange(len(self.hashes), dtype=np.uint64)
        position -= np.repeat(self.starts[:-1], self.counts).astype(np.uint64)
        with np.errstate(over="ignore"):
            mixed = self.hashes + position * _ODD2
            mixed = _mix(mixed)
            sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
            return sums[self.starts[1:]] - sums[self.starts[:-1]]


def hash_words(texts: pa.StringArray) -> Words:
    """Split texts into words and hash each.

    Args:
        texts: Valid UTF-8 without nulls, string [rows].
    """
    if len(texts) == 0:
        return Words(np.empty(0, np.uint64), np.zeros(1, np.int64))
    folded, offsets = _buffer(_fold(texts))
    # Zeros on both sides: words end there, and eight bytes can be loaded from any place.
    low = np.frombuffer(b"".join((_PADDING, folded, _PADDING)).translate(_TABLE), np.uint8)
    inside = low != 0
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1  # begin, end, begin, end ...
    # Where a row ends in a word and the next begins with one, a word ends and one begins without a change.
    rows = offsets[1:-1] + len(_PADDING)
    touching = np.unique(rows[inside[rows] & inside[rows - 1]])
    if len(touching):
        place = np.repeat(np.searchsorted(edges, touching), 2)
        edges = np.insert(edges, place, np.repeat(touching, 2))
    begin, end = edges[::2], edges[1::2]
    starts = np.searchsorted(begin, offsets + len(_PADDING))
    return Words(_hashes(low, begin, end - begin), starts)


def _fold(texts: pa.StringArray) -> pa.Array:
    """Rows with characters beyond ASCII in a form that the byte table can split."""
    wide = pc.invert(pc.string_is_ascii(texts))
    if not pc.any(wide).as_py():
        return texts
    folded = pc.utf8_lower(pc.utf8_normalize(texts.filter(wide), "NFKC"))
    folded = pc.replace_substring_regex(folded, r"[^\p{L}\p{N}\p{M}]+", " ")
    folded = pc.replace_substring_regex(folded, _NO_SPACES, r"\1 ")
    return pc.replace_with_mask(texts, wide, folded)


def _buffer(texts: pa.Array) -> tuple[bytes, np.ndarray]:
    """The bytes of all rows one after the other, and where each row starts in them."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    _, offsets_buffer, data = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    start, end = int(offsets[0]), int(offsets[-1])
    return (data[start:end].to_pybytes() if data is not None else b""), offsets - start


def _hashes(low: np.ndarray, begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """A hash of each word from eight bytes at a time."""
    loads = np.ndarray((len(low) - 7,), "<u8", low.data, strides=(1,))
    with np.errstate(over="ignore"):
        found = _mix((loads[begin] & _MASKS[np.minimum(length, 8)]) + length.astype(np.uint64) * _ODD1)
        at = 8
        left = np.flatnonzero(length > at)
        while len(left) and at < _LONG_WORD:
            piece = loads[begin[left] + at] & _MASKS[np.minimum(length[left] - at, 8)]
            found[left] = _mix(found[left] * _ODD2 + piece)
            at += 8
            left = left[length[left] > at]
    for index in left.tolist():
        found[index] = xxh3_64_intdigest(low[begin[index] : begin[index] + length[index]].tobytes())
    return found


def _mix(values: np.ndarray) -> np.ndarray:
    """Spread the bits of 64-bit numbers (in place)."""
    values ^= values >> np.uint64(32)
    values *= _ODD3
    values ^= values >> np.uint64(29)
    values *= _ODD1
    values ^= values >> np.uint64(32)
    return values
