"""How often a test set has decided: each use spends a part of alpha, so that all uses together keep it.

Use number k may spend alpha / (k (k + 1)); the sum over all k is alpha, however often the set is used. Alpha
spending over the uses of a test set: Renggli et al. 2019, "Continuous Integration of Machine Learning Models with
ease.ml/ci", MLSys; the union bound holds also when candidates are made with knowledge of earlier decisions.
"""

import json
from dataclasses import dataclass
from typing import Any

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError

FORMAT = 1
_TRIES = 20


@dataclass(frozen=True)
class Use:
    """One use of a test set.

    Attributes:
        number: 1 for the first use.
        alpha: What this use may spend.
        left: What is left for all later uses together.
        counted: Whether a registry counts the uses.
    """

    number: int
    alpha: float
    left: float
    counted: bool


def uncounted(alpha: float) -> Use:
    """All of alpha, where no registry counts."""
    return Use(1, alpha, alpha, False)


def spend(registry: str, test_fingerprint: str, alpha: float, comparison: dict[str, Any]) -> Use:
    """Count a use of a test set in the registry.

    The same comparison again (a step that is tried again) is the same use.

    Args:
        registry: URI of the registry.
        test_fingerprint: Fingerprint of the test split.
        alpha: What all uses together may spend.
        comparison: What is compared: candidate's fingerprint, champion's version, rules.

    Raises:
        UserError: The record has an unknown format.
        ConflictError: Others kept changing the record.
    """
    from kfp_bert_components.storage import open_store

    store, name = open_store(registry), f"test_sets/{test_fingerprint}.json"
    for _ in range(_TRIES):
        uses, generation = _read(store, name)
        known = [i for i, use in enumerate(uses) if use == comparison]
        number = known[0] + 1 if known else len(uses) + 1
        if not known:
            record = {"format": FORMAT, "uses": [*uses, comparison]}
            try:
                store.write(name, json.dumps(record, indent=1, sort_keys=True).encode(), if_generation=generation)
            except ConflictError:
                continue  # somebody else used it at the same time, or our reply was lost: look again
        return Use(number, alpha / (number * (number + 1)), alpha / (number + 1), True)
    raise ConflictError(f"{store.uri}/{name} kept changing while its uses were counted; run the step again.")


def _read(store: Any, name: str) -> tuple[list[dict[str, Any]], int]:
    try:
        blob = store.read(name)
    except NotFoundError:
        return [], 0
    record = json.loads(blob.data)
    if record.get("format") != FORMAT:
        raise UserError(f"{store.uri}/{name} has a format that this version does not know; update the package.")
    return record["uses"], blob.generation
