"""What happened in a registry, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from kfp_bert_components.registry._deployments import read_deployment
from kfp_bert_components.registry._read import read_champion, targets
from kfp_bert_components.registry._records import HistoryEvent, load
from kfp_bert_components.storage import Store

_STATES = {
    "pending": "Version {version} is waiting to be deployed to {target}",
    "rolling": "The rollout of version {version} to {target} is under way",
    "live": "Version {version} went live on {target}",
    "failed": "The rollout of version {version} to {target} failed",
}


def history(store: Store) -> list[HistoryEvent]:
    """See `Registry.history`."""
    champion = read_champion(store)
    events = []
    for one in champion.log if champion else ():
        if one["event"] == "promoted":
            before = f", in place of version {one['previous']}" if one["previous"] else ", the first one"
            text = f"Version {one['version']} became champion{before}"
        else:
            text = f"The champion was rolled back from version {one['previous']} to version {one['version']}"
        events.append(HistoryEvent(one["at"], one["by"], _with_reason(text, one["reason"])))
    for target in targets(store):
        events += _rollouts(target, read_deployment(store, target).log)
    for entry in store.list("removed/", checksums=False):
        one, _ = load(store, entry.name, dict)
        events.append(
            HistoryEvent(one["at"], one["by"], f"Version {one['version']} was removed by gc: {one['reason']}.")
        )
    return sorted(events, key=lambda event: event.at)


def _rollouts(target: str, log: Sequence[Mapping[str, Any]]) -> Iterator[HistoryEvent]:
    live = None
    for one, after in zip_longest(log, log[1:]):
        if one["reason"] and after and _is_end_of(after, one):
            continue  # a rollout that is being undone: the next line says so, with the reason
        text = _STATES[one["state"]].format(version=one["version"], target=target)
        if one["state"] == "failed" and live:
            text += f", and version {live} serves as before"
        if one["state"] == "live":
            live = one["version"]
        yield HistoryEvent(one["at"], one["by"], _with_reason(text, one["reason"]))


def _is_end_of(failed: Mapping[str, Any], rolling: Mapping[str, Any]) -> bool:
    same = all(failed[name] == rolling[name] for name in ("version", "reason"))
    return same and (rolling["state"], failed["state"]) == ("rolling", "failed")


def _with_reason(text: str, reason: str) -> str:
    return f"{text}: {reason.strip().rstrip('.')}." if reason.strip() else f"{text}."
