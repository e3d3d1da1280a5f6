"""A small description of a training set, and how far another one has moved away from it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from xxhash import xxh3_64_hexdigest

from kfp_bert_components.errors import UserError
from kfp_bert_components.records import build, dump_record, load_record
from kfp_bert_components.validation import checked_dataclass

NAME = "data_profile.json"
FORMAT = 2  # format 1 does not know what was fetched
# Texts that the vocabulary is counted on, and the words of it that are kept.
SAMPLE = 10_000
TOP_WORDS = 2_000
# A word of fewer different texts is not kept: it may be a name or a telephone number.
LEAST_TEXTS = 5
# Stands before the hash of a word that is not kept in clear. No word has it.
_HASHED = "#"
# Upper ends of the length bins, in characters: each 1.5 times the one before.
LENGTH_ENDS = tuple(round(4 * 1.5**i) for i in range(24))
# From the credit industry's rule of thumb for the population stability index: 0.1 a little, 0.25 much.
LITTLE, MUCH = 0.1, 0.25
Count = Annotated[int, Field(ge=0)]


@checked_dataclass
class FetchedFiles:
    """The files that training data were read from.

    Attributes:
        fingerprint: Of their names and content.
        sources: What was asked for.
        files: How many there were.
        bytes: Their size together.
        objects: Address, generation and size of each; of the first hundred only.
    """

    fingerprint: str
    sources: list[str]
    files: Count
    bytes: Count
    objects: list[tuple[str, int | str, Count]]


@checked_dataclass
class Profile:
    """What a training set is like.

    Attributes:
        rows: Number of rows.
        labels: Rows of each label.
        lengths: Rows in each length bin: up to LENGTH_ENDS[i] characters, and one bin for longer ones.
        words: The most frequent of those words of a sample that are in at least LEAST_TEXTS different texts, in lower
            case, or each as "#" and its hash, with their counts.
        word_total: All words of the sample.
        fingerprint: Of the split.
        fetched: The files that it was read from, where a fetch wrote them.
    """

    rows: Count
    labels: dict[str, Count]
    lengths: list[Count]
    words: dict[str, Count]
    word_total: Count
    fingerprint: str = ""
    fetched: FetchedFiles | None = None

    def __post_init__(self) -> None:
        if len(self.lengths) != len(LENGTH_ENDS) + 1:
            raise UserError(f"lengths has {len(self.lengths)} bins, but it should have {len(LENGTH_ENDS) + 1}.")
        if self.word_total < sum(self.words.values()):
            raise UserError(f"word_total is {self.word_total:,}, but words has more.")

    def write(self, folder: Path) -> None:
        """Write `data_profile.json` into a folder."""
        (folder / NAME).write_text(dump_record(asdict(self), FORMAT), encoding="utf-8")


def make_profile(
    lengths: np.ndarray, labels: Mapping[str, int], texts: Iterable[str], keep_texts: str = "all"
) -> Profile:
    """Describe a training set by the characters of each text, the rows of each label, and a sample of the texts.

    With `keep_texts` "ids" hashes stand for the words.
    """
    words, having = Counter[str](), Counter[str]()
    for text, rows in Counter(map(str.lower, texts)).items():
        own = Counter(re.findall(r"\w+", text))
        words.update({word: rows * count for word, count in own.items()})
        having.update(own.keys())
    known = [(word, count) for word, count in words.most_common() if having[word] >= LEAST_TEXTS]
    top = {_hashed(word) if keep_texts == "ids" else word: count for word, count in known[:TOP_WORDS]}
    bins = np.bincount(np.searchsorted(LENGTH_ENDS, lengths), minlength=len(LENGTH_ENDS) + 1)
    return Profile(len(lengths), dict(labels), bins.tolist(), top, words.total())


def parse_profile(data: bytes, place: str) -> Profile:
    """Read the bytes of a data_profile.json; `place` is where they come from.

    Raises:
        UserError: It is damaged or of another format.
    """

    def read(fields: dict[str, Any]) -> Profile:
        try:
            return build(Profile, fields)
        except UserError as error:
            raise ValueError(str(error).removesuffix(".")) from None

    return load_record(data, place, {1: read, FORMAT: read}, "give one that prepare_text_data wrote")


@dataclass(frozen=True)
class Drift:
    """How far new training data has moved from those of the champion.

    Attributes:
        source: Where the reference comes from.
        labels: Population stability index of the label shares, 0 for none.
        lengths: The same of the text lengths.
        vocabulary: The same of the reference's most frequent words, all others taken as one.
        new_words: The words that have gained most: (word, share before, share now); none where they are hashed.
        label_shares: (label, share before, share now).
        note: Why there is nothing to compare with, or "".
    """

    source: str
    labels: float = 0.0
    lengths: float = 0.0
    vocabulary: float = 0.0
    new_words: list[tuple[str, float, float]] = field(default_factory=list)
    label_shares: list[tuple[str, float, float]] = field(default_factory=list)
    note: str = ""

    @property
    def largest(self) -> float:
        """The largest of the three indices."""
        return max(self.labels, self.lengths, self.vocabulary)


def compare_profiles(now: Profile, before: Profile, source: str) -> Drift:
    """Compare a training set with the champion's, which comes from `source`."""
    labels = {name: (before.labels.get(name, 0), now.labels.get(name, 0)) for name in before.labels | now.labels}
    rows, words = (max(before.rows, 1), max(now.rows, 1)), (max(before.word_total, 1), max(now.word_total, 1))
    secret = any(word.startswith(_HASHED) for word in before.words | now.words)
    old, new = (
        {_hashed(word) if secret else word: count for word, count in one.words.items()} for one in (before, now)
    )
    pairs = zip(now.words, new, strict=True)
    known = [(word, key) for word, key in pairs if not word.startswith(_HASHED)]
    gains = [(word, old.get(key, 0) / words[0], new[key] / words[1]) for word, key in known]
    gains.sort(key=lambda gain: gain[1] - gain[2])
    # Older profiles have rare words too, which now would not be kept.
    common = [(count, new.get(word, 0)) for word, count in list(old.items())[:500] if count >= LEAST_TEXTS]
    others = before.word_total - sum(one for one, _ in common), now.word_total - sum(one for _, one in common)
    return Drift(
        source,
        labels=_stability(labels.values()),
        lengths=_stability(zip(before.lengths, now.lengths, strict=True)),
        vocabulary=_stability([*common, others]),
        new_words=[gain for gain in gains[:10] if gain[2] > gain[1]],
        label_shares=[(name, old / rows[0], new / rows[1]) for name, (old, new) in labels.items()],
    )


def _hashed(word: str) -> str:
    return word if word.startswith(_HASHED) else _HASHED + xxh3_64_hexdigest(word.encode())


def _stability(bins: Iterable[tuple[int, int]]) -> float:
    """Population stability index of counts before and now: sum of (q - p) ln(q / p) over the shares.

    Half a row is added to each bin; one that is empty in both adds nothing.
    """
    counts = np.array(list(bins), float)
    counts = counts[counts.any(axis=1)] + 0.5
    p, q = (counts / counts.sum(axis=0)).T
    return float(np.sum((q - p) * np.log(q / p)))
