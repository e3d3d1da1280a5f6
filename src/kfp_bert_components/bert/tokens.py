"""Token ids of texts by the `tokenizers` package alone: what training, export and the server have in common."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kfp_bert_components.errors import UserError

TRUNCATIONS = ("head", "head_tail")


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, without padding.

    Attributes:
        input_ids: One list of ids for each text, special tokens included.
        token_type_ids: Lists of the same lengths: 1 for the second text of a pair and the separator after it, else 0.
        lengths: Number of tokens of each text before truncation, special tokens included.
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    lengths: list[int]


@contextmanager
def without_panics() -> Iterator[None]:
    """Make an error of a panic of `tokenizers`, with which it ends where a file holds what it does not check.

    As Python sees it a panic is no `Exception`, so it would end a thread, and a step without a sentence.

    Raises:
        ValueError: There was a panic.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a class that can't be imported
            raise
        raise ValueError(str(error)) from error


def plain_backend(backend: Any) -> Any:
    """A copy of a `tokenizers.Tokenizer` that neither cuts nor pads, and reads text such as "[SEP]" as text."""
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


def encode(
    backend: Any,
    marks: tuple[int, int],
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    max_length: int,
    truncation: str = "head",
) -> Tokens:
    """Token ids of texts or pairs of texts. Text such as "[SEP]" is tokenized as text, not as a special token.

    Args:
        backend: From `plain_backend`.
        marks: Ids of the first token of every text, and of the one that ends it.
        texts: The (first) texts.
        pairs: The second texts, or None.
        max_length: Most tokens in a sequence, special tokens included; of a pair the longer text is cut first.
        truncation: Which part of a long text stays: "head", the first tokens, or "head_tail", a quarter from
            its head and the rest from its tail (Sun et al. 2019, arXiv:1905.05583).

    Returns:
        The ids; with "head" those that transformers gives with `truncation=True, split_special_tokens=True`.

    Raises:
        UserError: `truncation` is neither, or the tokenizer fails on a text.
    """
    if truncation not in TRUNCATIONS:
        raise UserError(f"truncation is {truncation!r}: choose one of {', '.join(TRUNCATIONS)}")

    def ids_of(batch: Sequence[str]) -> list[list[int]]:
        try:
            with without_panics():
                return [encoding.ids for encoding in backend.encode_batch(list(batch), add_special_tokens=False)]
        except ValueError as error:
            raise UserError(f"the tokenizer fails on a text ({error}): its tokenizer.json is damaged") from error

    cls, sep = marks
    if pairs is None:
        ids = [(first, keep(first, max_length - 2, truncation)) for first in ids_of(texts)]
        return Tokens(
            [[cls, *kept, sep] for _, kept in ids],
            [[0] * (len(kept) + 2) for _, kept in ids],
            [len(whole) + 2 for whole, _ in ids],
        )
    tokens = Tokens([], [], [])
    for first, second in zip(ids_of(texts), ids_of(pairs), strict=True):
        room = share(len(first), len(second), max_length - 3)
        a, b = keep(first, room[0], truncation), keep(second, room[1], truncation)
        tokens.input_ids.append([cls, *a, sep, *b, sep])
        tokens.token_type_ids.append([0] * (len(a) + 2) + [1] * (len(b) + 1))
        tokens.lengths.append(len(first) + len(second) + 3)
    return tokens


def keep(ids: list[int], room: int, truncation: str) -> list[int]:
    """The ids of one text that stay where there is room for `room` of them; see `encode` for `truncation`."""
    if len(ids) <= room:
        return ids
    head = room // 4 if truncation == "head_tail" else room
    return ids[:head] + ids[len(ids) - (room - head) :]


def share(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens each text of a pair keeps where there is room for `room` tokens: the longer one is cut first.

    The same as transformers' `longest_first`.

    Args:
        first: Tokens of the first text.
        second: Tokens of the second text.
        room: Tokens for both together.
    """
    if first + second <= room:
        return first, second
    short = min(first, second)
    if short * 2 > room:
        half, rest = room // 2, room - room // 2
        return (half, rest) if first <= second else (rest, half)
    return (short, room - short) if first <= second else (room - short, short)
