"""What mirrors were told last: registries of others, such as MLflow, that are told of promotions.

One small record for all of them, changed by compare-and-swap. It is for people, and for the command that tells them
again. Nothing is decided by it: what a mirror knows is looked at there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from kfp_bert_components.errors import ConflictError, NotFoundError
from kfp_bert_components.origin import Origin, read_origin
from kfp_bert_components.records import build
from kfp_bert_components.registry._records import Mirror, dump, load, stamp
from kfp_bert_components.storage import Generation, Store

NAME = "mirrors.json"
_REMEDY = "delete it: the next run that has a mirror writes it anew"
_TRIES = 20


def read_mirrors(store: Store) -> dict[str, Mirror]:
    """The mirrors by address; {} where there was never one."""
    return _read(store)[0]


def write_mirror(store: Store, address: str, mirror: Mirror | None, origin: Origin) -> None:
    """Write down what a mirror was told, or with None forget it; see `Registry.record_mirror`."""
    for _ in range(_TRIES):
        known, generation = _read(store)
        if _same(known.get(address), mirror):
            return
        entries = {name: _entry(one) for name, one in known.items() if name != address}
        if mirror is not None:
            entries[address] = {**_entry(mirror), **stamp(origin)}
        try:
            store.write(NAME, dump({"mirrors": entries}), if_generation=generation)
        except ConflictError:
            continue
        return
    raise ConflictError(f"{store.describe(NAME)} changes all the time: try again later.")


def _read(store: Store) -> tuple[dict[str, Mirror], Generation]:
    try:
        return load(store, NAME, _mirrors, remedy=_REMEDY)
    except NotFoundError:
        return {}, 0


def _mirrors(fields: dict[str, Any]) -> dict[str, Mirror]:
    return {str(address): _mirror(entry) for address, entry in fields["mirrors"].items()}


def _mirror(entry: Mapping[str, Any]) -> Mirror:
    read_origin(entry.get("origin", {}))
    return build(Mirror, entry)


def _entry(mirror: Mirror) -> dict[str, Any]:
    return {name: value for name, value in asdict(mirror).items() if value not in ("", None)}


def _same(known: Mirror | None, mirror: Mirror | None) -> bool:
    """Whether a record says the same already, whenever it was written."""
    if known is None or mirror is None:
        return known is mirror
    return (known.champion, known.named, known.problem) == (mirror.champion, mirror.named, mirror.problem)
