"""From the labels as they stand in the data to the classes of the model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

UNKNOWN = -1


@dataclass(frozen=True)
class LabelMap:
    """What becomes of each label in the data.

    Attributes:
        names: The names of the classes, in the order of the model's outputs.
        code: Index into `names` of each label in the data, UNKNOWN where `label_names` does not have it.
        merged: Labels in the data that were taken for the same, such as ("1", "1.0").
    """

    names: list[str]
    code: np.ndarray
    merged: list[tuple[str, ...]]


def map_labels(found: Sequence[str], label_names: Mapping[str, str], keep_unknown: bool) -> LabelMap:
    """Map the labels in the data, "" for a missing one.

    The names are in the order of the user's keys, or of the labels: as numbers where all are numbers. `keep_unknown`
    makes labels that a given `label_names` lacks classes of their own.
    """
    given = {_plain(key): name.strip() for key, name in label_names.items()}
    canonical = [_plain(label) for label in found]
    by_name = set(given.values())
    known = [
        label for label in canonical if label and (not given or keep_unknown or label in given or label in by_name)
    ]
    names_of = {label: given.get(label, label) for label in known}
    used = set(names_of.values())
    ordered = [given[key] for key in sorted(given, key=_sort_key)]
    ordered += sorted(used - set(ordered), key=_sort_key)
    names = [name for name in dict.fromkeys(ordered) if name in used]
    index = {name: i for i, name in enumerate(names)}
    code = np.array([index[names_of[label]] if label in names_of else UNKNOWN for label in canonical], np.int32)
    groups: dict[str, list[str]] = {}
    for label, plain in zip(found, canonical, strict=True):
        groups.setdefault(plain, []).append(label)
    return LabelMap(names, code, [tuple(group) for group in groups.values() if len(group) > 1])


def _plain(label: str) -> str:
    """A label without spaces around it; 1.0 and +1 are 1."""
    label = label.strip()
    number = re.fullmatch(r"\+?(-?\d+)(?:\.0*)?", label, re.ASCII)
    return number.group(1) if number else label


def _sort_key(label: str) -> tuple[int, float, str]:
    """Numbers in their order, then names in theirs."""
    number = re.fullmatch(r"-?\d{1,15}", label, re.ASCII)
    return (0, float(label), "") if number else (1, 0.0, label)
