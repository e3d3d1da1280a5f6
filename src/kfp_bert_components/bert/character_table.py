"""What a tokenizer makes of every single character, found by asking the tokenizer itself."""

import functools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from kfp_bert_components.errors import UserError

SELF, NOTHING = -1, -2  # in a row of the table: the character itself; the row ends here
BLOCK = 128  # code points in a block; a power of two
_ASKED = 512  # code points of which the tokenizer is asked at once
_LAST = 0x110000


@dataclass(frozen=True)
class CharacterTable:
    """The code points that replace a code point c: `rows[blocks[index[c // BLOCK], c % BLOCK]]`.

    The two steps keep it small: many blocks of code points are equal, and many characters share a row.

    Attributes:
        index: Number of the block for each BLOCK code points, int32.
        blocks: Number of the row for each code point of a block, int32 [blocks, BLOCK].
        rows: Code points that replace a character, int32 [rows, most code points], filled up with NOTHING. SELF stands
            for the character itself. Words are separated by spaces.
    """

    index: np.ndarray
    blocks: np.ndarray
    rows: np.ndarray


def character_table(tokenizer: Any) -> CharacterTable:
    """The table of a transformers tokenizer with a BERT normalizer and pre-tokenizer.

    Both treat each character on its own, with one exception: where accents are stripped, neighbouring combining
    characters are first put in canonical order, and a few of them are not stripped. Their order matters only where the
    vocabulary holds at least two of them.

    Raises:
        UserError: The vocabulary holds two such characters.
    """
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    _refuse_reordered(tokenizer)
    return _table(json.dumps(parts["normalizer"]), json.dumps(parts["pre_tokenizer"]))


@functools.lru_cache(maxsize=8)
def _table(normalizer: str, pre_tokenizer: str) -> CharacterTable:
    backend = _backend(normalizer, pre_tokenizer)
    numbers: dict[tuple[int, ...], int] = {(): 0}
    of_character = np.zeros(_LAST, np.int32)
    pre_tokenized = functools.cache(lambda character: _pre_tokenized(backend, character))
    for start in range(0, _LAST, _ASKED):
        codes = _codes(start, _ASKED)
        if _unchanged(backend, codes):  # as most of Unicode is
            of_character[codes] = numbers.setdefault((SELF,), len(numbers))
            continue
        for code, text in zip(codes, _normalized(backend, codes), strict=True):
            new = "".join(map(pre_tokenized, text))
            row = tuple([SELF if ord(c) == code else ord(c) for c in new])
            of_character[code] = numbers.setdefault(row, len(numbers))
    rows = np.full((len(numbers), max(map(len, numbers))), NOTHING, np.int32)
    for row, number in numbers.items():
        rows[number, : len(row)] = row
    blocks, index = np.unique(of_character.reshape(-1, BLOCK), axis=0, return_inverse=True)
    return CharacterTable(index.reshape(-1).astype(np.int32), blocks.astype(np.int32), rows)


def _refuse_reordered(tokenizer: Any) -> None:
    normalizer = tokenizer.backend_tokenizer.normalizer
    characters = sorted(set("".join(tokenizer.get_vocab())))

    def moves(character: str) -> bool:
        # it changes places with a combining character of a high or of a low class that is not stripped
        around = (f"\U0001d16d{character}", f"{character}\U00016ff0")
        return any(normalizer.normalize_str(text) == text[::-1] != text for text in around)

    moved = [character for character in characters if normalizer is not None and moves(character)]
    if len(moved) > 1:
        names = ", ".join(f"U+{ord(character):04X}" for character in moved)
        raise UserError(
            f"the vocabulary holds combining characters whose order changes as accents are stripped "
            f"({names}): use a tokenizer with strip_accents=false, or a vocabulary with at most one of them"
        )


def _backend(normalizer: str, pre_tokenizer: str) -> Any:
    from tokenizers import Tokenizer, models

    empty = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")).to_str()
    return Tokenizer.from_str(
        empty.replace('"normalizer":null', f'"normalizer":{normalizer}').replace(
            '"pre_tokenizer":null', f'"pre_tokenizer":{pre_tokenizer}'
        )
    )


def _codes(start: int, count: int) -> list[int]:
    """Code points of characters: half of a surrogate pair is none."""
    return [code for code in range(start, start + count) if not 0xD800 <= code < 0xE000]


def _unchanged(backend: Any, codes: list[int]) -> bool:
    """Whether the tokenizer leaves all of these characters as they are."""
    text = "a".join(map(chr, codes))
    same = backend.normalizer is None or backend.normalizer.normalize_str(text) == text
    return same and _pre_tokenized(backend, text) == text


def _normalized(backend: Any, codes: list[int]) -> list[str]:
    """What the normalizer makes of each character, asked for in one call: the digit 0 separates them."""
    if backend.normalizer is None or not codes:
        return [chr(code) for code in codes]
    zero = ord("0")
    text = "0" + "0".join(chr(code) if code != zero else "" for code in codes) + "0"
    parts = backend.normalizer.normalize_str(text).split("0")[1:-1]
    return ["0" if code == zero else part for code, part in zip(codes, parts, strict=True)]


def _pre_tokenized(backend: Any, character: str) -> str:
    """What the pre-tokenizer makes of a character: the same, a space, or the character between spaces."""
    if backend.pre_tokenizer is None:
        return character
    words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(f"a{character}a")]
    if words == [f"a{character}a"]:
        return character
    return " " if words == ["a", "a"] else f" {character} "
