"""What is looked for in the rows, and what becomes of the rows that are found."""

import json
from dataclasses import dataclass, field

import numpy as np

from kfp_bert_components.data.labels import UNKNOWN, LabelMap
from kfp_bert_components.data.rows import EMPTY, EXAMPLES, MOJIBAKE, NO_LABEL, RowExample, Rows, shorten
from kfp_bert_components.data.settings import CheckSettings
from kfp_bert_components.data.words import ODD
from kfp_bert_components.errors import UserError

# Share of a text's rows from which on their label is taken for the right one.
CLEAR_MAJORITY = 0.75
# What is wrong with the rows that a check finds, with the verb for one row and for several.
WHAT = {
    "unreadable": ("can't", "can't", "be read"),
    "empty_text": ("has", "have", "no text"),
    "missing_label": ("has", "have", "no label"),
    "unknown_label": ("has", "have", "a label that label_names does not know"),
    "mojibake": ("was", "were", "decoded with the wrong encoding"),
    "outlier_length": ("is", "are", "far longer than the rest"),
    "constant_text": ("has", "have", "a text that makes up half of all rows or more"),
    "conflicting_labels": ("has", "have", "a text that occurs with different labels"),
    "duplicates": ("repeats", "repeat", "an earlier row"),
    "small_classes": ("has", "have", "a label that is too rare"),
    "leakage": ("is", "are", "in test or validation too"),
}
# What else a policy can be than error, where it is not just 'drop' or 'keep'.
_CHOICES = {
    "missing_label": "'drop'",
    "unknown_label": "'keep', which leaves such labels as they are, or to 'drop', which leaves their rows out",
}
_TO_ADD = 20  # labels that an error writes out

