"""Which split each row goes to."""

from fnmatch import fnmatchcase
from math import ceil

import numpy as np

from kfp_bert_components.data.ids import hash_texts, spread
from kfp_bert_components.data.labels import spelled
from kfp_bert_components.data.rows import Rows
from kfp_bert_components.data.settings import PrepareSettings, SplitSettings
from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.arrow import strings
from kfp_bert_components.tables.settings import nfc

TRAIN, VALIDATION, TEST = 0, 1, 2
SPLITS = ("train", "validation", "test")
WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
# What test_values and validation_values name.
_NAMED = {"file": "files", "group": "groups", "column": "values"}
# One hash for the test set and another for validation: changing one fraction leaves the other set as it is.
_TEST_SALT, _VALIDATION_SALT = 1, 2


def assign(rows: Rows, inside: np.ndarray, code: np.ndarray, settings: PrepareSettings) -> np.ndarray:
    """The split of each row, uint8 [rows]: TRAIN, VALIDATION or TEST.

    `inside` says whether each row is still in, and `code` what class it has.

    Raises:
        UserError: A name, pattern or value matches nothing, or a split is left empty.
    """
    if settings.split_by == "text":
        split = _stratified(rows, inside, code, settings) if settings.stratify else _hashed(rows.normal, settings)
    elif settings.split_by == "file":
        split = _by_value([facts.name for facts in rows.files], rows.file, rows.normal, "file", settings)
    elif settings.split_by == "group":
        split = _by_group(rows, settings)
    else:
        split = _by_column(rows, settings)
    _refuse_empty(split[inside], settings)
    return split


def _hashed(keys: np.ndarray, settings: SplitSettings) -> np.ndarray:
    """By a hash of the text alone, so that a row keeps its split when the data grows."""
    test = spread(keys, _TEST_SALT) < settings.test_fraction
    left = settings.validation_fraction / (1 - settings.test_fraction)
    validation = ~test & (spread(keys, _VALIDATION_SALT) < left)
    return (TEST * test + VALIDATION * validation).astype(np.uint8)


def _stratified(rows: Rows, inside: np.ndarray, code: np.ndarray, settings: SplitSettings) -> np.ndarray:
    """Within each class, in the order of the hash, the first texts go to test and the next to validation.

    A text whose rows have several labels counts as one of the label that most of them have. Rows that are out are where
    the others of their text are, or where its hash says.
    """
    order = np.flatnonzero(inside)
    order = order[np.argsort(spread(rows.normal[order], _TEST_SALT), kind="stable")]
    texts, first, text = np.unique(rows.normal[order], return_index=True, return_inverse=True)
    label = _most_frequent(text, code[order])
    weights, part = np.bincount(text), np.full(len(first), TRAIN, np.uint8)
    for one in np.unique(label):
        its = np.flatnonzero(label == one)
        its = its[np.argsort(first[its])]
        part[its] = _by_shares(weights[its], settings)
    for one in np.unique(code[order]):
        having = text[code[order] == one]
        if not (part[having] == TRAIN).any():  # a rare label of texts that have another one
            part[having[0]] = TRAIN
    place = np.searchsorted(texts, rows.normal)
    inside_too = np.append(texts, 0)[place] == rows.normal
    return np.where(inside_too, np.append(part, TRAIN)[place], _hashed(rows.normal, settings))


