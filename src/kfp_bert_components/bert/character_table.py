"""What a tokenizer makes of every single character, read off the tokenizer itself."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

SELF, NOTHING = -1, -2  # in a row: the character itself; end of the row
_LAST, _BLOCK = 0x110000, 128


@dataclass(frozen=True)
class CharacterTable:
    """Maps a code point c to what becomes of it: `rows[blocks[index[c // 128], c % 128]]`.

    Attributes:
        index: Block number of every 128 code points.
        blocks: Row numbers, [blocks, 128].
        rows: Code points that replace a character, [rows, most], filled with NOTHING; SELF stands for the
            character itself, and a space parts words.
    """

    index: np.ndarray
    blocks: np.ndarray
    rows: np.ndarray


def character_table(tokenizer: Any) -> CharacterTable:
    """Read the table off a transformers tokenizer with a BERT normalizer and pre-tokenizer.

    Both work on one character at a time, but for one thing: stripping accents puts neighbouring combining
    characters in canonical order first. `order_matters` tells whether a vocabulary could notice.
    """
    import json

    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    return _table(json.dumps(parts["normalizer"]), json.dumps(parts["pre_tokenizer"]))


@functools.lru_cache(maxsize=8)
def _table(normalizer: str, pre_tokenizer: str) -> CharacterTable:
    backend = _backend(normalizer, pre_tokenizer)
    numbers: dict[tuple[int, ...], int] = {}
    of_character = np.zeros(_LAST, np.int32)
    parted = functools.cache(lambda character: _parted(backend, character))
    for start in range(0, _LAST, 4096):
        codes = [c for c in range(start, start + 4096) if not 0xD800 <= c < 0xE000]
        for code, text in zip(codes, _normalized(backend, codes), strict=True):
            new = "".join(map(parted, text))
            row = tuple([SELF if ord(c) == code else ord(c) for c in new]) if new else ()
            of_character[code] = numbers.setdefault(row, len(numbers))
    rows = np.full((len(numbers), max(map(len, numbers))), NOTHING, np.int32)
    for row, number in numbers.items():
        rows[number, : len(row)] = row
    blocks, index = np.unique(of_character.reshape(-1, _BLOCK), axis=0, return_inverse=True)
    return CharacterTable(index.reshape(-1).astype(np.int32), blocks.astype(np.int32), rows)


def _backend(normalizer: str, pre_tokenizer: str) -> Any:
    from tokenizers import Tokenizer, models

    empty = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")).to_str()
    return Tokenizer.from_str(
        empty.replace('"normalizer":null', f'"normalizer":{normalizer}').replace(
            '"pre_tokenizer":null', f'"pre_tokenizer":{pre_tokenizer}'
        )
    )


def _normalized(backend: Any, codes: list[int]) -> list[str]:
    """What the normalizer makes of each character, found in one call: zeros stand between them."""
    if backend.normalizer is None:
        return [chr(code) for code in codes]
    if not codes:
        return []
    zero = ord("0")
    text = "0" + "0".join(chr(code) if code != zero else "" for code in codes) + "0"
    parts = backend.normalizer.normalize_str(text).split("0")[1:-1]
    return ["0" if code == zero else part for code, part in zip(codes, parts, strict=True)]


def _parted(backend: Any, character: str) -> str:
    """The character as the pre-tokenizer treats it: kept, a space, or itself between spaces."""
    if backend.pre_tokenizer is None:
        return character
    words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(f"a{character}a")]
    if words == [f"a{character}a"]:
        return character
    return " " if words == ["a", "a"] else f" {character} "
