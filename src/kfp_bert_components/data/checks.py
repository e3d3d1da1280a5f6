"""What is looked for in the rows."""

from __future__ import annotations

import numpy as np

from kfp_bert_components.data.findings import Finding, Sieve, first_row, sentence
from kfp_bert_components.data.gather import BLANK, EMPTY, MOJIBAKE, NO_LABEL, Rows
from kfp_bert_components.data.labels import UNKNOWN, LabelMap
from kfp_bert_components.data.marks import Marks
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.chunks import Faults, FileFacts

# Share of a text's rows from which on their label is taken for the right one.
CLEAR_MAJORITY = 0.75


def sieve(rows: Rows, facts: list[FileFacts], faults: Faults, labels: LabelMap, settings: PrepareSettings) -> Sieve:
    """Run the checks that look at all rows at once.

    Raises:
        UserError: A check whose policy is error found something, or too many rows would be dropped.
    """
    code = labels.code[rows.label] if len(rows) else np.empty(0, np.int32)
    state = Sieve(rows, facts, settings, (rows.flags & BLANK) == 0, code, labels.names)
    _unreadable(state, faults)
    state.apply("empty_text", (rows.flags & EMPTY) > 0)
    state.apply("missing_label", (rows.flags & NO_LABEL) > 0)
    unknown = sorted({rows.labels[i] for i in np.unique(rows.label[state.inside & (code == UNKNOWN)])})[:5]
    state.apply("unknown_label", code == UNKNOWN, note=_listed(unknown), hint=f"add {_listed(unknown)} there")
    # A row without a class can't go on, whatever the policy about its text was.
    state.inside &= code != UNKNOWN
    _too_many_dropped(state, faults)
    state.apply("mojibake", (rows.flags & MOJIBAKE) > 0, hint="give the right encoding")
    _outliers(state)
    _constant(state)
    return state


def sieve_repeats(state: Sieve, part: np.ndarray) -> None:
    """Run the checks that compare rows with each other.

    Args:
        state: What `sieve` left.
        part: Rows are compared within the same part only, uint8 [rows]: what a test file holds must not depend on
            what stands in a training file.
    """
    keys = _keys_within(state, part)
    repeated = _repeated(state, keys)
    _conflicts(state, keys, repeated)
    _duplicates(state, keys, repeated[state.inside[repeated]])
    _small_classes(state)


def _unreadable(state: Sieve, faults: Faults) -> None:
    finding = Finding("unreadable", state.settings.unreadable, faults.count, faults.count, list(faults.examples))
    state.findings["unreadable"] = finding
    if finding.policy == "error" and finding.count:
        raise UserError(sentence(finding))


def _too_many_dropped(state: Sieve, faults: Faults) -> None:
    total = len(state.rows) + faults.count - int(((state.rows.flags & BLANK) > 0).sum())
    dropped = sum(finding.dropped for finding in state.findings.values())
    if total == 0:
        names = ", ".join(fact.name for fact in state.facts[:3])
        raise UserError(f"There is not one row of data in {names}: check the source and its first row.")
    if dropped == total:
        raise UserError("Not one usable row is left: check that text_column and label_column are the right columns.")
    if dropped > state.settings.max_dropped * total:
        worst = max(state.findings.values(), key=lambda finding: finding.dropped)
        raise UserError(
            f"{dropped:,} of {total:,} rows would be dropped, more than max_dropped "
            f"({state.settings.max_dropped:.0%}) allows; "
            f"most of them {worst.what}{first_row(worst)}: mend the data or raise max_dropped."
        )


def _outliers(state: Sieve) -> None:
    lengths = state.rows.length[state.inside]
    limit = outlier_limit(lengths)
    state.apply("outlier_length", state.rows.length > limit, note=f"more than {limit:,.0f} characters")


def outlier_limit(lengths: np.ndarray) -> float:
    """The length above which a text is an outlier.

    Lengths are spread like a log-normal, so the limit is set on their logarithm: the median and eight times the
    spread (median absolute deviation), and no less than ten times the median.
    """
    if len(lengths) < 20:
        return float("inf")
    rows = np.bincount(lengths)  # of each length: there are far fewer of them than rows
    logs = np.log1p(np.arange(len(rows)))
    middle = _median(logs, rows)
    spread = 1.4826 * _median(np.abs(logs - middle), rows)
    return float(max(np.expm1(middle + 8 * spread), 10 * np.expm1(middle)))


