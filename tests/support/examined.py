"""Candidates with a real SavedModel and a real evaluation of it, made in a second."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from kfp_bert_components.evaluation import Evaluation, write_evaluation
from tests.support.models import write_candidate

TEXTS = ["HELLO", "hello", "FADE IN", "She opens the door."]


def write_examined(
    folder: Path,
    name: str,
    *,
    champion: tuple[int, int] | None = None,
    shout_score: float = 0.9,
    model_score: float | None = None,
    saved_model: bool = True,
) -> tuple[Path, Path, Path]:
    """Make bundle, evaluation and decision of a model that knows shouting.

    Args:
        folder: Where to.
        name: Makes the model different from others.
        champion: Version and generation of the champion that it was compared with.
        shout_score: Probability of "shout" for capitals, as the evaluation says.
        model_score: The same, as the SavedModel answers; by default what the evaluation says.
        saved_model: Whether to write a SavedModel, which needs TensorFlow.
    """
    version, generation = champion or (None, 0)
    paths = write_candidate(folder, name, champion_version=version, champion_generation=generation)
    bundle, evaluation, _ = paths
    if saved_model:
        from tests.support.tiny_model import write_tiny_saved_model

        write_tiny_saved_model(bundle / "saved_model", shout_score=model_score or shout_score)
    rows = [[1 - shout_score, shout_score] if text.isupper() else [shout_score, 1 - shout_score] for text in TEXTS]
    table = pa.table(
        {
            "id": TEXTS,
            "text": TEXTS,
            "label": ["shout" if text.isupper() else "calm" for text in TEXTS],
            "probabilities": pa.array(rows, pa.list_(pa.float32())),
        }
    )
    model = json.loads((bundle / "bundle.json").read_text())["fingerprint"]
    known = json.loads((evaluation / "evaluation.json").read_text())
    record = Evaluation(
        ["calm", "shout"], known["test_fingerprint"], model, metrics=known["metrics"], predictions=table
    )
    write_evaluation(record, evaluation)
    return paths
