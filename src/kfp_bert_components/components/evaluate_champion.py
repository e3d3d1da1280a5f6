"""The component that scores the champion on the test split of the candidate."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Output

from kfp_bert_components.components._images import tensorflow_component


@tensorflow_component
def evaluate_champion(
    registry: str, test: Input[Dataset], evaluation: Output[Artifact], keep_texts: str = "all"
) -> NamedTuple("Outputs", [("champion_version", str)]):
    """Score the registry's champion on the test split, now; an empty evaluation when there is none.

    Args:
        registry: gs:// URI or folder of the registry.
        test: Test split, from prepare_text_data.
        keep_texts: all, or ids: leave the texts out of the evaluation.

    Returns:
        evaluation: Metrics and predictions of the champion, or an empty evaluation.
        champion_version: Version of the champion, "" if there is none.
    """
    from collections import namedtuple
    from pathlib import Path

    from kfp_bert_components.steps.evaluate_champion import evaluate_champion

    version = evaluate_champion(registry, Path(test.path), Path(evaluation.path), keep_texts)
    return namedtuple("Outputs", ["champion_version"])(version)