# Checks of rows that repeat others, whose policy is a matter of taste.
REPEATS = ("conflicting_labels", "duplicates", "leakage")


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
        rows: Their indices, int64 [n]; empty for rows that could not be read.
        by_split: How many of them each split has, or had; known once the rows are split.
    """

    check: str
    policy: str
    count: int = 0
    dropped: int = 0
    examples: list[RowExample] = field(default_factory=list)
    note: str = ""
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    by_split: dict[str, int] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """What is wrong with the rows, as "have no text"."""
        return " ".join(WHAT[self.check][1:])

    @property
    def taken(self) -> str:
        """What drop takes, or would take: "12 of train, 3 of validation, 0 of test"."""
        return ", ".join(f"{rows:,} of {name}" for name, rows in self.by_split.items())

    def sentence(self, hint: str = "") -> str:
        """What is wrong and what to do, as an error says it; `hint` is what else the user can do."""
        singular, plural, what = WHAT[self.check]
        rows, how = (f"row {singular}", "mend it") if self.count == 1 else (f"rows {plural}", "mend them")
        choices = _CHOICES.get(self.check, "'drop' or 'keep'")
        found = f"{self.count:,} {rows} {what}{self.first_row}"
        return f"{found}: {hint or how}, or set {self.check} to {choices}."

    @property
    def first_row(self) -> str:
        """Where the first row is that was found, in brackets; "" where there is none to show."""
        if not self.examples:
            return ""
        first = self.examples[0]
        reason = f": {first.reason}" if first.reason else ""
        return f" (the first is {first.file} row {first.row}{reason})"


class CheckedRows:
    """The rows that are still in, and what was found so far.

    Attributes:
        inside: Whether each row is still in, bool [rows].
        code: Class of each row, int32 [rows]; `names` are the names of the classes.
        results: By check, in the order in which they ran.
    """

    def __init__(self, rows: Rows, labels: LabelMap, settings: CheckSettings) -> None:
        self.rows, self.settings, self.names = rows, settings, labels.names
        self.inside = np.ones(len(rows), bool)
        self.code = labels.code[rows.label]
        self.results: dict[str, CheckResult] = {}

    def apply(self, check: str, found: np.ndarray, note: str = "", hint: str = "") -> None:
        """Count the rows that a check found among those still in, and do what its policy says.

        Args:
            check: Name of the parameter.
            found: Whether it found each row, bool [rows].
            note: For the report.
            hint: What the user can do, for the sentence of the UserError that the policy `error` raises.
        """
        where = np.flatnonzero(found & self.inside)
        examples = [self.rows.example(index) for index in where[:EXAMPLES].tolist()]
        self.add(CheckResult(check, getattr(self.settings, check), len(where), 0, examples, note, where), hint)
        if self.results[check].policy == "drop":
            self.results[check].dropped = len(where)
            self.inside[where] = False

    def add(self, result: CheckResult, hint: str = "") -> None:
        """Keep what a check found, or raise it as a UserError where the policy is error."""
        self.results[result.check] = result
        if result.policy == "error" and result.count:
            raise UserError(result.sentence(hint))

    def class_rows(self) -> np.ndarray:
        """Rows of each class that are still in, int64 [classes]."""
        return np.bincount(self.code[self.inside], minlength=len(self.names))


def check_rows(rows: Rows, labels: LabelMap, settings: CheckSettings) -> CheckedRows:
    """Run the checks that look at each row by itself.

    Raises:
        UserError: A check whose policy is error found something, or too many rows would be dropped.
    """
    checked = CheckedRows(rows, labels, settings)
    dropped, code = rows.unreadable.total(), checked.code
    count = dropped + rows.mended.total()
    checked.add(CheckResult("unreadable", settings.unreadable, count, dropped, rows.unreadable_examples))
    checked.apply("empty_text", (rows.flags & EMPTY) > 0)
    checked.apply("missing_label", (rows.flags & NO_LABEL) > 0)
    unknown = sorted(rows.labels[i] for i in np.unique(rows.label[checked.inside & (code == UNKNOWN)]))
    listed = ", ".join(repr(shorten(label, 200)) for label in unknown[:5])
    checked.apply("unknown_label", code == UNKNOWN, note=listed, hint=f"add {_names_to_add(unknown)} to it")
    # A row without a class can't go on, whatever the policy about its text was.
    checked.inside &= code != UNKNOWN
    _refuse_too_many_dropped(checked)
    checked.apply("mojibake", (rows.flags & MOJIBAKE) > 0, hint="give the right encoding")
    limit = outlier_limit(rows.length[checked.inside])
    checked.apply("outlier_length", rows.length > limit, note=f"more than {limit:,.0f} characters")
    checked.apply("constant_text", _constant(checked), hint="check that text_column is the right column")
    return checked


def check_repeats(checked: CheckedRows, part: np.ndarray) -> None:
    """Run the checks that compare rows with each other, and count what is left of each class.

    Rows are compared within the same part only, uint8 [rows]: what a test file holds must not depend on what stands
    in a training file.

    Raises:
        UserError: A check whose policy is error found something, or fewer than two classes are left.
    """
    with np.errstate(over="ignore"):
        keys = checked.rows.exact ^ (part.astype(np.uint64) * ODD)
    conflicting, texts, copies = _compare(keys, checked.code, checked.inside)
    checked.apply("conflicting_labels", conflicting, note=f"{texts:,} different texts" if texts else "")
    checked.apply("duplicates", copies)
    counts, least = checked.class_rows(), checked.settings.min_class_rows
    small = (counts > 0) & (counts < least)
    names = [f"{shorten(checked.names[i], 60)!r} ({counts[i]})" for i in np.flatnonzero(small)]
    column = "check label_column, " if 2 * counts[small].sum() > counts.sum() else ""
    todo = f"{column}add rows or lower min_class_rows"
    hint = f"a label needs {least} rows, less than that have {', '.join(names[:5])}; {todo}"
    checked.apply("small_classes", np.append(small, False)[checked.code], note=", ".join(names[:10]), hint=hint)
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


def _names_to_add(unknown: list[str]) -> str:
    """What to write into label_names so that these labels stay as they are: "a": "a", "b": "b"."""
    quoted = [json.dumps(shorten(label, 200), ensure_ascii=False) for label in unknown]
    pairs = ", ".join(f"{one}: {one}" for one in quoted[:_TO_ADD])
    return pairs + (f" and {len(quoted) - _TO_ADD:,} more" if len(quoted) > _TO_ADD else "")


def _refuse_too_many_dropped(checked: CheckedRows) -> None:
    max_dropped = checked.settings.max_dropped
    total = sum(checked.rows.read)
    dropped = sum(result.dropped for result in checked.results.values())
    if dropped == total:
        raise UserError("Not one usable row is left: check that text_column and label_column are the right columns.")
    if dropped > max_dropped * total:
        worst = max(checked.results.values(), key=lambda result: result.dropped)
        raise UserError(
            f"{dropped:,} of {total:,} rows would be dropped, more than max_dropped ({max_dropped:.0%}) allows; "
            f"most of them {worst.what}{worst.first_row}: mend the data or raise max_dropped."
        )


def _constant(checked: CheckedRows) -> np.ndarray:
    """Rows with the text that half of all rows, and at least five, have."""
    keys, counts = np.unique(checked.rows.exact[checked.inside], return_counts=True)
    return np.isin(checked.rows.exact, keys[2 * counts >= max(counts.sum(), 10)])


def _compare(keys: np.ndarray, code: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """Rows in conflict with others of their text, the number of such texts, and rows that follow an equal one.

    Where one class has most of a text's rows, the others are slips: only they are in conflict. Else all are.
    """
    index = np.flatnonzero(inside)
    order = index[np.argsort(keys[index])]
    same = keys[order[1:]] == keys[order[:-1]]
    repeated = np.sort(order[np.append(same, False) | np.append(False, same)]) if len(order) else order
    order = repeated[np.lexsort((code[repeated], keys[repeated]))]  # stable: the first row stays first
    new_text = np.diff(keys[order], prepend=~keys[order[:1]]) != 0
    new_class = new_text | (np.diff(code[order], prepend=UNKNOWN) != 0)
    text, text_and_class = np.cumsum(new_text) - 1, np.cumsum(new_class) - 1
    in_text, in_class = np.bincount(text)[text], np.bincount(text_and_class)[text_and_class]
    several = in_class < in_text
    conflicting, copies = np.zeros((2, len(keys)), bool)
    conflicting[order[several & (in_class < CLEAR_MAJORITY * in_text)]] = True
    copies[order[~new_class]] = True
    return conflicting, len(np.unique(text[several])), copies
