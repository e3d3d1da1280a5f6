"""The pipeline step: promote if the decision says so, and tell what is left to deploy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kfp_bert_components.gate import read_decision
from kfp_bert_components.registry._records import check_target
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
    verdict = read_decision(decision)
    models = Registry(registry)
    if verdict.promote:
        number = models.promote(bundle, evaluation, decision)
        print(f"Version {number} is in the registry {models.uri}.")
    else:
        print(f"Not promoted ({verdict.outcome}): {verdict.reason}")
    champion = models.champion()
    pending = models.deployment_pending(target)
    if champion:
        todo = "has to be deployed to" if pending else "is live on"
        print(f"The champion is version {champion.version}; it {todo} {target}.")
    return Promoted(str(champion.version) if champion else "", pending)
