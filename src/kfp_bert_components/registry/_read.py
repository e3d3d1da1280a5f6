"""What can be read in a registry: champion, versions, targets. Names that are not its own are passed over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from kfp_bert_components.errors import DamagedError, NotFoundError, UserError
from kfp_bert_components.origin import read_origin
from kfp_bert_components.records import build, check_types, require
from kfp_bert_components.registry._claim import read_claim
from kfp_bert_components.registry._files import removed_name
from kfp_bert_components.registry._records import Champion, Version, is_target, load, repair_command
from kfp_bert_components.storage import Store

VERSION_FORMAT = 2  # format 1 knows neither where a version was made nor the files of its data
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_EVENT = {
    "event": Literal["promoted", "rolled back", "repaired"],
    "version": int,
    "previous": int | None,
    **dict.fromkeys(("decision_id", "at", "by", "reason"), str),
}


@dataclass(frozen=True)
class _StoredFile:
    """What the record of a version says of a file."""

    size: int
    sha256: str
    crc32c: str


def read_champion(store: Store) -> Champion | None:
    """The version to serve, or None while nothing was promoted.

    Raises:
        DamagedError: champion.json can't be read, or is gone while versions that were champion are there.
    """
    if champion := _pointer(store):
        return champion
    if not _was_used(store):
        return None
    if champion := _pointer(store):  # the first promotion ended meanwhile
        return champion
    raise DamagedError(
        f"{store.describe('champion.json')} is lost: there are versions beside it that were champion. Restore it from "
        f"a backup, or choose the champion with `{repair_command(store)}`."
    )


def require_champion(store: Store) -> Champion:
    """The version to serve; UserError while nothing was promoted."""
    champion = read_champion(store)
    if champion is None:
        raise UserError(f"The registry {store.uri} has no champion yet: promote a model first.")
    return champion


def read_version(store: Store, number: int) -> Version:
    """The record of one version; NotFoundError if there is none, or it never became complete."""
    name, readers = f"versions/{number}/version.json", [partial(_version, number)] * VERSION_FORMAT
    try:
        return load(store, name, *readers)[0]
    except NotFoundError:
        raise NotFoundError(f"The registry {store.uri} has no version {number}.") from None
    except DamagedError:
        return load(store, name, *readers, remedy=_remedy(store, number))[0]


def _remedy(store: Store, number: int) -> str:
    """What to do about a version that is damaged, as the end of a sentence."""
    try:
        champion = _pointer(store)
    except DamagedError:
        champion = None
    if champion and champion.version != number:
        return (
            f"restore it from a backup, or delete the folder {store.describe(f'versions/{number}')}, after which none "
            "can go back to it"
        )
    return f"restore it from a backup, or run `{repair_command(store)}`"


def version_numbers(store: Store) -> list[int]:
    """The numbers under versions/, also of versions that are not complete, in ascending order."""
    return sorted(int(name) for name in store.folders("versions") if is_number(name))


def removed_numbers(store: Store) -> list[int]:
    """The numbers of versions that were removed, in ascending order."""
    return sorted(int(stem) for stem in _stems(store, "removed") if is_number(stem))


def read_removed(store: Store, number: int) -> Mapping[str, Any]:
    """The record of a version that was removed: version, at, by, reason."""
    return load(store, removed_name(number), _removed)[0]


def targets(store: Store) -> list[str]:
    """The names of all places with a deployment record."""
    return [stem for stem in _stems(store, "deployments") if is_target(stem)]


def is_number(name: str) -> bool:
    """Whether a name is a version's number, as this package writes it."""
    return _NUMBER.fullmatch(name) is not None


def was_champion(store: Store, number: int) -> bool:
    """Whether a version is known to have been champion, also where champion.json does not say so."""
    try:
        claim = read_claim(store, number)
        if claim and claim.promoted:
            return True
        version = read_version(store, number)
    except NotFoundError:
        return False
    except DamagedError:
        return True
    # Without a claim, or with one of format 1, a complete version may have been champion. So may one with a parent.
    return claim is None or claim.promoted is None or version.parent is not None


def _pointer(store: Store) -> Champion | None:
    try:
        champion, generation = load(store, "champion.json", _champion)
    except NotFoundError:
        return None
    return replace(champion, generation=generation)


def _was_used(store: Store) -> bool:
    return any(was_champion(store, number) for number in version_numbers(store))


def _stems(store: Store, folder: str) -> list[str]:
    """The names of the JSON files right in a folder, without their ending."""
    names = [entry.name[len(folder) + 1 :] for entry in store.list(f"{folder}/", checksums=False)]
    return [name.removesuffix(".json") for name in names if name.endswith(".json") and "/" not in name]


def _version(number: int, fields: dict[str, Any]) -> Version:
    version = build(Version, fields)
    check_types(fields, {"files": dict[str, _StoredFile], "parameters": dict[str, Any], "metrics": dict[str, Any]})
    read_origin(version.origin)
    if version.version != number:
        raise ValueError(f"its version is {version.version}, and it is that of version {number}")
    if not any(name.startswith("bundle/") for name in version.files):
        raise ValueError("its files name none of a bundle")
    return version


def _champion(fields: dict[str, Any]) -> Champion:
    known = {"version": int, "decision_id": str, "log": list[dict[str, Any]]}
    require(fields, known)
    check_types(fields, known)
    for event in fields["log"]:
        require(event, _EVENT)
        check_types(event, _EVENT)
        read_origin(event.get("origin", {}))
    last, version = fields["log"][-1], fields["version"]
    if version != last["version"]:
        raise ValueError(f"its version is {version!r}, and the last one in its log {last['version']!r}")
    return Champion(version, 0, fields["decision_id"], last["at"], last["by"], tuple(fields["log"]))


def _removed(fields: dict[str, Any]) -> Mapping[str, Any]:
    known = {"version": int, "at": str, "by": str, "reason": str}
    require(fields, known)
    check_types(fields, known)
    return fields
