"""Wait until a person allows or refuses what the gate decided, or until the time for that is over."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from kfp_bert_components.errors import UserError
from kfp_bert_components.gate import Decision, check_decision, read_decision, write_decision
from kfp_bert_components.origin import Origin, read_origin
from kfp_bert_components.progress import say
from kfp_bert_components.registry import Approval, DecisionRecord, Registry

_REMIND_SECONDS = 3600
_MOST_HOURS = 24 * 365.0


@dataclass(frozen=True)
class Answered:
    """What came of the question: APPROVED, REJECTED, EXPIRED or NOT NEEDED, and the decision as it is now."""

    outcome: str
    decision: Decision


def wait_for_approval(
    decision: Path,
    answered: Path,
    registry: str,
    hours: float = 24.0,
    origin: Origin | None = None,
    poll_seconds: float = 5.0,
) -> Answered:
    """Wait for an answer to a decision to promote, and write the decision as it is then.

    A step that is killed and started again goes on waiting; the time runs from its first start. A decision that does
    not promote needs no answer.

    Args:
        decision: Folder of the decision.
        answered: Folder for the decision after the answer: the same one where it was approved, else HOLD.
        registry: URI of the registry that keeps question and answer.
        hours: How long to wait.
        origin: Where this is asked, for the records; by default what the environment tells.
        poll_seconds: Seconds between two looks at the registry.

    Raises:
        UserError: `hours` is out of range, the decision contradicts itself, or the registry can't be reached.
    """
    if not 0 < hours <= _MOST_HOURS:
        raise UserError(f"hours is {hours:g}: expected more than 0, and at most {_MOST_HOURS:g}.")
    made = read_decision(decision)
    check_decision(made, decision)
    outcome, final = "NOT NEEDED", made
    if made.promote:
        approval = _wait(Registry(registry, origin=origin), made, hours, poll_seconds)
        outcome, final = approval.state.upper(), _after(made, approval)
        say(final.reason)
    else:
        say(f"No approval is needed, as nothing is promoted ({made.outcome}): {made.reason}")
    write_decision(final, answered)
    return Answered(outcome, final)


def _wait(models: Registry, made: Decision, hours: float, poll_seconds: float) -> Approval:
    """The answer of a person, or that the time is over."""
    reminded = None
    while True:
        record = models.ask_approval(made, hours)
        assert record.approval is not None
        if record.approval.state != "waiting":
            return record.approval
        if reminded is None or time.monotonic() - reminded > _REMIND_SECONDS:
            reminded = time.monotonic()
            for line in question(models.uri, record):
                say(line)
        time.sleep(poll_seconds)


def question(registry: str, record: DecisionRecord) -> Iterator[str]:
    """What a person is asked, a line each: what the gate says, where to read more, and how to answer."""
    assert record.approval is not None
    yield f"Decision {record.decision_id} waits for approval until {record.approval.until}. {record.reason}"
    yield from (f"Warning: {warning}" for warning in record.warnings)
    places = [place for place in (record.report, read_origin(record.origin).page) if place]
    yield from (f"Read {place}" for place in places)
    yield f"To allow it:  kfp-bert registry approve {quote(registry)} {record.decision_id}"
    yield f"To refuse it: kfp-bert registry reject {quote(registry)} {record.decision_id} --reason TEXT"


def _after(made: Decision, approval: Approval) -> Decision:
    """The decision after an answer. What was not approved is held back by hand, so that nothing promotes it."""
    why = approval.reason.strip().rstrip(".")
    because = f": {why}" if why else ""
    if approval.state == "approved":
        return replace(made, reason=f"{made.reason} Approved by {approval.by}{because}.")
    if approval.state == "rejected":
        name, said = approval.by, f"Rejected by {approval.by}{because}."
    else:
        name, said = "wait_for_approval", f"Nobody approved it until {approval.until}."
        why = "nobody answered in time"
    by_hand = {"override": "HOLD", "override_by": name, "override_reason": why or "rejected"}
    return replace(
        made,
        outcome="HOLD",
        reason=f"{said} The gate itself says PROMOTE: {made.reason}",
        gate_outcome="PROMOTE",
        policy={**made.policy, **by_hand},
    )
