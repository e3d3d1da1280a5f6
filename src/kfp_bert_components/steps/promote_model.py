"""Promote a candidate if its decision says so, tell mirrors, and say what is left to deploy."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kfp_bert_components.gate import check_decision, read_decision
from kfp_bert_components.mirrors import mirror, parse_mirrors
from kfp_bert_components.origin import Origin
from kfp_bert_components.progress import say
from kfp_bert_components.registry import Registry, check_target


@dataclass(frozen=True)
class Promoted:
    """The champion's version after the step ("" for none), and whether it still has to be deployed."""

    champion_version: str
    deployment_pending: bool


def promote_model(
    registry: str,
    bundle: Path,
    evaluation: Path,
    decision: Path,
    target: str = "production",
    pin: str = "",
    origin: Origin | None = None,
    mirror_to: Sequence[str] = (),
) -> Promoted:
    """Promote a model if its decision is PROMOTE, else leave the registry alone; see `Registry.promote`.

    Args:
        registry: URI of the registry.
        bundle: Folder of the model.
        evaluation: Folder of its evaluation.
        decision: Folder of the decision about it.
        target: The deployment whose record says whether the champion is live.
        pin: What `pin_data` says the model was trained on; "" where it is not known.
        origin: Where this is done, for the records; by default what the environment tells.
        mirror_to: Addresses of mirrors, which are told of the champion when all else is done, whatever the decision
            is; see `mirrors.parse_mirrors`. One that can't be told is a warning, here and in the registry's record.

    Raises:
        ConflictError: Another model became champion since the comparison.
        DamagedError: The pointer to the champion, or the registry's id, is lost or damaged.
        UserError: The decision contradicts itself or is about another model, `target` can't be a file's name, or an
            address of a mirror is none.
    """
    check_target(target)
    mirrors = parse_mirrors(mirror_to, registry)
    made = read_decision(decision)
    check_decision(made, decision)
    models = Registry(registry, origin=origin)
    if made.promote:
        number = models.promote(bundle, evaluation, decision, pin)
        say(f"Version {number} is in the registry {models.uri}.")
    else:
        say(f"Not promoted ({made.outcome}): {made.reason}")
    champion = models.champion()
    pending = models.deployment_pending(target)
    if champion:
        todo = "it has to be deployed to" if pending else "by its record it is live on"
        say(f"The champion is version {champion.version}; {todo} {target}.")
    for problem in mirror(models, mirrors):
        say(f"Warning: {problem} The next run tries again, or: kfp-bert registry mirror {shlex.quote(models.uri)}")
    return Promoted(str(champion.version) if champion else "", pending)
