"""The pipeline step: promote if the decision says so, and tell what is left to deploy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.registry._records import check_target, parse
from kfp_bert_components.registry._registry import Registry


@dataclass(frozen=True)
class Promoted:
    """The champion's version after the step ("" for none), and whether it still has to be deployed."""

    champion_version: str
    deployment_pending: bool


def promote_if_decided(
    registry: str, bundle: Path, evaluation: Path, decision: Path, target: str = "production"
) -> Promoted:
    """Promote a model if its decision is PROMOTE, else leave the registry alone; see `Registry.promote`."""
    check_target(target)
    path = decision / "decision.json"
    if not path.is_file():
        raise NotFoundError(f"{decision} holds no decision.json: give the folder that compare_models wrote.")
    verdict = parse(path.read_bytes(), str(path))
    models = Registry(registry)
    if verdict["outcome"] == "PROMOTE":
        number = models.promote(bundle, evaluation, decision)
        print(f"Version {number} is in the registry {models.uri}.")
    else:
        print(f"Not promoted ({verdict['outcome']}): {verdict['reason']}")
    champion = models.champion()
    pending = models.deployment_pending(target)
    if champion:
        todo = "has to be deployed to" if pending else "is live on"
        print(f"The champion is version {champion.version}; it {todo} {target}.")
    return Promoted(str(champion.version) if champion else "", pending)
