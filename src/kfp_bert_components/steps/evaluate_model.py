"""Score the candidate and draw its page."""

from pathlib import Path

from kfp_bert_components.evaluation import Evaluation
from kfp_bert_components.evaluation.details import details
from kfp_bert_components.evaluation.score import Slicing, evaluate
from kfp_bert_components.reports.evaluation import page


def evaluate_model(
    model: Path,
    test: Path,
    evaluation: Path,
    report: Path,
    slicing: Slicing | None = None,
    evidence_by: str = "text",
) -> Evaluation:
    """Score a model bundle on a test split and keep every prediction.

    Args:
        model: The model bundle.
        test: The test split.
        evaluation: Folder for the evaluation.
        report: HTML page to write.
        slicing: Parts of the test set to look at on their own.
        evidence_by: What counts as one piece of evidence: "text" (all rows with it), "row", or a column of the split.

    Raises:
        UserError: The split has no rows, labels that the model does not know, or no column `evidence_by`.
    """
    found = evaluate(model, test, evaluation, slicing=slicing, evidence_by=evidence_by)
    report.write_text(page(found, details(found)), encoding="utf-8")
    return found
