"""What a promotion is given, checked to belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_bert_components.bert import read_bundle
from kfp_bert_components.data.profile import NAME, parse_profile
from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import Evaluation, read_evaluation
from kfp_bert_components.gate import Decision, check_decision, read_decision
from kfp_bert_components.progress import say
from kfp_bert_components.registry._files import describe_files


@dataclass(frozen=True)
class Inputs:
    """A candidate: bundle.json, its evaluation, the decision about it, and where each file is and what it holds.

    `fetched` is what the bundle knows of the files that its training data were read from; {} where it knows nothing.
    """

    model: Mapping[str, Any]
    evaluation: Evaluation
    decision: Decision
    paths: Mapping[str, Path]
    hashes: Mapping[str, Mapping[str, Any]]
    fetched: Mapping[str, Any]


def read_inputs(bundle: Path, evaluation: Path, decision: Path) -> Inputs:
    """Read the three folders.

    Raises:
        NotFoundError: One of them is not what it should be.
        UserError: The decision is not PROMOTE, contradicts itself, or is about another model, evaluation or test set.
    """
    model, scores, verdict = read_bundle(bundle).metadata, read_evaluation(evaluation), read_decision(decision)
    if verdict.outcome != "PROMOTE":
        raise UserError(f"The decision in {decision} is {verdict.outcome}, not PROMOTE: {verdict.reason}")
    check_decision(verdict, decision)
    if verdict.candidate_fingerprint != model["fingerprint"]:
        raise UserError(
            f"The decision in {decision} is about another model than the one in {bundle}: give the model "
            "that was compared."
        )
    if (scores.test_fingerprint, scores.model_fingerprint) != (verdict.test_fingerprint, model["fingerprint"]):
        raise UserError(
            f"The evaluation in {evaluation} is of another model or test set than the decision in "
            f"{decision}: give the evaluation that was compared."
        )
    unknown = {"model": scores.bundle_files, "evaluation": verdict.evaluation_files}
    if parts := [part for part, files in unknown.items() if not files]:
        say(f"The files of {' and '.join(parts)} are not compared with those that were looked at: records of format 1.")
    paths, hashes = describe_files({"bundle": bundle, "evaluation": evaluation, "decision": decision})
    _check_files("evaluation", evaluation, verdict.evaluation_files, hashes, "compared: run compare_models again")
    _check_files("bundle", bundle, scores.bundle_files, hashes, "evaluated: run evaluate_model again")
    return Inputs(model, scores, verdict, paths, hashes, _fetched(bundle / NAME))


def _fetched(profile: Path) -> Mapping[str, Any]:
    found = parse_profile(profile.read_bytes(), str(profile)).fetched if profile.exists() else None
    return asdict(found) if found else {}


def _check_files(
    part: str, folder: Path, known: Mapping[str, str], hashes: Mapping[str, Mapping[str, Any]], since: str
) -> None:
    """Compare the files of a part with those that were looked at; a record of format 1 does not know them."""
    found = {name[len(part) + 1 :]: one["sha256"] for name, one in hashes.items() if name.startswith(f"{part}/")}
    if not known:
        return
    for name in sorted(known.keys() | found.keys()):
        if known.get(name) != found.get(name):
            change = "added" if name not in known else "removed" if name not in found else "changed"
            raise UserError(f"{folder / name} was {change} since it was {since}.")
