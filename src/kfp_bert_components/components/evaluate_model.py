"""The component that scores the candidate."""

from typing import Dict, List

from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from kfp_bert_components.components._images import tensorflow_component


@tensorflow_component
def evaluate_model(
    model: Input[Model],
    test: Input[Dataset],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    classification_metrics: Output[ClassificationMetrics],
    report: Output[HTML],
    slice_columns: List[str] = [],
    slice_rules: Dict[str, str] = {},
    evidence_by: str = "text",
    keep_texts: str = "all",
):
    """Score a model on the test split through its serving signature, and keep every prediction.

    Args:
        model: Model bundle, from finetune_bert.
        test: Test split, from prepare_text_data.
        slice_columns: Metadata columns of the test split. Each value of such a column is a slice with its own metrics;
            a column may have up to 2,000 values.
        slice_rules: Slices by name, each a rule such as "length > 20" or "text ~ [0-9]". The length is in words; in
            scripts written without spaces, each character counts as a word. Log and page name a rule that finds no row.
        evidence_by: What counts as one piece of evidence: text (copies of a text are one), row, or the name of a column
            that prepare_text_data kept, such as film or customer (rows with the same value are one). Metrics count
            rows; intervals and tests count pieces of evidence. Default: text.
        keep_texts: all, or ids, which leaves the texts out of evaluation and page. The page then shows mistakes by file
            and row, and a deployment can't test the model on these texts.

    Returns:
        evaluation: Metrics with 95 % intervals, and one row for each example: id, text, label, probabilities, place,
            slices.
        metrics: The metrics over all classes, latency in ms and size in bytes, for the UI.
        classification_metrics: For the UI: confusion matrix (of up to 100 classes) and ROC curve (of the second class
            if the model is binary, otherwise micro-averaged over the classes).
        report: The evaluation as a page.
    """
    import json
    from pathlib import Path

    from kfp_bert_components.evaluation import Slicing
    from kfp_bert_components.steps.artifact_metadata import of_evaluation
    from kfp_bert_components.steps.evaluate_model import evaluate_model

    slicing = Slicing(slice_columns, slice_rules)
    found = evaluate_model(
        Path(model.path),
        Path(test.path),
        Path(evaluation.path),
        Path(report.path),
        slicing,
        evidence_by=evidence_by,
        keep_texts=keep_texts,
    )
    for name, value in found.overall().items():
        metrics.log_metric(name, value)
    Path(metrics.path).write_text(json.dumps(found.overall(), indent=1))
    evaluation.metadata.update(of_evaluation(found))
    if len(found.labels) <= 100:  # it goes into the task's metadata, which has a limit of a few MB
        classification_metrics.log_confusion_matrix(found.labels, found.confusion())
    classification_metrics.log_roc_curve(*found.roc_curve())
    Path(classification_metrics.path).write_text(json.dumps(classification_metrics.metadata))
