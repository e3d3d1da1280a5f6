"""Whether the labels of a test set contradict the champion: a bad batch is an alarm before it is a new model.

Accuracy is looked at, and two things are asked of it. Each has half of ALPHA.

- Did the champion fall? Its answers on the rows that it was promoted on are compared with those on the new rows. The
  unit is the distinct text: each adds what it contributes to the difference of the two accuracies, so a text that is in
  both sets cancels out unless its labels changed. The statistic is the sum of these over the root of the sum of their
  squares, centred at the accuracy of all rows together. Where few texts are wrong that root is too small, so it is at
  least what texts with that accuracy have (a score test).
- Is it worse than always saying the most frequent class? The same statistic of the paired differences by text. That is
  an alarm where the champion was shown to beat that class then. One that is chosen by macro F1 may never have been.

A champion was promoted because it did well on its test set, so its figure then is too high (winner's curse). Whatever
made the choice: P(false alarm | promoted) <= P(false alarm) / P(promoted). A candidate that is no worse than the model
before it is promoted with a probability of about the alpha of that comparison, or more. So p-values that involve the
figure then are divided by that alpha.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import pyarrow as pa

from kfp_bert_components.evaluation import Evaluation
from kfp_bert_components.evaluation.text_keys import TEXT_KEY, key_column
from kfp_bert_components.formats import count, number

# With a run a night, a false alarm comes less than four times a year, and it stops nothing by itself: it must also look
# as if the candidate could not learn the labels.
ALPHA = 0.01
_LEVEL = ALPHA / 2
# A difference of two accuracies that rounding makes.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Figures:
    """Accuracy on a test set, and how large that is."""

    accuracy: float
    rows: int
    texts: int


@dataclass(frozen=True)
class DataAlarm:
    """What the labels of a test set say of the champion.

    Attributes:
        sentence: The alarm; "" where there is none.
        note: What could not be compared, and why; "" where nothing is missing.
        labels: The labels that the champion knows. Rows with others are left out of all figures.
        chance: Alpha of the comparison that promoted it: the least probability of being chosen that is allowed for.
        now: Its figures on the new rows; None where it knows none of their labels.
        then: Its figures on the rows that it was promoted on; None where they are not known.
        frequent: The most frequent class of the new rows.
        frequent_share: Its share of them.
        p_fall: P-value of the fall; None where nothing was compared.
        p_frequent: P-value of being worse than the most frequent class.
        alpha: Probability of an alarm by chance; each of the two tests has half of it.
    """

    sentence: str = ""
    note: str = ""
    labels: Sequence[str] = ()
    chance: float = 1.0
    now: Figures | None = None
    then: Figures | None = None
    frequent: str = ""
    frequent_share: float = 0.0
    p_fall: float | None = None
    p_frequent: float | None = None
    alpha: float = ALPHA


def by_text(evaluation: Evaluation, labels: Sequence[str], key: str = TEXT_KEY) -> pa.Table:
    """How often a model is right on each text, counting the rows with these labels.

    Args:
        evaluation: Of the model.
        labels: The labels.
        key: The column by which texts are told apart, if the predictions have it; else the ids do it.

    Returns:
        A row for each distinct text: its key (or id), rows, right, and `frequent`, the rows of the most frequent class.
    """
    assert evaluation.predictions is not None
    key = key if key in evaluation.predictions.column_names else "id"
    truth, known = evaluation.truth(), np.isin(evaluation.labels, labels)
    chosen = known[truth]
    commonest = (np.bincount(truth, minlength=len(known)) * known).argmax()
    columns = {
        "rows": np.ones(len(truth), np.int64),
        "right": (evaluation.probabilities().argmax(1) == truth).astype(np.int64),
        "frequent": (truth == commonest).astype(np.int64),
    }
    table = pa.table({key: evaluation.predictions[key].cast(pa.string()), **columns}).filter(pa.array(chosen))
    summed = table.group_by(key).aggregate([(name, "sum") for name in columns])
    return summed.select([key, *(f"{name}_sum" for name in columns)]).rename_columns([key, *columns])


def find_alarm(
    now: Evaluation, then: Evaluation | None, labels: Sequence[str], chance: float = 1.0, note: str = ""
) -> DataAlarm:
    """Look whether the new labels contradict the champion.

    Args:
        now: The champion's evaluation on the new rows.
        then: Its evaluation on the rows that it was promoted on; None if that is not known.
        labels: The labels that it knows.
        chance: Alpha of the comparison that promoted it.
        note: Why `then` is not known.
    """
    key = key_column(*(one.predictions for one in (now, then) if one))
    new, old = by_text(now, labels, key), by_text(then, labels, key) if then else None
    if not new.num_rows:
        return DataAlarm(note="The champion knows none of the labels of these rows.", labels=labels, chance=chance)
    counts = np.bincount(now.truth(), minlength=len(now.labels)) * np.isin(now.labels, labels)
    found = DataAlarm(
        note=note,
        labels=labels,
        chance=chance,
        now=_figures(new),
        then=_figures(old) if old else None,
        frequent=now.labels[int(counts.argmax())],
        frequent_share=float(counts.max() / counts.sum()),
    )
    if then and then.test_fingerprint == now.test_fingerprint:
        return replace(found, note="These are the rows that the champion was promoted on: nothing to compare.")
    # Any of the classes might have been the most frequent one by chance.
    below = min(1.0, _p_above(new, "frequent", "right") * int((counts > 0).sum()))
    fall, beaten = None, True
    if old:
        fall, beaten = _p_of_fall(old, new, chance), _p_above(old, "right", "frequent") / chance <= _LEVEL
    found = replace(found, p_fall=fall, p_frequent=below)
    return replace(found, sentence=_sentence(found, fall is not None and fall <= _LEVEL, beaten and below <= _LEVEL))


def not_recovered(candidate: Evaluation, champion: Evaluation) -> str:
    """In a sentence, that the candidate can't do either what the champion did; "" where it can, or there is no alarm.

    It is judged by the test that found the champion's fall. Where it is not known how good the champion was, it must
    be shown to be better than the most frequent class.

    Args:
        candidate: Its evaluation.
        champion: The champion's evaluation on the same rows, from evaluate_champion.
    """
    alarm = champion.alarm
    if not alarm.get("sentence"):
        return ""
    then = champion.promoted_on
    texts = by_text(candidate, alarm["labels"], then.column_names[0] if then else TEXT_KEY)
    reached = number(_figures(texts).accuracy)
    if then is None:
        learnt = _p_above(texts, "right", "frequent") <= _LEVEL
        return "" if learnt else f"Nor is the candidate, with {reached}, shown to be better than that class."
    if _p_of_fall(then, texts, alarm["chance"]) > _LEVEL:
        return ""
    return f"Nor does the candidate reach what the champion reached then: it has {reached} now."


def _figures(texts: pa.Table) -> Figures:
    rows, right = (int(texts[name].to_numpy().sum()) for name in ("rows", "right"))
    return Figures(right / rows, rows, texts.num_rows)


def _p_of_fall(then: pa.Table, now: pa.Table, chance: float) -> float:
    """One-sided p-value of a fall of accuracy, with the choice of the champion allowed for."""
    both = then.join(now, then.column_names[0], now.column_names[0], join_type="full outer", right_suffix=" now")
    names = ("rows", "right", "rows now", "right now")
    rows_then, right_then, rows_now, right_now = (both[name].fill_null(0).to_numpy().astype(float) for name in names)
    many_then, many_now = rows_then.sum(), rows_now.sum()
    mean = (right_then.sum() + right_now.sum()) / (many_then + many_now)
    parts = (right_then - mean * rows_then) / many_then - (right_now - mean * rows_now) / many_now
    least = mean * (1 - mean) * ((rows_then / many_then - rows_now / many_now) ** 2).sum()
    return min(1.0, _p_value(parts.sum(), max((parts**2).sum(), least)) / chance)


def _p_above(texts: pa.Table, more: str, less: str) -> float:
    """One-sided p-value of a paired difference of two of the columns."""
    parts = texts[more].to_numpy().astype(float) - texts[less].to_numpy()
    return _p_value(parts.sum(), (parts**2).sum())


def _p_value(total: float, variance: float) -> float:
    from scipy.stats import norm

    return float(norm.sf(total / sqrt(variance))) if total > _ROUNDING else 1.0


def _sentence(found: DataAlarm, fell: bool, below: bool) -> str:
    """The alarm in words; "" where there is none."""
    if not (fell or below):
        return ""
    said = f"The new labels disagree with the champion: accuracy {_in_words(found.now, 'now')}"
    if fell:
        said += f", {_in_words(found.then, 'then')}"
    if below:
        said += f", where always saying {found.frequent!r} would give {number(found.frequent_share)}"
    return f"{said}; look at the data before you train."


def _in_words(figures: Figures | None, when: str) -> str:
    assert figures
    return f"{number(figures.accuracy)} {when} ({count(figures.rows)} rows, {count(figures.texts)} texts)"
