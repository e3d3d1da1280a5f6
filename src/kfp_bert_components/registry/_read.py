"""What can be read in a registry: the champion, the versions, the targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.registry._records import Champion, Version, load
from kfp_bert_components.storage import Store


def read_champion(store: Store) -> Champion | None:
    """The version to serve, or None while nothing was promoted."""
    try:
        champion, generation = load(store, "champion.json", _champion)
    except NotFoundError:
        return None
    return replace(champion, generation=generation)


def require_champion(store: Store) -> Champion:
    """The version to serve; UserError while nothing was promoted."""
    champion = read_champion(store)
    if champion is None:
        raise UserError(f"The registry {store.uri} has no champion yet: promote a model first.")
    return champion


def read_version(store: Store, number: int) -> Version:
    """The record of one version; NotFoundError if there is none, or it never became complete."""
    try:
        return load(store, f"versions/{number}/version.json", lambda fields: Version(**fields))[0]
    except NotFoundError:
        raise NotFoundError(f"The registry {store.uri} has no version {number}.") from None


def version_numbers(store: Store) -> list[int]:
    """The numbers under versions/, also of versions that are not complete, in ascending order."""
    return sorted(int(name) for name in store.folders("versions") if name.isdigit())


def targets(store: Store) -> list[str]:
    """The names of all places with a deployment record."""
    entries = store.list("deployments/", checksums=False)
    return [entry.name[len("deployments/") : -len(".json")] for entry in entries]


def _champion(fields: dict[str, Any]) -> Champion:
    last = fields["log"][-1]
    return Champion(fields["version"], 0, fields["decision_id"], last["at"], last["by"], tuple(fields["log"]))
