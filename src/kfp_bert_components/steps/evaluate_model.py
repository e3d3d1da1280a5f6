"""Score the candidate and draw its page."""

from pathlib import Path

import numpy as np

from kfp_bert_components.bert import read_bundle
from kfp_bert_components.evaluation import Evaluation
from kfp_bert_components.evaluation.details import details
from kfp_bert_components.evaluation.score import Slicing, evaluate
from kfp_bert_components.progress import say
from kfp_bert_components.reports import written
from kfp_bert_components.reports.evaluation import page

_MOST_LINES = 10


def evaluate_model(
    model: Path,
    test: Path,
    evaluation: Path,
    report: Path,
    slicing: Slicing | None = None,
    evidence_by: str = "text",
    keep_texts: str = "all",
) -> Evaluation:
    """Score a model bundle on a test split and keep every prediction.

    Args:
        model: The model bundle.
        test: The test split.
        evaluation: Folder for the evaluation.
        report: HTML page to write.
        slicing: Parts of the test set to look at on their own.
        evidence_by: What counts as one piece of evidence: "text" (all rows with it), "row", or a column of the split.
        keep_texts: "all", or "ids" to leave the texts out of evaluation and page.

    Raises:
        UserError: The split has no rows, labels that the model does not know, or no column `evidence_by`.
    """
    found = evaluate(model, test, evaluation, slicing=slicing, evidence_by=evidence_by, keep_texts=keep_texts)
    base = read_bundle(model).metadata.get("base_model") or "scratch"
    parts = details(found)
    report.write_text(page(found, parts, [("trained from", base), written(report)]), encoding="utf-8")
    _say_evidence(found)
    for name in parts.empty_slices:
        say(f"No test row is in the slice {name!r}: look at its rule in slice_rules.")
    return found


def _say_evidence(found: Evaluation) -> None:
    """Say how many texts or groups the rows are, and of which classes the rows count for less than half."""
    say(f"Evaluated on {found.size()}.")
    truth = found.truth()
    effective = found.clusters().by_part(truth, len(found.labels))
    rows = np.bincount(truth, minlength=len(found.labels))
    short = np.flatnonzero(2 * effective < rows)
    for number in short[np.argsort(effective[short])][:_MOST_LINES]:
        size = found.size(truth == number)
        say(f"Class {found.labels[number]!r}: {size}; they are worth {effective[number]:.1f} independent rows.")
