"""What is looked for in the rows, and what becomes of the rows that are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kfp_bert_components.data.labels import UNKNOWN, LabelMap
from kfp_bert_components.data.rows import EMPTY, EXAMPLES, MOJIBAKE, NO_LABEL, RowExample, Rows
from kfp_bert_components.errors import UserError

# Share of a text's rows from which on their label is taken for the right one.
CLEAR_MAJORITY = 0.75
# Check: what is wrong with one row of it, and with several.
WHAT = {
    "unreadable": ("can't be read", "can't be read"),
    "empty_text": ("has no text", "have no text"),
    "missing_label": ("has no label", "have no label"),
    "unknown_label": ("has a label that label_names does not know", "have a label that label_names does not know"),
    "mojibake": ("was decoded with the wrong encoding", "were decoded with the wrong encoding"),
    "outlier_length": ("is far longer than the rest", "are far longer than the rest"),
    "constant_text": ("has all the same text", "have all the same text"),
    "conflicting_labels": (
        "has a text that occurs with different labels",
        "have a text that occurs with different labels",
    ),
    "duplicates": ("repeats an earlier row", "repeat an earlier row"),
    "small_classes": ("has a label that is too rare", "have a label that is too rare"),
    "leakage": ("is in test or validation too", "are in test or validation too"),
}


@dataclass
class CheckResult:
    """What one check found.

    Attributes:
        check: The name of its parameter.
        policy: error, drop or keep.
        count: Rows that were found.
        dropped: Rows that were taken out for it (a row counts for the first check that drops it).
        examples: A few of them.
        note: What else there is to say.
    """

    check: str
    policy: str
    count: int = 0
    dropped: int = 0
    examples: list[RowExample] = field(default_factory=list)
    note: str = ""

    @property
    def what(self) -> str:
        """What is wrong with the rows, as "have no text"."""
        return WHAT[self.check][1]

    def sentence(self, hint: str = "") -> str:
        """What is wrong and what to do, as an error says it; `hint` is what else the user can do."""
        one = self.count == 1
        rows = f"{self.count:,} row{'s' * (not one)} {WHAT[self.check][not one]}{self.first_row}"
        how = hint or f"mend {'it' if one else 'them'}"
        choices = "'drop'" if self.check == "missing_label" else "'drop' or 'keep'"
        return f"{rows}: {how}, or set {self.check} to {choices}."

    @property
    def first_row(self) -> str:
        """Where the first row is that was found, in brackets; "" where there is none to show."""
        if not self.examples:
            return ""
        first = self.examples[0]
        reason = f": {first.reason}" if first.reason else ""
        return f" (the first is {first.file} row {first.row}{reason})"


@dataclass
class CheckedRows:
    """The rows that are still in, and what was found so far.

    Attributes:
        rows: All rows.
        policies: error, drop or keep for each check.
        inside: Whether each row is still in, bool [rows].
        code: Class of each row, int32 [rows].
        names: Names of the classes.
        results: By check, in the order in which they ran.
    """

    rows: Rows
    policies: Mapping[str, str]
    inside: np.ndarray
    code: np.ndarray
    names: list[str]
    results: dict[str, CheckResult] = field(default_factory=dict)

    def apply(self, check: str, found: np.ndarray, note: str = "", hint: str = "") -> None:
        """Count the rows that a check found among those still in, and do what its policy says.

        Args:
            check: Name of the parameter.
            found: Whether it found each row, bool [rows].
            note: For the report.
            hint: What the user can do, for the sentence of the error.

        Raises:
            UserError: The policy is error, and there are such rows.
        """
        where = np.flatnonzero(found & self.inside)
        examples = [self.rows.example(index) for index in where[:EXAMPLES].tolist()]
        result = CheckResult(check, self.policies[check], len(where), examples=examples, note=note)
        self.results[check] = result
        if result.policy == "error" and len(where):
            raise UserError(result.sentence(hint))
        if result.policy == "drop":
            result.dropped = len(where)
            self.inside[where] = False

    def class_rows(self) -> np.ndarray:
        """Rows of each class that are still in, int64 [classes]."""
        return np.bincount(self.code[self.inside], minlength=len(self.names))


def check_rows(rows: Rows, labels: LabelMap, policies: Mapping[str, str], max_dropped: float) -> CheckedRows:
    """Run the checks that look at each row by itself.

    Args:
        rows: All rows.
        labels: The class of each label.
        policies: error, drop or keep for each check.
        max_dropped: Largest share of rows that may be dropped as unreadable, empty or without a known label.

    Raises:
        UserError: A check whose policy is error found something, or too many rows would be dropped.
    """
    code = labels.code[rows.label] if len(rows) else np.empty(0, np.int32)
    checked = CheckedRows(rows, policies, np.ones(len(rows), bool), code, labels.names)
    unreadable = CheckResult(
        "unreadable", policies["unreadable"], rows.unreadable.count, rows.unreadable.count, rows.unreadable.examples
    )
    checked.results["unreadable"] = unreadable
    if unreadable.policy == "error" and unreadable.count:
        raise UserError(unreadable.sentence())
    checked.apply("empty_text", (rows.flags & EMPTY) > 0)
    checked.apply("missing_label", (rows.flags & NO_LABEL) > 0)
    unknown = sorted(rows.labels[i] for i in np.unique(rows.label[checked.inside & (code == UNKNOWN)]))[:5]
    listed = ", ".join(map(repr, unknown))
    checked.apply("unknown_label", code == UNKNOWN, note=listed, hint=f"add {listed} there")
    # A row without a class can't go on, whatever the policy about its text was.
    checked.inside &= code != UNKNOWN
    _refuse_too_many_dropped(checked, max_dropped)
    checked.apply("mojibake", (rows.flags & MOJIBAKE) > 0, hint="give the right encoding")
    limit = outlier_limit(rows.length[checked.inside])
    checked.apply("outlier_length", rows.length > limit, note=f"more than {limit:,.0f} characters")
    checked.apply("constant_text", _constant(checked), hint="check that text_column is the right column")
    return checked


def check_repeats(checked: CheckedRows, part: np.ndarray, min_class_rows: int) -> None:
    """Run the checks that compare rows with each other, and count what is left of each class.

    Args:
        checked: What `check_rows` left.
        part: Rows are compared within the same part only, uint8 [rows]: what a test file holds must not depend on
            what stands in a training file.
        min_class_rows: Least number of rows of a class.

    Raises:
        UserError: A check whose policy is error found something, or fewer than two classes are left.
    """
    with np.errstate(over="ignore"):
        keys = checked.rows.exact ^ (part.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    repeated = _repeated(checked.inside, keys)
    conflicting, texts = _conflicting(keys, checked.code, repeated)
    checked.apply("conflicting_labels", conflicting, note=f"{texts:,} different texts" if texts else "")
    checked.apply("duplicates", _later_copies(keys, checked.code, repeated[checked.inside[repeated]]))
    counts = checked.class_rows()
    small = (counts > 0) & (counts < min_class_rows)
    names = [f"{checked.names[i]!r} ({counts[i]})" for i in np.flatnonzero(small)]
    checked.apply(
        "small_classes",
        small[checked.code] if small.any() else np.zeros(len(keys), bool),
        note=", ".join(names[:10]),
        hint=f"a label needs {min_class_rows} rows, less than that have {', '.join(names[:5])}; add rows or lower "
        "min_class_rows",
    )
    left = np.flatnonzero(checked.class_rows())
    if len(left) < 2:
        only = f"only the label {checked.names[left[0]]!r}" if len(left) else "no label"
        raise UserError(
            f"After the checks {only} is left: a classifier needs two or more; check label_column and label_names."
        )


def outlier_limit(lengths: np.ndarray) -> float:
    """The length above which a text is an outlier.

    Lengths are spread like a log-normal, so the limit is set on their logarithm: the median and eight times the
    spread (median absolute deviation), and no less than ten times the median.
    """
    if len(lengths) < 20:
        return float("inf")
    logs = np.log1p(lengths)
    middle = np.median(logs)
    spread = 1.4826 * np.median(np.abs(logs - middle))
    return float(max(np.expm1(middle + 8 * spread), 10 * np.expm1(middle)))


def _refuse_too_many_dropped(checked: CheckedRows, max_dropped: float) -> None:
    total = sum(checked.rows.read)
    dropped = sum(result.dropped for result in checked.results.values())
    if total == 0:
        names = ", ".join(facts.name for facts in checked.rows.files[:3])
        raise UserError(f"There is not one row of data in {names}: check the source and its first row.")
    if dropped == total:
        raise UserError("Not one usable row is left: check that text_column and label_column are the right columns.")
    if dropped > max_dropped * total:
        worst = max(checked.results.values(), key=lambda result: result.dropped)
        raise UserError(
            f"{dropped:,} of {total:,} rows would be dropped, more than max_dropped ({max_dropped:.0%}) allows; "
            f"most of them {worst.what}{worst.first_row}: mend the data or raise max_dropped."
        )


def _constant(checked: CheckedRows) -> np.ndarray:
    """Rows with the text that half of all rows or more have."""
    keys = checked.rows.exact[checked.inside]
    found = np.zeros(len(checked.rows), bool)
    if len(keys) >= 10:
        # The text of half of all rows is a median of the sorted keys, of which an even number has two.
        middle = [(len(keys) - 1) // 2, len(keys) // 2]
        for key in np.unique(np.partition(keys, middle)[middle]):
            if 2 * (keys == key).sum() >= len(keys):
                found |= checked.rows.exact == key
    return found


def _repeated(inside: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The rows still in whose key occurs more than once, in their order."""
    index = np.flatnonzero(inside)
    order = index[np.argsort(keys[index])]
    same = keys[order[1:]] == keys[order[:-1]]
    return np.sort(order[np.append(same, False) | np.append(False, same)]) if len(order) else order


