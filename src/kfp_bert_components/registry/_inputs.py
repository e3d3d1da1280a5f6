"""What a promotion is given, checked to belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_bert_components.bert import read_bundle
from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Evaluation, read_evaluation
from kfp_bert_components.gate import Decision, read_decision


@dataclass(frozen=True)
class Inputs:
    """A candidate: bundle.json, its evaluation, and the decision about it."""

    model: Mapping[str, Any]
    evaluation: Evaluation
    decision: Decision


def read_inputs(bundle: Path, evaluation: Path, decision: Path) -> Inputs:
    """Read the three folders.

    Raises:
        NotFoundError: One of them is not what it should be.
        UserError: The decision is not PROMOTE, or is about another model or test set.
    """
    found = Inputs(read_bundle(bundle).metadata, read_evaluation(evaluation), read_decision(decision))
    if found.decision.outcome != "PROMOTE":
        raise UserError(f"The decision in {decision} is {found.decision.outcome}, not PROMOTE: {found.decision.reason}")
    if found.decision.candidate_fingerprint != found.model["fingerprint"]:
        raise UserError(
            f"The decision in {decision} is about another model than the one in {bundle}: give the model "
            "that was compared."
        )
    for name in ("test_fingerprint", "model_fingerprint"):
        wanted = found.decision.test_fingerprint if name == "test_fingerprint" else found.model["fingerprint"]
        if getattr(found.evaluation, name) != wanted:
            raise UserError(
                f"The evaluation in {evaluation} is of another model or test set than the decision in "
                f"{decision}: give the evaluation that was compared."
            )
    return found
