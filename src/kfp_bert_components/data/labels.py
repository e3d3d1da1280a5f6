"""From the labels as they stand in the data to the classes of the model."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_bert_components.plain import BLANKS, listed, stripped
from kfp_bert_components.tables.arrow import strings, to_numpy

UNKNOWN = -1
# Labels, or groups of them, that a remark names.
SHOWN = 10
_NUMBER = re.compile(r"\+?(-?\d+)(?:\.0*)?", re.ASCII)
_BOOL = re.compile("true|false", re.IGNORECASE)
_EXPONENT = re.compile(r"[+-]?\d+(?:\.\d*)?e\+\d{1,3}", re.ASCII | re.IGNORECASE)
# What `spelled` may change, as RE2 writes it.
_UNUSUAL = r"[^ -~]|^ | $|  |^[+-]?\d+[.eE]|^\+|^(?i:true|false)$"
_DECIMAL = re.compile(r"[+-]?\d+(?:[.,]\d*)?(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MISSING = {"nan", "nat", "null", "<na>", "na", "#n/a", "n/a"}
_LIST = re.compile(r"\[.*,.*\]|\{.*,.*\}|\(.*,.*\)")
# Those of the second group are parts of names as well.
_JOINTS, _MAYBE = "|;；", ",/+、，·・ㆍ"


@dataclass(frozen=True)
class LabelMap:
    """What becomes of each label in the data.

    Attributes:
        names: The names of the classes, in the order of the model's outputs.
        code: Index into `names` of each label in the data, UNKNOWN where `label_names` does not have it.
        merged: Labels in the data that were taken for the same, such as ("1", "1.0").
        alike: Names that differ only by case, spaces or Unicode form, but are classes of their own.
    """

    names: list[str]
    code: np.ndarray
    merged: list[tuple[str, ...]]
    alike: list[tuple[str, ...]] = field(default_factory=list)


def map_labels(found: Sequence[str], label_names: Mapping[str, str], keep_unknown: bool) -> LabelMap:
    """Map the labels in the data, "" for a missing one.

    The names are in the order of the user's keys, or of the labels: as numbers where all are numbers. `keep_unknown`
    makes labels that a given `label_names` lacks classes of their own.
    """
    given = {spelled(key): _name(name) for key, name in label_names.items()}
    canonical = [spelled(label) for label in found]
    given_as = {spelled(name): name for name in given.values()}
    known = [
        label for label in canonical if label and (not given or keep_unknown or label in given or label in given_as)
    ]
    names_of = {label: given.get(label, given_as.get(label, label)) for label in known}
    used = set(names_of.values())
    ordered = [given[key] for key in sorted(given, key=_sort_key)]
    ordered += sorted(used - set(ordered), key=_sort_key)
    names = [name for name in dict.fromkeys(ordered) if name in used]
    index = {name: i for i, name in enumerate(names)}
    code = np.array([index[names_of[label]] if label in names_of else UNKNOWN for label in canonical], np.int32)
    return LabelMap(names, code, _groups(found, canonical), _groups(names, [_folded(name) for name in names]))


def trimmed(text: str) -> str:
    """A text in Unicode form NFC, without blanks at its ends and with one space for each white space inside."""
    return re.sub(r"\s+", " ", stripped(unicodedata.normalize("NFC", text)))


def spelled(label: str) -> str:
    """The one spelling of a label or a group: trimmed; 1.0 and +1 are 1, and 1e+16 is written out; True is true."""
    label = trimmed(label)
    if _EXPONENT.fullmatch(label) and (value := float(label)).is_integer() and abs(value) < 1e22:
        return str(int(value))
    number = _NUMBER.fullmatch(label)
    return number.group(1) if number else label.lower() if _BOOL.fullmatch(label) else label


def spelled_column(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """`spelled` of each value of a column of texts; a missing one (null) stays so."""
    if isinstance(values, pa.ChunkedArray):
        return pa.chunked_array([spelled_column(chunk) for chunk in values.chunks], pa.string())
    coded = pc.dictionary_encode(values)
    unusual = np.flatnonzero(to_numpy(pc.match_substring_regex(coded.dictionary, _UNUSUAL)))
    if not len(unusual):
        return values
    names = coded.dictionary.to_pylist()
    for place in unusual.tolist():
        names[place] = spelled(names[place])
    return strings(names).take(coded.indices)


def _name(given: str) -> str:
    """The name of a class: trimmed; True is true, as it is in labels."""
    name = trimmed(given)
    return name.lower() if _BOOL.fullmatch(name) else name


def remarks(found: Sequence[str], rows: Sequence[int], labels: LabelMap, label_names: Mapping[str, str]) -> list[str]:
    """What a person should know of the labels in the data, each of which so many rows have; one remark each."""
    given, there = {spelled(label) for label in label_names}, {spelled(label) for label in found}
    unused = [label for label, name in label_names.items() if there.isdisjoint((spelled(label), spelled(name)))]
    counts = Counter[str]()
    for label, count in zip(found, rows, strict=True):
        counts[spelled(label)] += 0 if spelled(label) in given else count
    return [
        *_listed("taken for the same label", labels.merged),
        *_listed(
            "labels that differ only by case, spaces or the width of letters are classes of their own", labels.alike
        ),
        *(
            f"the text {label!r} is a label like any other ({count:,} rows have it)"
            for label, count in counts.items()
            if _says_missing(label) and count
        ),
        *([f"label_names has labels that no row has: {listed(unused)}"] if unused else []),
        *filter(None, (*(_joined(counts, joint) for joint in _JOINTS + _MAYBE), _lists(counts))),
    ]


def _says_missing(label: str) -> bool:
    """Whether a program may have written a label for a missing one; "none" is a usual name, Python's "None" is not."""
    return label.lower() in _MISSING or label == "None"


