"""The page of an evaluation."""

from typing import TYPE_CHECKING

from kfp_bert_components.evaluation.names import METRICS
from kfp_bert_components.reports import gate_charts, render

if TYPE_CHECKING:
    from kfp_bert_components.evaluation import Evaluation
    from kfp_bert_components.evaluation.details import Details


def page(evaluation: "Evaluation", details: "Details", template: str = "evaluation.html") -> str:
    """The page of an evaluation: metrics with intervals, classes, slices, confusions, reliability, mistakes."""
    matrices = gate_charts.confusion_charts({"number of rows": details.confusion}, evaluation.labels)
    return render(
        template,
        evaluation=evaluation,
        details=details,
        size=evaluation.size(),
        names=METRICS,
        classes=gate_charts.metric_chart(details.classes, "F1, with 95 % interval"),
        matrix=matrices[0] if matrices else None,
        reliability=gate_charts.reliability_chart({"model": details.reliability}),
    )
