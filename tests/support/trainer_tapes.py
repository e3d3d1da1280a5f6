"""What a cluster with Kubeflow Trainer showed of a TrainJob, event by event, played back by the fake Kubernetes API.

`trainer_tapes.jsonl` beside this file has excerpts of the recordings: a line a scenario. `python -m
tests.support.trainer_tapes FOLDER` writes it from the folder of the recordings.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.kubernetes_cluster import Cluster
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_store import PODS, ApiError, Event, Object

FILE = Path(__file__).with_suffix(".jsonl")
SCENARIOS = ("t-ok", "t-fail0", "t-failback", "t-failonf", "t-failjs", "t-podkill", "t-badimage", "t-unsched")
SCENARIOS += ("t-deadline", "t-noancestor", "t-susp")
LABELS = ("job-completion-index", "jobset-name", "restart-attempt")
TRAIN_JOBS = by_kind("TrainJob")


def excerpt(folder: Path) -> dict[str, Any]:
    """What is kept of one scenario: the status of its first TrainJob, its pods, and their logs."""
    jobs, pods, actions = (_lines(folder / f"{name}.jsonl") for name in ("trainjobs", "pods", "actions"))
    name = jobs[0]["object"]["metadata"]["name"]
    ours = [one for one in jobs if one["object"]["metadata"]["name"] == name]
    start, events = _moment(ours[0]), []
    for one in ours:
        events.append([_moment(one) - start, "job", one["type"], one["object"].get("status", {})])
    for one in pods:
        if one["object"]["labels"]["jobset.sigs.k8s.io/jobset-name"] == name:
            events.append([_moment(one) - start, "pod", one["type"], _pod(one["object"])])
    events.sort(key=lambda one: one[0])
    deleted = next((number for number, one in enumerate(events) if one[1:3] == ["job", "DELETED"]), len(events))
    logs = {one["action"].split()[-1]: one["data"] for one in actions if one["action"].startswith("log of ")}
    plain = [one["data"] for one in actions if one["action"] == "log" and not one["data"].startswith("{")]
    for one in {event[3]["name"] for event in events if event[1] == "pod"} if plain else ():
        logs[one] = plain[0]
    return {"scenario": folder.name, "job": name, "events": _changes(events[:deleted]), "logs": logs}


def _changes(events: list[list[Any]]) -> list[list[Any]]:
    """The events without those that repeat what is known."""
    kept: list[list[Any]] = []
    last: dict[str, Any] = {}
    for seconds, kind, type_, one in events:
        key = one["name"] if kind == "pod" else kind
        if (type_, one) != last.get(key):
            kept.append([round(seconds, 2), kind, type_, one])
        last[key] = (type_, one)
    return kept


def _pod(one: Object) -> Object:
    labels = {name: value for name, value in one["labels"].items() if name.split("/")[-1] in LABELS}
    scheduled = [
        {name: found[name] for name in ("type", "status", "reason", "message") if name in found}
        for found in one["conditions"] or ()
        if found["type"] == "PodScheduled"
    ]
    states = [{"name": "node", "state": _without_ids(found["state"])} for found in one["containerStatuses"] or ()]
    status = {"phase": one["phase"], "conditions": scheduled, "containerStatuses": states}
    return {"name": one["name"], "labels": labels, "deleted": bool(one["deletionTimestamp"]), "status": status}


def _without_ids(state: Object) -> Object:
    return {kind: {name: one[name] for name in one if name != "containerID"} for kind, one in state.items()}


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _moment(one: Any) -> float:
    return datetime.fromisoformat(one["ts"]).timestamp()


@cache
def tapes() -> dict[str, Any]:
    """The excerpts by scenario."""
    return {one["scenario"]: one for one in _lines(FILE)}


class Tape:
    """Plays a scenario back as what becomes of each TrainJob that is made; what is deleted is not played on.

    Args:
        cluster: The cluster, in which nothing else makes pods.
        scenario: Which; "" for a TrainJob of which nothing comes.
        factor: How much faster than recorded.
        on_complete: Called with the staging folder before a TrainJob is shown as complete.
    """

    def __init__(
        self,
        cluster: Cluster,
        scenario: str,
        factor: float = 20.0,
        on_complete: Callable[[str], None] = lambda place: None,
    ) -> None:
        self._store, self._factor, self._on_complete = cluster.store, factor, on_complete
        self.change_to(scenario)
        cluster.kubelet.on_event = lambda event: None  # type: ignore[method-assign]
        cluster.log = self._log  # type: ignore[method-assign]
        self._store.listeners.append(self._on_event)

    def change_to(self, scenario: str) -> None:
        """Play another scenario from the next TrainJob on."""
        self._tape = tapes()[scenario] if scenario else {"job": "", "events": [], "logs": {}}

    def _on_event(self, event: Event) -> None:
        if event.resource == TRAIN_JOBS and event.type == "ADDED":
            threading.Thread(target=self._play, args=(event.object,), daemon=True).start()
        elif event.resource == TRAIN_JOBS and event.type == "DELETED":
            for pod in self._store.list(PODS):
                self._store.remove(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _play(self, job: Object) -> None:
        metadata, started = job["metadata"], time.monotonic()
        where = metadata["namespace"], metadata["name"]
        for seconds, kind, type_, one in self._tape["events"]:
            time.sleep(max(0.0, started + seconds / self._factor - time.monotonic()))
            renamed = json.loads(json.dumps(one).replace(self._tape["job"], metadata["name"]))
            with self._store.lock:
                now = self._store.find(TRAIN_JOBS, *where)
                if not now or now["metadata"]["uid"] != metadata["uid"]:
                    return
                if kind == "pod":
                    self._show_pod(metadata["namespace"], type_, renamed)
                    continue
                if any(found["type"] == "Complete" for found in renamed.get("conditions", ())):
                    self._on_complete(job["spec"]["trainer"]["command"][-1])
                if renamed:
                    self._store.set_status(TRAIN_JOBS, *where, renamed)

    def _show_pod(self, namespace: str, type_: str, one: Object) -> None:
        where = PODS, namespace, one["name"]
        if type_ == "DELETED":
            self._store.remove(*where)
            return
        if not self._store.find(*where):
            made = {"name": one["name"], "namespace": namespace, "labels": one["labels"]}
            self._store.create(PODS, {"metadata": made, "spec": {"containers": [{"name": "node"}]}})
        if one["deleted"]:
            self._store.delete(*where, grace=1)
        self._store.set_status(*where, one["status"])

    def _log(self, namespace: str, name: str, query: dict[str, str]) -> str:
        pod = self._store.get(PODS, namespace, name)
        recorded = name.replace(pod["metadata"]["labels"]["jobset.sigs.k8s.io/jobset-name"], self._tape["job"])
        return log_answer(pod, stamped(self._tape["logs"].get(recorded, "").splitlines()), query)


def stamped(lines: list[str]) -> list[tuple[str, str]]:
    """Lines with times, a millisecond apart."""
    return [(f"2026-11-28T14:58:37.{number:09d}Z", line) for number, line in enumerate(lines, 1)]


def log_answer(pod: Object, lines: list[tuple[str, str]], query: dict[str, str]) -> str:
    """The log of a pod as the API gives it; 400 while its container waits.

    The times that the API writes have nine digits after the point; `sinceTime` counts in whole seconds.
    """
    if not any(one["state"].keys() & {"running", "terminated"} for one in pod["status"].get("containerStatuses", ())):
        why = f'container "node" in pod "{pod["metadata"]["name"]}" is waiting to start: ContainerCreating'
        raise ApiError(400, "BadRequest", why)
    since, tail = query.get("sinceTime", ""), int(query.get("tailLines", "0"))
    found = [one for one in lines if one[0][:19] >= since[:19]][-tail:]
    return "".join(f"{moment} {line}\n" if query.get("timestamps") else f"{line}\n" for moment, line in found)


if __name__ == "__main__":
    FILE.write_text("".join(f"{json.dumps(excerpt(Path(sys.argv[1], name)))}\n" for name in SCENARIOS))
