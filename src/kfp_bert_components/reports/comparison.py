"""The page and the summary of a comparison."""

from typing import TYPE_CHECKING, Any

import numpy as np

from kfp_bert_components.formats import number, signed
from kfp_bert_components.reports import gate_charts, render
from kfp_bert_components.reports.evaluation import OVERALL

if TYPE_CHECKING:
    from kfp_bert_components.evaluation import Evaluation
    from kfp_bert_components.gate import Decision
    from kfp_bert_components.gate.exam import Exam

FLIPS_SHOWN = 15
_MOST_LINES = 30
_DRAWS = 999


def page(decision: "Decision", exam: "Exam", new: "Evaluation", old: "Evaluation") -> str:
    """The comparison as a page, made to be read in a minute."""
    from kfp_bert_components.gate.verdict import metric_name

    first, metric, names = old.empty, decision.difference["metric"], _names()
    return render(
        "comparison.html",
        decision=decision,
        candidate=new,
        champion=old,
        exam=exam,
        first=first,
        name=names.get(metric, metric_name(metric)),
        names=names,
        overall=OVERALL,
        picture=gate_charts.difference_chart(decision.difference),
        matrices=_matrices(exam, first),
        reliability=_reliability(exam, first),
        classes=None if first else _classes(exam),
        slices=None if first else _slices(exam, new),
        lost=[] if first else _flips(exam, new, 1),
        won=[] if first else _flips(exam, new, 0),
        changed=[int(part.sum()) for part in exam.flips],
    )


def summary(decision: "Decision") -> str:
    """The decision in Markdown, for the list of artifacts."""
    from kfp_bert_components.gate.verdict import metric_name

    found = decision.difference
    rows = [
        ("", "candidate", "champion", "change"),
        ("---", "---", "---", "---"),
        (metric_name(found["metric"]), number(found["candidate"]), number(found["champion"]), signed(found["value"])),
    ]
    lines = [f"**{decision.outcome}**: {_plain(decision.reason)}", ""]
    lines += ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in rows]
    lines += [""] + [
        f"- {_result(one)}: {_plain(one['name'])} {_observed(one['value'], one)}, limit {_observed(one['limit'], one)}"
        for one in sorted(decision.guardrails, key=lambda one: one["passed"])
    ]
    return "\n".join(lines).rstrip() + "\n"


def _result(guardrail: dict[str, Any]) -> str:
    return "pass" if guardrail["passed"] else "FAIL" if guardrail["broken"] else "NOT SHOWN"


def _observed(value: float, guardrail: dict[str, Any]) -> str:
    """Changes have a sign, shares and ratios have none."""
    return signed(value) if guardrail["limit"] < 0 else number(value)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: names of classes and people may hold anything."""
    special = {"|": "\\|", "<": "&lt;", "\n": " ", "*": "\\*", "`": "\\`", "[": "\\["}
    return "".join(special.get(letter, letter) for letter in text)


def _names() -> dict[str, str]:
    from kfp_bert_components.gate.policy import METRICS

    return METRICS


def _matrices(exam: "Exam", first: bool) -> list[Any]:
    if len(exam.labels) > gate_charts.MOST_CLASSES:
        return []
    both = zip(exam.confusions(), ("candidate", "champion"), strict=True)
    return [gate_charts.confusion_chart(counts, exam.labels, name) for counts, name in both][: 1 if first else 2]


def _reliability(exam: "Exam", first: bool) -> Any:
    from kfp_bert_components.evaluation.row_metrics import reliability

    curves = {"candidate": reliability(exam.truth, exam.candidate)}
    if not first:
        curves["champion"] = reliability(exam.truth, exam.champion)
    return gate_charts.reliability_chart(curves)


def _classes(exam: "Exam") -> Any:
    from kfp_bert_components.gate.difference import difference

    totals = np.bincount(exam.truth, minlength=len(exam.labels))
    chosen = np.argsort(-totals, kind="stable")[:_MOST_LINES]
    rows = []
    for i in chosen[totals[chosen] > 0]:
        pivot, _ = difference(exam, f"f1:{exam.labels[i]}", _DRAWS)
        rows.append(_line(exam.labels[i], int(totals[i]), pivot, 1.0))
    return gate_charts.intervals_chart(rows, "change of F1, with 95 % interval")


def _slices(exam: "Exam", new: "Evaluation") -> Any:
    from kfp_bert_components.gate.guardrails import slice_pivot, slices_of

    rows = [
        _line(name, int(members.sum()), slice_pivot(exam, members), 1.0)
        for name, members in slices_of(exam, new)[:_MOST_LINES]
        if members.any()
    ]
    return gate_charts.intervals_chart(rows, "change of accuracy, with 95 % interval") if rows else None


def _line(name: str, rows: int, pivot: Any, most: float) -> dict[str, Any]:
    low, high = pivot.estimate()
    return {"name": name, "rows": rows, "value": pivot.value, "low": max(low, -most), "high": min(high, most)}


def _flips(exam: "Exam", new: "Evaluation", side: int) -> list[tuple[str, str, str, str]]:
    """Rows that changed sides, most surprising first: text, truth, champion's and candidate's answer."""
    assert new.predictions is not None
    rows = np.flatnonzero(exam.flips[side])
    gap = np.abs(exam.candidate[rows, exam.truth[rows]] - exam.champion[rows, exam.truth[rows]])
    rows = rows[np.argsort(-gap, kind="stable")][:FLIPS_SHOWN]
    texts = new.predictions["text"].take(exam.order[rows]).to_pylist()
    name = exam.labels
    ours, theirs = exam.said
    return [(text, name[exam.truth[i]], name[theirs[i]], name[ours[i]]) for text, i in zip(texts, rows, strict=True)]
