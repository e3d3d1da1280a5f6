"""The page of an evaluation."""

from typing import TYPE_CHECKING

from kfp_bert_components.data.splits import rows_in_words
from kfp_bert_components.evaluation.names import METRICS
from kfp_bert_components.reports import Facts, gate_charts, render

if TYPE_CHECKING:
    from kfp_bert_components.evaluation import Evaluation
    from kfp_bert_components.evaluation.details import Details


def page(evaluation: "Evaluation", details: "Details", about: Facts, template: str = "evaluation.html") -> str:
    """The page of an evaluation: metrics with intervals, classes, slices, confusions, reliability, mistakes.

    Args:
        evaluation: It must not be empty.
        details: Of it.
        about: What the page's first line says beside model and test set.
        template: Name of the template.
    """
    test_set = rows_in_words(evaluation.test_fingerprint, evaluation.predictions)
    matrices = gate_charts.confusion_charts({"number of rows": details.confusion}, evaluation.labels)
    return render(
        template,
        about=[
            ("model", model_in_words(evaluation)),
            ("test set", test_set),
            *([("answered by", f"{evaluation.engine} in {evaluation.precision}")] if evaluation.precision else []),
            *about,
        ],
        evaluation=evaluation,
        details=details,
        size=evaluation.size(),
        names=METRICS,
        classes=gate_charts.metric_chart(details.classes, "F1, with 95 % interval"),
        matrix=matrices[0] if matrices else None,
        reliability=gate_charts.reliability_chart({"model": details.reliability}),
    )


def model_in_words(evaluation: "Evaluation") -> str:
    """Version in the registry, where it has one, and the beginning of the fingerprint; "none" without a model."""
    if evaluation.empty:
        return "none"
    version = f"version {evaluation.model_version}, " if evaluation.model_version else ""
    return version + evaluation.model_fingerprint[:12]
