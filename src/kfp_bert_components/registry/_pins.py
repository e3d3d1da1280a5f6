"""Pins: the lists of what was there to train on, each under its fingerprint and a hash of the sources.

pin_data writes them and fetch_gcs_data reads them, a minute later in the same run. A version names the one that it was
trained on. The address of a pin is the same as long as the data are, which is what lets KFP take a step from its cache.
So objects that were uploaded anew with the same bytes have the same address, and the list there has their last
generations. The same bytes at another place have another list: one that a run still reads must not be replaced by it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from kfp_bert_components.errors import ConflictError, DamagedError, NotFoundError
from kfp_bert_components.registry._records import dump, hours_since, load, now
from kfp_bert_components.storage import Store

FOLDER = "pins"
_FORGET_HOURS = 30 * 24.0  # a run that is repeated step by step may read its pin days later


def keep_pin(store: Store, fingerprint: str, fields: Mapping[str, Any], run: str) -> tuple[str, str]:
    """Write a pin, and return its address and the run that was the first to write it."""
    sources = hashlib.sha256(json.dumps(sorted(fields["sources"])).encode()).hexdigest()
    name = f"{FOLDER}/{fingerprint}-{sources[:16]}.json"
    first = run
    with contextlib.suppress(NotFoundError, DamagedError):
        first = load(store, name, lambda found: str(found["run"]))[0] or run
    store.write(name, dump({**fields, "run": first, "at": now()}))
    return store.describe(name), first


def forget_pins(store: Store, needed: Collection[str]) -> None:
    """Remove the pins that no run has written for 30 days, but for the needed ones, which are given by fingerprint."""
    for entry in store.list(f"{FOLDER}/", checksums=False):
        if entry.name.removeprefix(f"{FOLDER}/").removesuffix(".json").partition("-")[0] in needed:
            continue
        with contextlib.suppress(NotFoundError, ConflictError, DamagedError):  # verify names what is damaged
            at, generation = load(store, entry.name, lambda found: hours_since(found["at"]))
            if at > _FORGET_HOURS:
                store.delete(entry.name, if_generation=generation)
