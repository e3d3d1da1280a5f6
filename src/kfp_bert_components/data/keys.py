"""Hashes of texts: an exact one, which makes the id, and one that case, punctuation and spaces do not change."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

# Stands between the two texts of a pair; not removed by normalising, so that "a|bc" is not "ab|c".
PAIR_MARK = b"\x1e"
_LOWER = bytes(c + 32 if 65 <= c <= 90 else c for c in range(256))
_NOT_ALPHANUMERIC = bytes(c for c in range(128) if not chr(c).isalnum() and c != PAIR_MARK[0])
_HEX = np.frombuffer(b"".join(b"%02x" % c for c in range(256)), np.uint16)


def exact_keys(texts: list[bytes]) -> np.ndarray:
    """XXH3 of each text, uint64 [n]: the same on every machine and in every version."""
    return np.fromiter(map(xxh3_64_intdigest, texts), np.uint64, len(texts))


def normalised_keys(texts: list[bytes], array: pa.Array, exact: np.ndarray) -> np.ndarray:
    """A hash of the letters and digits alone, in lower case and Unicode's compatibility form, uint64 [n].

    Args:
        texts: UTF-8, as bytes.
        array: The same as a string array.
        exact: The exact keys, which stand in for texts without a letter or digit.
    """
    plain = [text.translate(_LOWER, _NOT_ALPHANUMERIC) for text in texts]
    wide = np.flatnonzero(~np.asarray(pc.string_is_ascii(array)))
    if len(wide):
        folded = pc.utf8_lower(pc.utf8_normalize(array.take(pa.array(wide)), "NFKC"))
        kept = pc.replace_substring_regex(folded, r"[^\p{L}\p{N}\p{M}\x1e]+", "")
        for index, text in zip(wide.tolist(), kept.cast(pa.binary()).to_pylist(), strict=True):
            plain[index] = text
    keys = exact_keys(plain)
    bare = np.fromiter((len(text) < 2 for text in plain), bool, len(plain))
    # "!", "?" and "--" have nothing left to compare; of a single letter the punctuation is half of it.
    return np.where(bare, exact, keys)


def ids(keys: np.ndarray) -> pa.Array:
    """The keys as 16 hexadecimal digits each, string [n]."""
    digits = _HEX[keys.astype(">u8").view(np.uint8)]
    offsets = np.arange(0, 16 * (len(keys) + 1), 16, dtype=np.int32)
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(digits))


def spread(keys: np.ndarray, salt: int) -> np.ndarray:
    """A number in [0, 1) for each key, float64 [n]: evenly spread, and independent for each salt (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = keys + np.uint64((0x9E3779B97F4A7C15 * (salt + 1)) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2**53