def _conflicting(keys: np.ndarray, code: np.ndarray, repeated: np.ndarray) -> tuple[np.ndarray, int]:
    """Rows of `repeated` whose text occurs with more than one class, bool [rows], and the number of such texts.

    Where one class has most of a text's rows, the others are slips: only they are found. Else all are.
    """
    order = repeated[np.lexsort((code[repeated], keys[repeated]))]
    text = _number_runs(keys[order])
    text_and_class = _number_runs(keys[order], code[order])
    in_text = np.bincount(text)[text]
    in_class = np.bincount(text_and_class)[text_and_class]
    several = in_class < in_text
    found = np.zeros(len(keys), bool)
    found[order[several & (in_class < CLEAR_MAJORITY * in_text)]] = True
    return found, len(np.unique(text[several]))


def _later_copies(keys: np.ndarray, code: np.ndarray, repeated: np.ndarray) -> np.ndarray:
    """Rows of `repeated` that follow one with the same text and class, bool [rows]."""
    order = repeated[np.lexsort((code[repeated], keys[repeated]))]  # stable: the first row stays first
    found = np.zeros(len(keys), bool)
    found[order[1:][(keys[order[1:]] == keys[order[:-1]]) & (code[order[1:]] == code[order[:-1]])]] = True
    return found


def _number_runs(*columns: np.ndarray) -> np.ndarray:
    """Numbers from 0 for runs of equal values in sorted columns, int64 [n]."""
    if not len(columns[0]):
        return np.empty(0, np.int64)
    changes = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.concatenate([[0], np.cumsum(changes)])
