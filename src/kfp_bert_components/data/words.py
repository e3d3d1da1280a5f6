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

from kfp_bert_components.data.arrow import bytes_of
from kfp_bert_components.data.compiled import compiled, mix

# Letters and digits in lower case, other ASCII as 0; bytes of longer UTF-8 sequences stay.
TABLE = np.array([c + 32 if 65 <= c <= 90 else c if c >= 128 or chr(c).isalnum() else 0 for c in range(256)], np.uint8)
_NO_SPACES = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*)"
# FNV-1a: Fowler, Noll, Vo, Eastlake: The FNV non-cryptographic hash algorithm (RFC 9923).
_FNV_BASIS, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Words:
    """The words of some rows.

    Attributes:
        hashes: One number a word, rows one after the other, uint64 [words].
        starts: Where each row's words start, and the end of the last, int64 [rows + 1].
        sequences: A hash of each row's words in their order, uint64 [rows]; 0 for a row without words.
    """

    hashes: np.ndarray
    starts: np.ndarray
    sequences: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of words of each row, int64 [rows]."""
        return np.diff(self.starts)


def hash_words(texts: pa.StringArray) -> Words:
    """Split texts into words and hash each.

    Args:
        texts: Valid UTF-8 without nulls, string [rows].
    """
    return Words(*_hash_words(*bytes_of(fold(texts)), TABLE))


def is_ascii(texts: pa.Array) -> bool:
    """Whether no text has a character beyond ASCII; one quick look at all their bytes."""
    data, starts = bytes_of(texts)
    return bool(data[starts[0] : starts[-1]].view(np.int8).min(initial=0) >= 0)


def fold(texts: pa.StringArray) -> pa.Array:
    """Rows with characters beyond ASCII in a form that the byte table can split."""
    if is_ascii(texts):
        return texts
    wide = pc.invert(pc.string_is_ascii(texts))
    folded = pc.utf8_lower(pc.utf8_normalize(texts.filter(wide), "NFKC"))
    folded = pc.replace_substring_regex(folded, r"[^\p{L}\p{N}\p{M}]+", " ")
    folded = pc.replace_substring_regex(folded, _NO_SPACES, r"\1 ")
    return pc.replace_with_mask(texts, wide, folded)


@compiled
def _hash_words(text: np.ndarray, offsets: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FNV-1a of each word, where each row's words start, and the hash of each row's sequence of words."""
    rows = len(offsets) - 1
    hashes = np.empty((offsets[rows] - offsets[0]) // 2 + rows, np.uint64)  # a word and its end are two bytes or more
    starts, sequences = np.empty(rows + 1, np.int64), np.empty(rows, np.uint64)
    starts[0] = 0
    for row in range(rows):
        starts[row + 1], sequences[row] = hash_row(text, offsets[row], offsets[row + 1], table, hashes, starts[row])
    return hashes[: starts[rows]], starts, sequences


@compiled
def hash_row(
    text: np.ndarray, start: int, end: int, table: np.ndarray, hashes: np.ndarray, words: int
) -> tuple[int, int]:
    """Write the hashes of one row's words from the place `words` on; their end, and the hash of their sequence."""
    word, sequence = _FNV_BASIS, np.uint64(0)
    # Unsigned, a place needs no check for being counted from the end.
    for place in range(np.uint64(start), np.uint64(end)):
        letter = table[text[place]]
        if letter:
            word = (word ^ np.uint64(letter)) * _FNV_PRIME
        elif word != _FNV_BASIS:
            hashes[words] = mix(word)
            sequence = mix(sequence * _ODD + hashes[words])
            words += 1
            word = _FNV_BASIS
    if word != _FNV_BASIS:
        hashes[words] = mix(word)
        sequence = mix(sequence * _ODD + hashes[words])
        words += 1
    return words, sequence
