"""What happened in a registry, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import accumulate, chain, zip_longest
from operator import itemgetter
from typing import Any

from kfp_bert_components.errors import DamagedError
from kfp_bert_components.plain import plain
from kfp_bert_components.registry._decisions import DecisionRecord, read_decisions
from kfp_bert_components.registry._deployments import read_deployments
from kfp_bert_components.registry._read import read_champion, read_removed, removed_numbers
from kfp_bert_components.registry._records import HistoryEvent
from kfp_bert_components.storage import Store

_STATES = {
    "pending": "Version {version} is waiting to be deployed to {target}",
    "rolling": "The rollout of version {version} to {target} is under way",
    "live": "Version {version} went live on {target}",
    "failed": "The rollout of version {version} to {target} failed",
}
_ANSWERS = {"approved": "was approved", "rejected": "was rejected", "expired": "was not approved in time"}


def history(store: Store) -> list[HistoryEvent]:
    """See `Registry.history`."""
    champion = read_champion(store)
    series = [[_event(one, _move(one)) for one in (champion.log if champion else ())]]
    series += [list(_rollouts(target, record.log)) for target, record in read_deployments(store)[0].items()]
    series += [list(_decided(decision)) for decision in read_decisions(store)]
    for number in removed_numbers(store):
        with suppress(DamagedError):  # verify names it
            series.append([_event(read_removed(store, number), f"Version {number} was removed")])
    # What one record tells stays in its order, whatever the clocks of the machines said that wrote it.
    dated = [zip(accumulate((event.at for event in events), max), events, strict=True) for events in series]
    return [event for _, event in sorted(chain.from_iterable(dated), key=itemgetter(0))]


def _move(one: Mapping[str, Any]) -> str:
    """A move of the pointer, in words."""
    version, previous = one["version"], one["previous"]
    if one["event"] == "promoted":
        return f"Version {version} became champion" + (
            f", in place of version {previous}" if previous else ", the first one"
        )
    if one["event"] == "repaired":
        return f"Version {version} was made champion by a repair"
    return f"The champion was rolled back from version {previous} to version {version}"


def _decided(one: DecisionRecord) -> Iterator[HistoryEvent]:
    """What came of a decision, where no move of the pointer says it."""
    if one.outcome != "PROMOTE":
        yield _event(asdict(one), f"A model was not promoted ({one.outcome})")
    if one.approval and one.approval.state != "waiting":
        yield _event(
            asdict(one.approval), f"The promotion by decision {one.decision_id} {_ANSWERS[one.approval.state]}"
        )


def _event(one: Mapping[str, Any], text: str) -> HistoryEvent:
    """A line of the history; what people and data put into it stays on that line."""
    reason = one["reason"].strip().rstrip(".")
    said = plain(f"{text}: {reason}." if reason else f"{text}.")
    return HistoryEvent(plain(one["at"]), plain(one["by"]), said, one.get("origin", {}))


def _rollouts(target: str, log: Sequence[Mapping[str, Any]]) -> Iterator[HistoryEvent]:
    live: dict[str, int] = {}  # by place; older entries do not name theirs
    place = ""
    for one, after in zip_longest(log, log[1:]):
        place = " ".join(one["place"].values()) if "place" in one else place
        if one["reason"] and after and _is_end_of(after, one):
            continue  # a rollout that is being undone: the next line says so, with the reason
        text = _STATES[one["state"]].format(version=one["version"], target=target)
        text += _what_serves(one, live.get(place))
        if one["state"] == "live":
            live[place] = one["version"]
        yield _event(one, text)


def _what_serves(one: Mapping[str, Any], before: int | None) -> str:
    """What was seen to serve after a failure, in words; older records do not say it."""
    if one["state"] != "failed" or "live" not in one:
        return ""
    now = one["live"]
    if not one.get("live_is_known", True):
        return f", and whether version {now or before} still serves is not known" if now or before else ""
    if now:
        return f", and version {now} serves" + (" as before" if now == before else "")
    return f", and version {before} does not serve there any more" if before else ""


def _is_end_of(failed: Mapping[str, Any], rolling: Mapping[str, Any]) -> bool:
    same = all(failed[name] == rolling[name] for name in ("version", "reason"))
    return same and (rolling["state"], failed["state"]) == ("rolling", "failed")
