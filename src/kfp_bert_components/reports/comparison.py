"""The page and the summary of a comparison."""

from typing import TYPE_CHECKING, Any

from kfp_bert_components.data.splits import rows_in_words
from kfp_bert_components.evaluation.names import METRICS, metric_title
from kfp_bert_components.formats import number, signed
from kfp_bert_components.origin import read_origin
from kfp_bert_components.plain import markdown, plain
from kfp_bert_components.reports import Facts, gate_charts, render
from kfp_bert_components.reports.evaluation import model_in_words

if TYPE_CHECKING:
    from kfp_bert_components.evaluation import Evaluation
    from kfp_bert_components.gate import Decision
    from kfp_bert_components.gate.changes import Changes


# What a first candidate is compared with.
FIRST = "most frequent class"
# Guardrails that are listed; there may be one for each of thousands of classes.
MOST_GUARDRAILS = 40


def page(
    decision: "Decision",
    candidate: "Evaluation",
    champion: "Evaluation",
    changes: "Changes",
    about: Facts,
    command: str = "",
) -> str:
    """The comparison as a page, made to be read in a minute.

    `about` is what its first line adds, `command` the command that shows what the run did in the registry.
    """
    metric, labels = decision.difference["metric"], candidate.labels
    labels = labels + [label for label in champion.labels if label not in labels]
    return render(
        "comparison.html",
        about=[
            ("candidate", model_in_words(candidate)),
            ("champion", model_in_words(champion)),
            ("test set", rows_in_words(candidate.test_fingerprint, candidate.predictions)),
            *about,
        ],
        decision=decision,
        candidate=candidate,
        champion=champion,
        first=champion.empty,
        baseline=FIRST if champion.empty else "champion",
        origin=[
            *read_origin(decision.origin).facts(),
            *([("what the run did in the registry", command)] if command else []),
        ],
        name=METRICS.get(metric) or metric_title(metric),
        names=METRICS,
        picture=gate_charts.difference_chart(decision.difference),
        matrices=gate_charts.confusion_charts(changes.confusions, labels),
        reliability=gate_charts.reliability_chart(changes.reliability),
        classes=gate_charts.intervals_chart(changes.classes, "change of F1, with 95 % interval"),
        slices=gate_charts.intervals_chart(changes.slices, "change of accuracy, with 95 % interval"),
        changes=changes,
        guardrails=_listed(decision),
    )


def summary(decision: "Decision", command: str = "") -> str:
    """The decision in Markdown, for the list of artifacts; `command` is the command as on the page."""
    found = decision.difference
    baseline = "champion" if decision.champion_version else FIRST
    rows = [
        ("", "candidate", baseline, "change"),
        ("---", "---", "---", "---"),
        (metric_title(found["metric"]), number(found["candidate"]), number(found["champion"]), signed(found["value"])),
    ]
    if common := found.get("common_labels"):
        values = number(common["candidate"]), number(common["champion"]), signed(common["value"])
        rows.append((f"{metric_title(found['metric'])}, labels that both know", *values))
    lines = [f"**{decision.outcome}**: {markdown(decision.reason)}", ""]
    lines += [line for one in decision.warnings for line in (f"**Warning**: {markdown(one)}", "")]
    lines += ["| " + " | ".join(markdown(cell) for cell in row) + " |" for row in rows]
    lines += [""] * bool(decision.guardrails) + [
        f"- {_result(one)}: {markdown(one['name'])} {_observed(one['value'], one)}, "
        f"limit {_observed(one['limit'], one)}"
        for one in _listed(decision)
    ]
    if (more := len(decision.guardrails) - MOST_GUARDRAILS) > 0:
        lines.append(f"- {more:,} more guardrails are in decision.json")
    if command:
        lines += ["", "What the run did in the registry:", "", f"    {plain(command)}"]
    return "\n".join(lines).rstrip() + "\n"


def _listed(decision: "Decision") -> list[dict[str, Any]]:
    """The guardrails to show: broken ones first, then those not shown to hold, then those that hold."""
    return sorted(decision.guardrails, key=lambda one: (one["passed"], not one["broken"]))[:MOST_GUARDRAILS]


def _result(guardrail: dict[str, Any]) -> str:
    return "pass" if guardrail["passed"] else "FAIL" if guardrail["broken"] else "NOT SHOWN"


def _observed(value: float, guardrail: dict[str, Any]) -> str:
    """Changes have a sign, shares and ratios have none."""
    return signed(value) if guardrail["limit"] < 0 else number(value)
