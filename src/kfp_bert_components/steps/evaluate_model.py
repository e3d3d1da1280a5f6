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
    keep_texts: str = "all",
) -> Evaluation:
    """Score a model bundle on a test split and keep every prediction.

    Args:
        model: The model bundle.
        test: The test split.
        evaluation: Folder for the evaluation.
        report: HTML page to write.
        slicing: Parts of the test set to look at on their own.
        keep_texts: "all", or "ids" to leave the texts out of evaluation and page.

    Raises:
        UserError: The split has no rows, or labels that the model does not know.
    """
    found = evaluate(model, test, evaluation, slicing=slicing, keep_texts=keep_texts)
    report.write_text(page(found, details(found)), encoding="utf-8")
    return found
