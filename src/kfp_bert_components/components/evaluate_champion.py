"""The component that scores the champion on the test split of the candidate."""

from typing import NamedTuple

from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from kfp_bert_components.components._images import tensorflow_component


@tensorflow_component
def evaluate_champion(
    registry: str,
    test: Input[Dataset],
    evaluation: Output[Artifact],
    report: Output[HTML],
    evidence_by: str = "text",
    keep_texts: str = "all",
) -> NamedTuple("Outputs", [("champion_version", str)]):
    """Score the registry's current champion on the test split; without a champion, give an empty evaluation.

    The step reports an alarm if the champion is significantly worse on these rows than on the rows that it was promoted
    on, or worse than a model that always answers the most frequent class. In this case the new labels disagree with the
    champion, and may be wrong.

    Args:
        registry: gs:// or s3:// URI, or folder, of the registry.
        test: Test split, from prepare_text_data.
        evidence_by: What counts as one piece of evidence: text, row or a column; the same as in evaluate_model.
        keep_texts: all, or ids, which leaves the texts out of the evaluation.

    Returns:
        evaluation: Metrics and predictions of the champion and the alarm, or an empty evaluation.
        report: The evaluation as a page, with the alarm at the top.
        champion_version: Version of the champion, "" if there is none.
    """
    from collections import namedtuple
    from pathlib import Path

    from kfp_bert_components.components._task import remember_stores
    from kfp_bert_components.evaluation import read_evaluation
    from kfp_bert_components.steps.artifact_metadata import of_evaluation
    from kfp_bert_components.steps.evaluate_champion import evaluate_champion

    remember_stores(test)
    version = evaluate_champion(
        registry,
        Path(test.path),
        Path(evaluation.path),
        Path(report.path),
        evidence_by=evidence_by,
        keep_texts=keep_texts,
    )
    evaluation.metadata.update(of_evaluation(read_evaluation(Path(evaluation.path))))
    return namedtuple("Outputs", ["champion_version"])(version)