def _most_frequent(text: np.ndarray, code: np.ndarray) -> np.ndarray:
    """The class that most rows of each text have, int64 [texts]; of each row, its text and its class are given."""
    classes = int(code.max(initial=0)) + 1
    pairs, counts = np.unique(text * classes + code, return_counts=True)
    pairs = pairs[np.argsort(counts, kind="stable")]  # of those of one text, the most frequent is the last
    label = np.zeros(int(text.max(initial=-1)) + 1, np.int64)
    label[pairs // classes] = pairs % classes
    return label


def _by_shares(weights: np.ndarray, settings: SplitSettings) -> np.ndarray:
    """The split of each text of a class, uint8 [texts]; `weights` are the rows of each.

    Train keeps at least half of the rows, or its share less a row where that is fewer. As far as that goes, test has a
    text, and then validation. A text of more rows than a split shall have goes to train, unless it is the smallest
    that is left.
    """
    total, split = int(weights.sum()), np.full(len(weights), TRAIN, np.uint8)
    share = (1 - settings.test_fraction - settings.validation_fraction) * total
    room = total - max(1, min(ceil(total / 2), ceil(share - 1 - 1e-9)))
    for number, fraction in ((TEST, settings.test_fraction), (VALIDATION, settings.validation_fraction)):
        left = np.flatnonzero(split == TRAIN)
        if not fraction or not len(left):
            continue
        wanted = min(max(1, round(fraction * total)), room)
        fitting = left[weights[left] <= max(wanted, weights[left].min())]
        ends = np.cumsum(weights[fitting])
        nearer = ends - weights[fitting] / 2 <= wanted  # than without the text
        nearer[0] = True
        taken = fitting[nearer & (ends <= room)]
        split[taken] = number
        room -= weights[taken].sum()
    return split


def _by_group(rows: Rows, settings: PrepareSettings) -> np.ndarray:
    keys = np.where(without_group(rows), rows.normal, hash_texts(strings(rows.places))[rows.place])
    if settings.test_values or settings.validation_values:
        return _by_value(rows.places, rows.place, keys, "group", settings)
    return _hashed(keys, settings)


def without_group(rows: Rows) -> np.ndarray:
    """Which rows have nothing in the split column, bool [rows]: each of their texts is a group of its own."""
    return np.array([not place for place in rows.places], bool)[rows.place]


def _by_column(rows: Rows, settings: PrepareSettings) -> np.ndarray:
    if settings.test_values:
        return _by_value(rows.places, rows.place, rows.normal, "value", settings)
    unknown = np.array([place.lower() not in WORDS for place in rows.places], bool)[rows.place]
    if unknown.any():
        first = rows.example(int(np.argmax(unknown)))
        raise UserError(
            f"split_column {settings.split_column!r} has a value that is no split in {first.file} row {first.row}: it "
            "must hold train, validation or test, or name the values of the test set in test_values."
        )
    split = np.array([WORDS[place.lower()] for place in rows.places], np.uint8)[rows.place]
    return split if (split == VALIDATION).any() else _take_validation(split, rows.normal, settings)


def _by_value(
    values: list[str], index: np.ndarray, keys: np.ndarray, what: str, settings: PrepareSettings
) -> np.ndarray:
    """Test and validation by names of files, groups or values; validation else by the hash of `keys`."""
    # A group may be a person's name.
    shown = what == "file" or settings.keep_texts == "all"
    test = _matching(values, settings.test_values, "test_values", what, shown)
    validation = _matching(values, settings.validation_values, "validation_values", what, shown)
    both = [value for value, a, b in zip(values, test, validation, strict=True) if a and b]
    if both:
        which = f"The {what} {both[0]!r}" if shown else f"A {what}"
        raise UserError(f"{which} matches both test_values and validation_values: it can be in one only.")
    split = (TEST * test + VALIDATION * validation).astype(np.uint8)[index]
    return split if settings.validation_values else _take_validation(split, keys, settings)


def _matching(values: list[str], wanted: list[str], parameter: str, what: str, shown: bool) -> np.ndarray:
    """Whether each value is wanted, bool [values]; `shown`: whether an error may quote values.

    Files may be named by patterns, as long as no file has the pattern itself as its name. Groups and values are what
    stands in a column, where `*` and brackets mean themselves.
    """
    found, names = np.zeros(len(values), bool), [nfc(value) for value in values]
    for one in wanted:
        matches = np.array([name in (nfc(one), spelled(one)) for name in names], bool)
        if what == "file" and not matches.any():
            matches = np.array([fnmatchcase(name, nfc(one)) for name in names], bool)
        if not matches.any():
            some = ", ".join(repr(value[:60]) for value in sorted(values)[:5])
            others = f"there is {some}" if shown else f"none of {len(values):,} does"
            raise UserError(f"{parameter} has {one!r}, but no {what} matches it: {others}.")
        found |= matches
    return found


def _take_validation(split: np.ndarray, keys: np.ndarray, settings: SplitSettings) -> np.ndarray:
    """Some of train becomes validation, by hash."""
    taken = (split == TRAIN) & (spread(keys, _VALIDATION_SALT) < settings.validation_fraction)
    return np.where(taken, np.uint8(VALIDATION), split)


def _refuse_empty(split: np.ndarray, settings: SplitSettings) -> None:
    wanted = (
        True,
        settings.validation_fraction > 0 or bool(settings.validation_values),
        settings.test_fraction > 0 or bool(settings.test_values) or settings.split_by == "column",
    )
    counts = np.bincount(split, minlength=3).tolist()
    for name, count, needed in zip(SPLITS, counts, wanted, strict=True):
        if needed and not count:
            todo = _way_to_train(settings, counts) if name == "train" else _way_to(name, settings)
            raise UserError(f"The {name} split got none of the {len(split):,} rows: {todo}.")


def _way_to(name: str, settings: SplitSettings) -> str:
    """What gives test or validation rows, with this way of splitting."""
    by, fraction, values = settings.split_by, f"{name}_fraction", f"{name}_values"
    if settings.stratify:
        return "add different texts: a label with four of them or more gives some to each split"
    if by == "text":
        return f"give more data, raise {fraction}, or set stratify"
    if getattr(settings, values) and (by != "column" or settings.test_values):
        return f"the rows that {values} names were all dropped: name others, or see which checks drop them"
    if by == "column" and not settings.test_values:
        other = "name values in test_values" if name == "test" else f"raise {fraction}"
        return f"write {name} into some rows of {settings.split_column!r}, or {other}"
    if by == "group" and not settings.test_values:
        if settings.validation_values:
            return "name groups in test_values"
        named = "give more groups, name some in test_values," if name == "test" else "give more groups"
        return f"{named} or raise {fraction}"
    return f"give more data, raise {fraction}, or name {_NAMED[by]} in {values}"


def _way_to_train(settings: SplitSettings, counts: list[int]) -> str:
    """What leaves rows to train, where the splits have so many rows each."""
    by = settings.split_by
    if by in ("text", "group") and not (settings.test_values or settings.validation_values):
        more = "groups" if by == "group" else "data"
        return f"give more {more}, or lower test_fraction and validation_fraction"
    if counts[VALIDATION] and not settings.validation_values:
        return "give more data, or lower validation_fraction"
    if by == "column" and not settings.test_values:
        return f"write train into some rows of {settings.split_column!r}"
    return f"let test_values and validation_values leave {_NAMED[by]} to train"
