"""What is known of the model that answers: in its folder, and in the registry that it came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.extras import missing_extra
from kfp_bert_components.serving.versions import OWNER, ModelVersion

if TYPE_CHECKING:
    from kfp_bert_components.registry import Registry, Version

CHAMPION = "champion.json"
FACTS = ("base_model", "max_length", "truncation", "precision", "pair", "data_fingerprint", "parameters", "versions")
MOST_EVENTS = 100


@dataclass(frozen=True)
class Identity:
    """By what a registry knows a model: the number of its version, if that is known, and the bundle's fingerprint."""

    registry_version: int | None
    fingerprint: str


def served_facts(version: ModelVersion) -> tuple[dict[str, Any], Identity]:
    """What a version's metadata says: plain values, and by what its registry knows it.

    Returns:
        `version` (its number in the folder), `registry_version`, `fingerprint`, `labels` ([] where they are not
        known), and those of `FACTS` that are known.
    """
    known = version.metadata
    labels = known.get("labels")
    facts = {
        "version": version.number,
        "registry_version": version.registry_version,
        "fingerprint": version.fingerprint,
        "labels": [str(label) for label in labels] if isinstance(labels, list) else [],
        **{name: known[name] for name in FACTS if known.get(name) not in (None, "", {})},
    }
    return facts, Identity(version.registry_version, version.fingerprint)


def registry_facts(path: str | Path, model: Identity) -> dict[str, Any]:
    """What the registry says of a model: {} where there is none.

    Args:
        path: What is served: a registry, or a folder that was deployed to from one.
        model: The model.

    Returns:
        `registry`: `version`, `at`, `reason` (of the decision), `metrics`, `card` (Markdown), `champion` (a number, or
        None) and `history`, the newest event first. Or `registry_problem`, a sentence that says why it can't be read.
    """
    try:
        registry = _registry(path)
        return {"registry": _facts(registry, _find(registry, model))} if registry else {}
    except Exception as error:  # the page is shown all the same, and says why this part of it is not
        return {"registry_problem": f"The registry cannot be read: {missing_extra(str(error)) or error}"}


def _registry(path: str | Path) -> Registry | None:
    """The registry that is served, or that a served folder belongs to."""
    from kfp_bert_components.storage import open_store, parse_address

    address = parse_address(path, "the path to serve")
    if address.is_local and not any((address.path / name).is_file() for name in (CHAMPION, OWNER)):
        return None  # most models: what a registry needs is not imported, nor must it be installed
    from kfp_bert_components.registry import Registry

    store = open_store(address)
    if store.exists(CHAMPION):
        return Registry(store.uri)
    try:
        owner = json.loads(store.read(OWNER).data)
    except NotFoundError:
        return None
    registry = Registry(owner["registry_uri"])
    if registry.id(create=False) != owner["registry"]:
        raise NotFoundError(f"at {registry.uri} there is not the registry that this folder belongs to any more.")
    return registry


def _find(registry: Registry, model: Identity) -> Version:
    """The registry's version that is this model."""
    known = model.registry_version
    for number in [known] if known else reversed(registry.numbers()):
        version = registry.version(number)
        if version.bundle_fingerprint == model.fingerprint:
            return version
    which = f"its version {known} is another model" if known else "it has no version that is this model"
    raise NotFoundError(f"{which}.")


def _facts(registry: Registry, version: Version) -> dict[str, Any]:
    champion, events = registry.champion(), registry.history()
    return {
        "version": version.version,
        "at": version.at,
        "reason": version.reason,
        "metrics": version.metrics,
        "card": registry.card(version.version),
        "champion": champion.version if champion else None,
        "history": [{"at": event.at, "text": event.text} for event in reversed(events[-MOST_EVENTS:])],
    }
