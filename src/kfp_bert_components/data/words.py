"""Texts as sequences of hashed words, many rows at once.

A word is a run of letters and digits; case does not matter. Plain ASCII goes through whole buffers byte by byte;
rows with other characters are first brought to Unicode's compatibility form and folded case, without characters that
show nothing, and in scripts written without spaces each character is made a word.
"""

import contextlib
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_bert_components.data.ids import hash_texts
from kfp_bert_components.data.labels import BLANKS
from kfp_bert_components.tables.arrow import string_bytes, strings, to_arrow

# Letters and digits in lower case, other ASCII as 0; bytes of longer UTF-8 sequences stay.
TABLE = np.array([c + 32 if 65 <= c <= 90 else c if c >= 128 or chr(c).isalnum() else 0 for c in range(256)], np.uint8)
_NO_SPACES = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*)"
# What shows nothing inside of a word, such as a soft hyphen or a zero-width joiner: Unicode's
# Default_Ignorable_Code_Point. The zero-width space (U+200B) is none of them: it stands between words.
_IGNORED = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Letters that are in lower case and have yet another folded form, such as "ss" for the German sharp s; none of them is
# beyond U+2000 in the compatibility form. Cherokee folds to upper case: that would be a second form.
_FOLDS = {
    chr(code): chr(code).casefold()
    for code in range(128, 0x2000)
    if chr(code).lower() == chr(code) != chr(code).casefold() and chr(code).casefold().lower() != chr(code)
}
_REPLACED = re.compile(f"[{_IGNORED}{''.join(_FOLDS)}]")
# Rows that need more than lower case, also because a mark may have become one character with a folded letter.
_UNUSUAL = f"[{_IGNORED}{''.join(_FOLDS)}\u0300-\u036f]"
# FNV-1a: Fowler, Noll, Vo, Eastlake: The FNV non-cryptographic hash algorithm (RFC 9923).
_FNV_BASIS, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
# An odd number without a pattern in its bits (2^64 over the golden ratio).
ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Words:
    """The words of some rows.

    Attributes:
        hashes: One number a word, rows one after the other, uint32 [words].
        starts: Where each row's words start, and the end of the last, int32 [rows + 1].
    """

    hashes: np.ndarray
    starts: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of words of each row, int32 [rows]."""
        return np.diff(self.starts)


def _bring_compiled() -> None:
    """Copy compiled loops from KFP_BERT_COMPILED, which an image sets, to NUMBA_CACHE_DIR.

    Numba only reads what it kept in a folder that it can write to, and an image may be read-only.
    """
    brought, kept = os.environ.get("KFP_BERT_COMPILED"), os.environ.get("NUMBA_CACHE_DIR")
    if not brought or not kept or os.path.exists(kept):
        return
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=os.path.dirname(kept)) as scratch:
        # In one step: another process may do the same.
        os.rename(shutil.copytree(brought, os.path.join(scratch, "numba")), kept)


def compiled(function: Callable) -> Callable:
    """Compile a function to machine code at its first call, and keep it for other processes where there is a folder."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no such folder
        return numba.njit(nogil=True)(function)


_bring_compiled()


@compiled
def mix(value: int) -> int:
    """Spread the bits of a 64-bit number (the finalizer of MurmurHash3)."""
    value ^= value >> 33
    value *= 0xFF51AFD7ED558CCD
    value ^= value >> 33
    value *= 0xC4CEB9FE1A85EC53
    return value ^ value >> 33


def hash_words(texts: pa.Array) -> tuple[Words, np.ndarray]:
    """Split texts (valid UTF-8 without nulls) into words and hash each.

    Returns the words, and a hash of each row's words in their order, uint64 [rows]. A row without words, such as "!"
    or "--", has the hash of its text, whatever its spaces and Unicode form.
    """
    hashes, starts, sequences = _hash_words(*string_bytes(_fold(texts)), TABLE)
    words = Words(hashes, starts)
    if len(bare := np.flatnonzero(words.counts == 0)):
        folded = pc.utf8_normalize(texts.take(to_arrow(bare)), "NFKC")
        folded = pc.replace_substring_regex(folded, f"[{BLANKS}]+", " ")
        sequences[bare] = hash_texts(pc.utf8_trim(folded, " "))
    return words, sequences


def is_ascii(texts: pa.Array) -> bool:
    """Whether no text has a character beyond ASCII; one quick look at all their bytes."""
    data, starts = string_bytes(texts)
    return bool(data[starts[0] : starts[-1]].view(np.int8).min(initial=0) >= 0)


def _fold(texts: pa.Array) -> pa.Array:
    """Rows with characters beyond ASCII in a form that the byte table can split."""
    if is_ascii(texts):
        return texts
    wide = pc.invert(pc.string_is_ascii(texts))
    folded = pc.utf8_lower(pc.utf8_normalize(texts.filter(wide), "NFKC"))
    unusual = pc.match_substring_regex(folded, _UNUSUAL)
    if some := folded.filter(unusual).to_pylist():
        folded = pc.replace_with_mask(folded, unusual, strings([_fold_fully(text) for text in some]))
    folded = pc.replace_substring_regex(folded, r"[^\p{L}\p{N}\p{M}]+", " ")
    folded = pc.replace_substring_regex(folded, _NO_SPACES, r"\1 ")
    return pc.replace_with_mask(texts, wide, folded)


def _fold_fully(text: str) -> str:
    """A text in lower case with its case folded, whatever becomes of a letter, and without what shows nothing."""
    folded = _REPLACED.sub(lambda found: _FOLDS.get(found[0], ""), text)
    return unicodedata.normalize("NFKC", folded.replace("i\u0307", "i"))  # of the Turkish capital I with a dot


@compiled
def _hash_words(text: np.ndarray, offsets: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The upper half of the mixed FNV-1a of each word, where each row's words start, and its sequence's hash."""
    rows = len(offsets) - 1
    hashes = np.empty((offsets[rows] - offsets[0]) // 2 + rows, np.uint32)  # a word and its end are two bytes or more
    starts, sequences = np.empty(rows + 1, np.int32), np.empty(rows, np.uint64)
    words = starts[0] = 0
    for row in range(rows):
        word, sequence = _FNV_BASIS, np.uint64(0)
        # One step beyond the row ends its last word. Unsigned, a place needs no check for counting from the end.
        end = np.uint64(offsets[row + 1])
        for place in range(np.uint64(offsets[row]), end + np.uint64(1)):
            letter = table[text[place]] if place < end else np.uint8(0)
            if letter:
                word = (word ^ np.uint64(letter)) * _FNV_PRIME
            elif word != _FNV_BASIS:
                mixed = mix(word)
                hashes[words] = mixed >> np.uint64(32)
                sequence = mix(sequence * ODD + mixed)
                words += 1
                word = _FNV_BASIS
        starts[row + 1], sequences[row] = words, sequence
    return hashes[:words].copy(), starts, sequences
