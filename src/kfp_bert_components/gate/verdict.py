"""From the test of the primary metric and the guardrails to an outcome, and to the one sentence that says why."""

from dataclasses import dataclass
from math import ceil

from kfp_bert_components.evaluation.names import LOWER_IS_BETTER, metric_title
from kfp_bert_components.formats import counted, number, signed
from kfp_bert_components.gate.guardrails import Guardrail
from kfp_bert_components.gate.pivot import Pivot
from kfp_bert_components.gate.policy import Goal
from kfp_bert_components.gate.shortage import Shortage

POWER = 0.8
# MCC depends most on the rarest class. With ten rows of that class, its test against a difference other than 0 promoted
# 14 % at alpha = 5 %; with 50 rows it kept its level (benchmarks/gate.py).
FEWEST_FOR_MCC = 50
_MOST_TIMES = 100


@dataclass(frozen=True)
class PrimaryTest:
    """The test of the primary metric.

    Attributes:
        goal: What must be shown.
        pivot: The difference and its reference distribution.
        rows: Rows of the test set.
        against: What the candidate was compared with, in words.
        same: Whether the two never differ.
        itself: Whether the two are one model, as where nothing was trained anew.
        first: Whether there is no champion.
        rare: A class that has too few rows for a test against a difference other than 0, or "".
        short: What has too little evidence for any test, as its rows are copies or belong to few groups; or None.
        unit: What counts as evidence, in the plural.
    """

    goal: Goal
    pivot: Pivot
    rows: int
    against: str
    same: bool
    itself: bool = False
    first: bool = False
    rare: str = ""
    short: Shortage | None = None
    unit: str = "texts"


def verdict(test: PrimaryTest, alpha: float, guardrails: list[Guardrail]) -> tuple[str, str]:
    """The outcome, PROMOTE, HOLD or REJECT, and its reason."""
    outcome, reason = _primary(test, alpha)
    failed = [one for one in guardrails if not one.passed]
    if outcome != "PROMOTE" or not failed:
        return outcome, reason
    worst = next((one for one in failed if one.broken), failed[0])
    moved = f"{metric_title(test.goal.metric)} {_moved(test)}"
    is_change = worst.limit < 0
    limit = f"the limit of {signed(worst.limit) if is_change else number(worst.limit)}"
    if worst.broken:
        seen = f"changed by {signed(worst.value)}" if is_change else f"is {number(worst.value)}"
        return "REJECT", f"{moved}, but {worst.name} {seen}, beyond {limit}."
    return "HOLD", f"{moved}, but these rows do not show that {worst.name} stays within {limit}: collect more rows."


def more_rows(test: PrimaryTest, alpha: float) -> int:
    """Rows to add so that a gain like the observed one would be shown 4 times in 5; 0 where more rows cannot help."""
    wanted = max(test.pivot.value - test.goal.delta, test.goal.min_improvement)
    if wanted <= 0 or test.pivot.error == 0:
        return 0
    times = (test.pivot.resolvable(alpha, POWER) / wanted) ** 2
    if not 1 < times <= _MOST_TIMES:
        return 0
    exact = test.rows * (times - 1)
    unit = 10 ** max(0, len(str(int(exact))) - 2)
    return ceil(exact / unit) * unit


def _primary(test: PrimaryTest, alpha: float) -> tuple[str, str]:
    """Outcome and reason by the primary metric alone."""
    if test.itself:
        return "REJECT", f"Nothing has changed: the candidate is {test.against} itself. There is nothing to promote."
    if test.same:
        return "REJECT", (
            f"The candidate gives the same answers as {test.against} on all {test.rows:,} test rows, so there is "
            "nothing to gain."
        )
    pivot, goal, name = test.pivot, test.goal, metric_title(test.goal.metric)
    moved = f"{name} {_moved(test)} ({_interval(pivot, goal.metric, alpha)})"
    if test.short:
        return "HOLD", f"{moved}, but {_short(test.short, test.unit)}."
    level, target = f"at alpha {alpha:.3g}", _target(goal)
    shown = pivot.p_value(goal.delta) <= alpha
    if shown and test.rare:
        return "HOLD", (
            f"{moved}, but the class {test.rare!r} has too few rows to test {name} against {target}: collect "
            f"{FEWEST_FOR_MCC} rows of each class, or choose another metric."
        )
    more, less = ("better than", "worse than") if goal.margin else ("more than", "less than")
    if shown:
        return "PROMOTE", f"{moved}: {test.rows:,} test rows show that this is {more} {target} {level}."
    if pivot.interval(alpha)[1] < goal.delta:
        found = f"{less} {target}" if goal.delta else "a change for the worse"
        return "REJECT", f"{moved}: {test.rows:,} test rows show that this is {found} {level}."
    resolvable = pivot.resolvable(alpha, POWER)
    if 0 < resolvable <= goal.min_improvement:
        return "REJECT", (
            f"{moved}: if there were a gain of {number(resolvable)}, these {test.rows:,} test rows would have shown it "
            f"{level}."
        )
    missing = more_rows(test, alpha)
    todo = f" Collect about {missing:,} more rows." if missing else ""
    return "HOLD", f"{moved}: this test set of {test.rows:,} rows cannot tell this from {target} {level}.{todo}"


def _short(short: Shortage, unit: str) -> str:
    of = f" of the class {short.label!r}" if short.label else ""
    more = "rows of that class" if short.label else "rows"
    return (
        f"the {short.rows:,} rows{of} have only {counted(short.clusters, unit)}. They are worth {short.effective:.1f} "
        f"independent rows, which is too few to compare models: collect {more} with other {unit}"
    )


def _target(goal: Goal) -> str:
    if goal.margin:
        return f"a loss of {number(goal.margin)}"
    return f"a gain of {number(goal.min_improvement)}" if goal.min_improvement else "no change"


def _moved(test: PrimaryTest) -> str:
    value = test.pivot.value
    if abs(value) < 5e-13:
        return f"is the same as that of {test.against}"
    if test.first:
        return f"is {number(abs(value))} {'better' if value > 0 else 'worse'} than {test.against}"
    words = ("improved", "got worse") if test.goal.metric in LOWER_IS_BETTER else ("rose", "fell")
    link = "over" if value > 0 else "against"
    return f"{words[value < 0]} by {number(abs(value))} {link} {test.against}"


def _interval(pivot: Pivot, metric: str, alpha: float) -> str:
    low, high = pivot.interval(alpha)
    of = " of the improvement" if metric in LOWER_IS_BETTER else ""
    if abs(low) == float("inf"):
        return "too few rows differ for an interval"
    return f"{100 * (1 - 2 * alpha):.3g} % interval{of} {signed(low)} to {signed(high)}"
