"""The claim on a version number: who owns it, and whether gc removes what is under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.origin import read_origin
from kfp_bert_components.records import build
from kfp_bert_components.registry._records import dump, hours_since, load
from kfp_bert_components.storage import Generation, Store

FORMAT = 3  # format 1 does not know whether it became champion, and format 2 not where it was claimed
_REMEDY = "restore it from a backup, or delete it: only a promotion under way needs it"


@dataclass(frozen=True)
class Claim:
    """Who owns a version's number. A claim that is not there has generation 0.

    Attributes:
        decision_id: The decision whose promotion owns the number.
        at: When it was claimed.
        by: By whom.
        renewed: When a promotion that was started again found it, "" if none did.
        promoted: When the version is known to have become champion, "" if it did not; None: not known (format 1).
        removing: Why gc removes the version, "" if it does not.
        origin: Where it was claimed, as in `HistoryEvent`; {} before format 3.
        generation: Of the file.
    """

    decision_id: str
    at: str
    by: str
    renewed: str = ""
    promoted: str | None = ""
    removing: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)
    generation: Generation = 0


def read_claim(store: Store, number: int) -> Claim | None:
    """The claim on a number, None where there is none; DamagedError if it can't be read."""
    try:
        claim, generation = load(store, claim_name(number), _format_1, _format_2, _format_2, remedy=_REMEDY)
    except NotFoundError:
        return None
    return replace(claim, generation=generation)


def write_claim(store: Store, number: int, claim: Claim) -> Claim:
    """Write a claim if the one in the store has its generation; ConflictError if not."""
    fields = asdict(claim)
    del fields["generation"]
    generation = store.write(claim_name(number), dump(fields, FORMAT), if_generation=claim.generation)
    return replace(claim, generation=generation)


def claim_name(number: int) -> str:
    """Name of the file with the claim on a version number."""
    return f"versions/{number}/claim.json"


def _format_2(fields: dict[str, Any]) -> Claim:
    claim = build(Claim, fields)
    hours_since(claim.renewed or claim.at)  # which gc asks for
    read_origin(claim.origin)
    return claim


def _format_1(fields: dict[str, Any]) -> Claim:
    return _format_2({**fields, "promoted": None})