def _listed(what: str, groups: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"{what}: {', '.join(map(_shown, group[:SHOWN]))}" for group in groups]
    return capped(lines, f"groups like these ({what})")


def _shown(label: str) -> str:
    """A label, with a word about its Unicode form where it may look like another one."""
    return repr(label) if unicodedata.is_normalized("NFC", label) else f"{label!r} (not in Unicode form NFC)"


def _joined(counts: Mapping[str, int], joint: str) -> str:
    """What to say of labels that look like several, joined by a character; "" where there are none."""
    parts = {
        label: {part for one in label.split(joint) if (part := trimmed(one))}
        for label in counts
        if not _says_missing(label) and not _DECIMAL.fullmatch(label) and not _LIST.fullmatch(label)
    }
    often = Counter(part for found in parts.values() for part in found)
    joined = [
        label
        for label, found in parts.items()
        # The others may be part of a name, so one of the parts must stand elsewhere too.
        if len(found) > 1 and counts[label] and (joint in _JOINTS or any(often[part] > 1 for part in found))
    ]
    return _several(counts, joined, f"joined by {joint!r}")


def _lists(counts: Mapping[str, int]) -> str:
    """What to say of labels that are written as lists of several; "" where there are none."""
    return _several(counts, [label for label in counts if counts[label] and _LIST.fullmatch(label)], "in a list")


def _several(counts: Mapping[str, int], labels: Sequence[str], how: str) -> str:
    if not labels:
        return ""
    shown = ", ".join(map(repr, sorted(labels)[:3]))
    return (
        f"{sum(counts[label] for label in labels):,} rows have what looks like several labels {how} "
        f"({len(labels):,}, such as {shown}): each combination is a class of its own"
    )


def capped(lines: Sequence[str], what: str) -> list[str]:
    """The first few of some lines, and how many more of what there are."""
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], f"and {more:,} more {what}"] if more > 0 else list(lines)


def _groups(values: Sequence[str], keys: Sequence[str]) -> list[tuple[str, ...]]:
    """The values that have a key in common."""
    groups: dict[str, list[str]] = {}
    for value, key in zip(values, keys, strict=True):
        groups.setdefault(key, []).append(value)
    return [tuple(group) for key, group in groups.items() if key and len(group) > 1]


def _folded(name: str) -> str:
    """What is left of a name without case, blanks and the forms of its characters."""
    return re.sub(f"[{BLANKS}]", "", unicodedata.normalize("NFKC", name)).casefold()


def _sort_key(label: str) -> tuple[int, float, str]:
    """Numbers in their order, then names in theirs."""
    number = re.fullmatch(r"-?\d{1,15}", label, re.ASCII)
    return (0, float(label), "") if number else (1, 0.0, label)
