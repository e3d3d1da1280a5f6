"""How often a test set has decided: each use spends a part of alpha, so that all uses together keep it.

Use number k may spend alpha / (k (k + 1)); the sum over all k is alpha, however often the set is used. Alpha
spending over the uses of a test set: Renggli et al. 2019, "Continuous Integration of Machine Learning Models with
ease.ml/ci", MLSys; the union bound holds also when candidates are made with knowledge of earlier decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp_bert_components.errors import ConflictError, NotFoundError
from kfp_bert_components.gate import Use
from kfp_bert_components.registry._records import dump, load
from kfp_bert_components.storage import Store

_TRIES = 20


def count_use(store: Store, test_fingerprint: str, alpha: float, identity: Mapping[str, Any]) -> Use:
    """Count a use of a test set; see `Registry.count_use`."""
    name = f"test_sets/{test_fingerprint}.json"
    for _ in range(_TRIES):
        uses, generation = read_uses(store, name)
        number = uses.index(identity) + 1 if identity in uses else len(uses) + 1
        if number > len(uses):
            try:
                store.write(name, dump({"uses": [*uses, identity]}), if_generation=generation)
            except ConflictError:
                continue  # somebody else used it at the same time, or our reply was lost: look again
        return Use(number, alpha / (number * (number + 1)), alpha / (number + 1), True)
    raise ConflictError(f"{store.describe(name)} kept changing while its uses were counted; run the step again.")


def read_uses(store: Store, name: str) -> tuple[list[Mapping[str, Any]], int]:
    """The uses of a test set so far, and the generation of their record; [] and 0 where there is none."""
    try:
        return load(store, name, lambda fields: list(fields["uses"]))
    except NotFoundError:
        return [], 0