def _median(values: np.ndarray, rows: np.ndarray) -> float:
    """The median of values of which each is there in so many rows."""
    order = np.argsort(values)
    ends = np.cumsum(rows[order])
    middle = np.searchsorted(ends, [(ends[-1] - 1) // 2, ends[-1] // 2], side="right")
    return float(values[order[middle]].mean())


def _constant(state: Sieve) -> None:
    keys = state.rows.exact[state.inside]
    found = np.zeros(len(state.rows), bool)
    if len(keys) >= 10:
        # The text of half of all rows is a median of the sorted keys, of which an even number has two.
        middle = [(len(keys) - 1) // 2, len(keys) // 2]
        for key in np.unique(np.partition(keys, middle)[middle]):
            if 2 * (keys == key).sum() >= len(keys):
                found |= state.rows.exact == key
    state.apply("constant_text", found, hint="check that text_column is the right column")


def _conflicts(state: Sieve, keys: np.ndarray, index: np.ndarray) -> None:
    """Rows whose text occurs with more than one class, among those of `index`, whose key is not the only one.

    Where one class has most of a text's rows, the others are slips: only they are found. Else all are.
    """
    order = index[np.lexsort((state.code[index], keys[index]))]
    text = _number_runs(keys[order])
    text_and_class = _number_runs(keys[order], state.code[order])
    in_text = np.bincount(text)[text]
    in_class = np.bincount(text_and_class)[text_and_class]
    several = in_class < in_text
    found = np.zeros(len(keys), bool)
    found[order[several & (in_class < CLEAR_MAJORITY * in_text)]] = True
    texts = len(np.unique(text[several]))
    state.apply("conflicting_labels", found, note=f"{texts:,} different texts" if texts else "")


def _number_runs(*columns: np.ndarray) -> np.ndarray:
    """Numbers from 0 for runs of equal values in sorted columns, int64 [n]."""
    if not len(columns[0]):
        return np.empty(0, np.int64)
    changes = np.zeros(len(columns[0]) - 1, bool)
    for column in columns:
        changes |= column[1:] != column[:-1]
    return np.concatenate([[0], np.cumsum(changes)])


def _duplicates(state: Sieve, keys: np.ndarray, index: np.ndarray) -> None:
    """Rows after the first with the same text and class, among those of `index`."""
    order = index[np.lexsort((state.code[index], keys[index]))]  # stable: the first row stays first
    sorted_, codes = keys[order], state.code[order]
    found = np.zeros(len(keys), bool)
    found[order[1:][(sorted_[1:] == sorted_[:-1]) & (codes[1:] == codes[:-1])]] = True
    state.apply("duplicates", found)


def _repeated(state: Sieve, keys: np.ndarray) -> np.ndarray:
    """The rows still in whose key occurs more than once, in their order."""
    index = _perhaps_repeated(np.flatnonzero(state.inside), keys)
    if not len(index):
        return index
    order = np.argsort(keys[index])
    same = keys[index[order[1:]]] == keys[index[order[:-1]]]
    return np.sort(index[order[np.append(same, False) | np.append(False, same)]])


def _perhaps_repeated(index: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """All rows of `index` whose key occurs more than once there, and a few more."""
    seen, twice = Marks(len(index)), Marks(len(index))
    twice.add(keys[index[seen.add(keys[index])]])
    return index[twice.has(keys[index])]


def _keys_within(state: Sieve, part: np.ndarray) -> np.ndarray:
    """The exact keys, different in each part."""
    with np.errstate(over="ignore"):
        return state.rows.exact ^ (part.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _small_classes(state: Sieve) -> None:
    counts = np.bincount(state.code[state.inside], minlength=len(state.names))
    small = (counts > 0) & (counts < state.settings.min_class_rows)
    names = [f"{state.names[i]!r} ({counts[i]})" for i in np.flatnonzero(small)]
    found = np.zeros(len(state.rows), bool)
    if len(names):
        found = np.append(small, False)[state.code]
    state.apply(
        "small_classes",
        found,
        note=", ".join(names[:10]),
        hint=f"a label needs {state.settings.min_class_rows} rows, less than that have {', '.join(names[:5])}; "
        "add rows or lower min_class_rows",
    )
    left = np.flatnonzero(np.bincount(state.code[state.inside], minlength=len(state.names)))
    if len(left) < 2:
        only = f"only the label {state.names[left[0]]!r}" if len(left) else "no label"
        raise UserError(
            f"After the checks {only} is left: a classifier needs two or more; check label_column and label_names."
        )


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
