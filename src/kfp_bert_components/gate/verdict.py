"""From a measured difference to an outcome, and to the one sentence that says why."""

from dataclasses import dataclass
from math import ceil

from kfp_bert_components.evaluation.row_metrics import LOWER_IS_BETTER
from kfp_bert_components.formats import number, signed
from kfp_bert_components.gate.guardrails import Guardrail
from kfp_bert_components.gate.pivot import Pivot
from kfp_bert_components.gate.policy import METRICS, Policy
from kfp_bert_components.gate.uses import Use

POWER = 0.8
# MCC hangs on the rarest class. Against a difference other than 0 its test was seen to promote 14 % at alpha = 5 % with
# ten rows of that class, and to keep its level with 50 (benchmarks/gate.py).
FEWEST_FOR_MCC = 50
_MOST_TIMES = 100


@dataclass(frozen=True)
class Finding:
    """What the test of the primary metric found.

    Attributes:
        pivot: The difference and its reference distribution.
        rows: Rows of the test set.
        against: What the candidate was compared with, in words.
        same: Whether the two never differ.
        first: Whether there is no champion.
        rare: A class that has too few rows for the metric to be tested against anything but no change, or "".
    """

    pivot: Pivot
    rows: int
    against: str
    same: bool
    first: bool = False
    rare: str = ""


def verdict(found: Finding, policy: Policy, use: Use, guardrails: list[Guardrail]) -> tuple[str, str]:
    """The outcome and its reason."""
    outcome, reason = _primary(found, policy, use)
    if outcome != "PROMOTE":
        return outcome, reason
    failed = [one for one in guardrails if not one.passed]
    if not failed:
        return outcome, reason
    worst = next((one for one in failed if one.broken), failed[0])
    change = worst.limit < 0
    limit = f"the limit of {signed(worst.limit) if change else number(worst.limit)}"
    if worst.broken:
        seen = f"changed by {signed(worst.value)}" if change else f"is {number(worst.value)}"
        why = f"{worst.name} {seen}, beyond {limit}"
        return "REJECT", f"{metric_name(policy.primary_metric)} {_moved(found, policy)}, but {why}."
    why = f"these rows do not show that {worst.name} stays within {limit}"
    return "HOLD", f"{metric_name(policy.primary_metric)} {_moved(found, policy)}, but {why}: collect more rows."


def more_rows(found: Finding, policy: Policy, alpha: float) -> int:
    """Rows to add so that a gain like the observed one would be shown 4 times in 5; 0 where that helps nobody."""
    wanted = max(found.pivot.value - policy.delta, policy.min_improvement)
    if wanted <= 0 or found.pivot.error == 0:
        return 0
    times = (found.pivot.resolvable(alpha, POWER) / wanted) ** 2
    if not 1 < times <= _MOST_TIMES:
        return 0
    exact = found.rows * (times - 1)
    unit = 10 ** max(0, len(str(int(exact))) - 2)
    return ceil(exact / unit) * unit


def metric_name(metric: str) -> str:
    """A metric at the start of a sentence."""
    kind, _, label = metric.partition(":")
    name = METRICS.get(metric) or f"{'F1' if kind == 'f1' else kind} of class {label!r}"
    return name[0].upper() + name[1:]


def _primary(found: Finding, policy: Policy, use: Use) -> tuple[str, str]:
    pivot, alpha, name = found.pivot, use.alpha, metric_name(policy.primary_metric)
    if found.same:
        return "REJECT", (
            f"The candidate gives the same answers as {found.against} on all {found.rows:,} test rows, so there is "
            "nothing to gain."
        )
    moved = f"{name} {_moved(found, policy)} ({_interval(pivot, policy, alpha)})"
    level = f"at alpha {alpha:.3g}"
    target = _target(policy)
    if found.rare and pivot.p_value(policy.delta) <= alpha:
        return "HOLD", (
            f"{moved}, but the class {found.rare!r} has too few rows to test {name} against {target}: collect "
            f"{FEWEST_FOR_MCC} rows of each class, or choose another metric."
        )
    if pivot.p_value(policy.delta) <= alpha:
        return "PROMOTE", f"{moved}, which {found.rows:,} test rows show to be more than {target} {level}."
    if pivot.interval(alpha)[1] < policy.delta:
        shown = f"less than {target}" if policy.delta else "a change for the worse"
        return "REJECT", f"{moved}, which {found.rows:,} test rows show to be {shown} {level}."
    resolvable = pivot.resolvable(alpha, POWER)
    if 0 < resolvable <= policy.min_improvement:
        return "REJECT", (
            f"{moved}, and this test set of {found.rows:,} rows would have shown a gain of {number(resolvable)} "
            f"{level}."
        )
    more = more_rows(found, policy, alpha)
    todo = f": collect about {more:,} more rows" if more else ""
    return "HOLD", f"{moved}, which this test set of {found.rows:,} rows cannot tell from {target} {level}{todo}."


def _target(policy: Policy) -> str:
    if policy.margin:
        return f"a loss of {number(policy.margin)}"
    return f"a gain of {number(policy.min_improvement)}" if policy.min_improvement else "no change"


def _moved(found: Finding, policy: Policy) -> str:
    value = found.pivot.value
    if abs(value) < 5e-13:
        return f"is the same as that of {found.against}"
    if found.first:
        return f"is {number(abs(value))} {'better' if value > 0 else 'worse'} than {found.against}"
    words = ("improved", "got worse") if policy.primary_metric in LOWER_IS_BETTER else ("rose", "fell")
    link = "over" if value > 0 else "against"
    return f"{words[value < 0]} by {number(abs(value))} {link} {found.against}"


def _interval(pivot: Pivot, policy: Policy, alpha: float) -> str:
    low, high = pivot.interval(alpha)
    of = " of the improvement" if policy.primary_metric in LOWER_IS_BETTER else ""
    if abs(low) == float("inf"):
        return "too few rows differ for an interval"
    return f"{100 * (1 - 2 * alpha):.3g} % interval{of} {signed(low)} to {signed(high)}"
