"""What a mirror is told of a version: where it is, what it was made of, how good it is. No texts of the data."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from kfp_bert_components.errors import DamagedError, NotFoundError, UserError
from kfp_bert_components.origin import Origin, read_origin
from kfp_bert_components.registry import Champion, Registry, Version

# All properties of ours begin so: others may have properties of their own beside them.
_PREFIX = "kfp_bert."
REGISTRY, VERSION, CHAMPION = f"{_PREFIX}registry", f"{_PREFIX}version", f"{_PREFIX}champion"
_LETTERS = 1000  # of a reason


@dataclass(frozen=True)
class Facts:
    """What is told of a version.

    Attributes:
        version: Its number in the registry.
        bundle: Address of its bundle.
        description: The same for people, as Markdown.
        run: The run that promoted it.
        properties: Names and values to show with it: identity, decision, run, metrics, model card.
    """

    version: int
    bundle: str
    description: str
    run: Origin
    properties: Mapping[str, str | float]


def facts_of(models: Registry, champion: Champion, registry_id: str) -> list[Facts]:
    """The facts of every version that was champion and is still there, oldest first.

    What is damaged is left out, as `registry verify` names it, but not the champion.

    Raises:
        NotFoundError, DamagedError: The champion's version can't be read.
    """
    found = {champion.version: models.version(champion.version)}
    for number in {event["version"] for event in champion.log} - set(found):
        with suppress(NotFoundError, DamagedError):
            found[number] = models.version(number)
    return [_facts(models, found[number], registry_id) for number in sorted(found)]


def check_owner(owner: str | None, registry_id: str, name: str) -> None:
    """UserError where a registered model is not this registry's, by the id that is written there."""
    if owner != registry_id:
        raise UserError(
            f"the registered model {name!r} is there and not this registry's: give another name after a # at the end "
            f"of the mirror's address, or let this registry write there: set {REGISTRY} to {registry_id} on it."
        )


def _facts(models: Registry, version: Version, registry_id: str) -> Facts:
    folder = models.store.describe(f"versions/{version.version}")
    card, reason, run, metrics = (
        f"{folder}/README.md",
        version.reason[:_LETTERS],
        read_origin(version.origin),
        _metrics(version),
    )
    told: dict[str, str | float] = {
        REGISTRY: registry_id,
        VERSION: str(version.version),
        f"{_PREFIX}fingerprint": version.bundle_fingerprint,
        f"{_PREFIX}decision": "PROMOTE",
        f"{_PREFIX}reason": reason,
        f"{_PREFIX}model_card": card,
        f"{_PREFIX}run": run.run,
        f"{_PREFIX}run_id": run.run_id,
        f"{_PREFIX}run_page": run.page,
        **{f"{_PREFIX}{name}": value for name, value in metrics.items()},
    }
    properties = {name: value for name, value in told.items() if value != ""}
    lines = [
        f"Version {version.version} of {models.uri}, promoted: {reason}",
        ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()),
        f"Run: {run.page or run.run}" if run.run else "",
        f"Model card: {card}",
    ]
    return Facts(version.version, f"{folder}/bundle", "\n\n".join(filter(None, lines)), run, properties)


def _metrics(version: Version) -> dict[str, float]:
    """The metrics of the whole test split; those of single classes are in the model card."""
    values = {name: one.get("value") for name, one in version.metrics.items() if isinstance(one, dict)}
    return {
        name: float(value)
        for name, value in values.items()
        if ":" not in name and isinstance(value, int | float) and value == value
    }
