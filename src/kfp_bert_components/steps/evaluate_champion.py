"""Score the registry's champion on the test split that the candidate is scored on."""

import tempfile
from pathlib import Path

from kfp_bert_components.data.splits import read_split
from kfp_bert_components.evaluation import Evaluation, write_evaluation
from kfp_bert_components.evaluation.score import evaluate
from kfp_bert_components.registry import Registry


def evaluate_champion(registry: str, test: Path, evaluation: Path, keep_texts: str = "all") -> str:
    """Score the champion on a test split, now.

    Args:
        registry: URI of the registry.
        test: The test split; labels that the champion does not know count as missed.
        evaluation: Folder for the evaluation; an empty one is written while the registry has no champion.
        keep_texts: "all", or "ids" to leave the texts out of the evaluation.

    Returns:
        The champion's version, "" if there is none.
    """
    models = Registry(registry)
    champion = models.champion()
    if champion is None:
        split = read_split(test)
        write_evaluation(Evaluation(split.labels, split.fingerprint), evaluation)
        print("There is no champion yet.")
        return ""
    with tempfile.TemporaryDirectory() as scratch:
        models.fetch_bundle(champion.version, Path(scratch))
        evaluate(
            Path(scratch),
            test,
            evaluation,
            model_version=champion.version,
            champion_generation=champion.generation,
            new_labels=True,
            keep_texts=keep_texts,
        )
    print(f"The champion is version {champion.version}.")
    return str(champion.version)
