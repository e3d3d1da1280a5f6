"""The decisions for this registry, whatever came of them, and what people answered where a run asked for approval.

`decisions/<hash of its id>.json` is written by compare_models. Where a run asks for approval, the record gets a time
limit. It is changed by compare-and-swap only, so of two answers the first one counts, and so does a time limit that
passed before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from kfp_bert_components.errors import ConflictError, DamagedError, NotFoundError, UserError
from kfp_bert_components.origin import Origin, read_origin
from kfp_bert_components.records import build, check_types
from kfp_bert_components.registry._read import read_champion
from kfp_bert_components.registry._records import dump, hours_since, load, stamp
from kfp_bert_components.storage import Generation, Store

if TYPE_CHECKING:
    from kfp_bert_components.gate import Decision

FOLDER = "decisions"
_REMEDY = "restore it from a backup, or delete it: only an approval that is waited for needs it"
_THREADS = 16
_OF_THE_DECISION = (
    *("decision_id", "outcome", "reason", "warnings"),
    *("candidate_fingerprint", "champion_version", "champion_generation"),
)


@dataclass(frozen=True)
class Approval:
    """Whether a person allows what a decision says.

    Attributes:
        state: "waiting", "approved", "rejected", or "expired" where nobody answered in time.
        until: When the time for an answer ends, in UTC.
        at: When it was answered; "" before.
        by: By whom.
        reason: Why, in that person's words; "" where none were given.
        origin: Where it was answered, as in `HistoryEvent`.
    """

    state: str
    until: str
    at: str = ""
    by: str = ""
    reason: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether an answer still counts."""
        return self.state == "waiting" and hours_since(self.until) < 0


@dataclass(frozen=True)
class DecisionRecord:
    """What the registry knows of a decision.

    Attributes:
        decision_id: As in `gate.Decision`; so are the five after it, and the warnings.
        report: Address of the comparison's page; "" where it is not known.
        at: When it was made.
        by: By whom.
        origin: Where it was made, as in `HistoryEvent`.
        approval: None where no run asked for one.
    """

    decision_id: str
    outcome: str
    reason: str
    candidate_fingerprint: str
    champion_version: int | None
    champion_generation: int | str
    report: str
    at: str
    by: str
    warnings: list[str] = field(default_factory=list)
    origin: Mapping[str, Any] = field(default_factory=dict)
    approval: Approval | None = None


def keep_decision(store: Store, decision: Decision, report: str, origin: Origin) -> None:
    """See `Registry.keep_decision`."""
    known = {name: getattr(decision, name) for name in _OF_THE_DECISION}
    record = DecisionRecord(**known, report=report, **stamp(origin))
    with suppress(ConflictError):  # it is there already
        store.write(_name(decision.decision_id), dump(asdict(record)), if_generation=0)


def read_decisions(store: Store) -> list[DecisionRecord]:
    """See `Registry.decisions`."""

    def read(name: str) -> DecisionRecord | None:
        with suppress(DamagedError, NotFoundError):
            return load_decision(store, name)[0]
        return None

    names = [entry.name for entry in store.list(f"{FOLDER}/", checksums=False) if entry.name.endswith(".json")]
    with ThreadPoolExecutor(_THREADS) as pool:
        return sorted(filter(None, pool.map(read, names)), key=lambda one: one.at)


def load_decision(store: Store, name: str) -> tuple[DecisionRecord, Generation]:
    """The record in a file, and its generation."""
    return load(store, name, _format_1, remedy=_REMEDY)


def ask_approval(store: Store, decision: Decision, hours: float, origin: Origin) -> DecisionRecord:
    """See `Registry.ask_approval`."""
    keep_decision(store, decision, "", origin)
    while True:
        record, generation = _read(store, decision.decision_id)
        if record.candidate_fingerprint != decision.candidate_fingerprint:
            raise UserError(
                f"{store.describe(_name(decision.decision_id))} is about the model {record.candidate_fingerprint}, and "
                f"this decision about {decision.candidate_fingerprint}: run compare_models again."
            )
        if record.approval is None:
            wanted = Approval("waiting", _time(hours))
        elif record.approval.state == "waiting" and not record.approval.open:
            wanted = replace(record.approval, state="expired", **_answer(origin, "nobody answered in time"))
        else:
            return record
        with suppress(ConflictError):  # a person answered just now, or our reply was lost
            _write(store, replace(record, approval=wanted), generation)


def answer_approval(store: Store, decision_id: str, approve: bool, reason: str, origin: Origin) -> DecisionRecord:
    """See `Registry.answer_approval`."""
    record, generation = _read(store, decision_id)
    approval = record.approval
    _check_open(store, record, approval)
    assert approval is not None
    state = "approved" if approve else "rejected"
    record = replace(record, approval=replace(approval, state=state, **_answer(origin, reason)))
    try:
        _write(store, record, generation)
    except ConflictError:
        now = _read(store, decision_id)[0]
        if now != record:  # else our reply was lost
            _check_open(store, now, now.approval)
            raise
    return record


def _check_open(store: Store, record: DecisionRecord, approval: Approval | None) -> None:
    """Raise UserError where an answer would not count."""
    name = f"Decision {record.decision_id}"
    if approval is None:
        raise UserError(f"{name} ({record.outcome}) asks for no approval: no run waits for it.")
    if approval.state in ("approved", "rejected"):
        raise UserError(f"{name} was {approval.state} by {approval.by} at {approval.at}: the first answer counts.")
    if not approval.open:
        raise UserError(f"The time for {name[0].lower()}{name[1:]} ended at {approval.until}: run the pipeline again.")
    champion = read_champion(store)
    if (champion.generation if champion else 0) != record.champion_generation:
        now = f"Version {champion.version} is champion now" if champion else "There is no champion now"
        before = f"version {record.champion_version}" if record.champion_version else "no champion"
        raise UserError(
            f"{now}, and {name[0].lower()}{name[1:]} compared with {before}, so the model can't be promoted by it: run "
            "the pipeline again."
        )


def _answer(origin: Origin, reason: str) -> dict[str, Any]:
    return {**stamp(origin), "reason": reason}


def _time(hours: float) -> str:
    """The time in UTC after some hours, as `now` gives it."""
    then = datetime.now(UTC) + timedelta(hours=hours)
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read(store: Store, decision_id: str) -> tuple[DecisionRecord, Generation]:
    try:
        return load_decision(store, _name(decision_id))
    except NotFoundError:
        waiting = [one.decision_id for one in read_decisions(store) if one.approval and one.approval.open]
        known = f"these wait for approval: {', '.join(waiting)}" if waiting else "none waits for approval"
        raise NotFoundError(f"The registry {store.uri} knows no decision {decision_id}; {known}.") from None


def _write(store: Store, record: DecisionRecord, generation: Generation) -> None:
    store.write(_name(record.decision_id), dump(asdict(record)), if_generation=generation)


def _name(decision_id: str) -> str:
    return f"{FOLDER}/{hashlib.sha256(decision_id.encode()).hexdigest()[:32]}.json"


def _format_1(found: dict[str, Any]) -> DecisionRecord:
    approval = found.pop("approval", None)
    record = build(DecisionRecord, found)
    read_origin(record.origin)
    if approval is None:
        return record
    answered = build(Approval, approval)
    check_types(approval, {"state": Literal["waiting", "approved", "rejected", "expired"]})
    hours_since(answered.until)
    read_origin(answered.origin)
    return replace(record, approval=answered)
