"""The component that scores the candidate."""

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
):
    """Score a model on the test split through its serving signature, and keep every prediction.

    Args:
        model: Model bundle, from finetune_bert.
        test: Test split, from prepare_text_data.

    Returns:
        evaluation: Metrics with 95 % intervals, and one row an example: id, label, probabilities.
        metrics: The metrics, for the UI.
        classification_metrics: The confusion matrix, for the UI.
        report: The evaluation as a page.
    """
    from pathlib import Path

    from kfp_bert_components.evaluation import evaluate

    found = evaluate(Path(model.path), Path(test.path), Path(evaluation.path), Path(report.path))
    for name, metric in found.metrics.items():
        metrics.log_metric(name, metric["value"])
    classification_metrics.log_confusion_matrix(found.labels, found.confusion())
