"""Recordings of KServe's real controller, in short, to hold the fake one against.

`kserve_tapes.jsonl` beside this file has a line for each recording: what was done to its InferenceServices, and the
states that they and what was made for them went through. A state is what a client can see, in words; the same state
twice in a row is one. Where the recordings themselves lie beside the project,

    python -m tests.support.kubernetes_tapes ../shared/data/kserve/tapes

writes the file again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Object = dict[str, Any]
Row = tuple[float, str, str, Object]  # seconds, kind, type of the event, object

FILE = Path(__file__).with_name("kserve_tapes.jsonl")
KINDS = {"isvc": "InferenceService", "deployments": "Deployment", "replicasets": "ReplicaSet", "pods": "Pod"}
BRIEF = 0.2  # seconds
# Not compared: a try to fetch a model that is over at once is seen to run, or not.
NOT_OF_PODS = ("gone", "Pending, storage-initializer=running, kserve-container=waiting PodInitializing")
BY_WEBHOOK = ("modelFormat", "serving.kserve.io/deploymentMode")


def read_excerpts() -> dict[str, Object]:
    """The recordings in short, by name."""
    return {one["tape"]: one for one in map(json.loads, FILE.read_text().splitlines())}


def excerpt(folder: Path) -> Object:
    """A recording in short."""
    rows = sorted(read_rows(folder), key=lambda row: row[0])
    start = rows[0][0]
    began = datetime.fromtimestamp(start, UTC).strftime("%H:%M:%S.%f")[:-3]
    rows = [(round(seconds - start, 2), *rest) for seconds, *rest in rows]
    return {"tape": folder.name, "began": began, "actions": list(actions(rows)), "states": states(rows)}


def read_rows(folder: Path) -> Iterator[Row]:
    """All that a recording saw of the kinds that are compared."""
    for name, kind in KINDS.items():
        if (file := folder / f"{name}.jsonl").exists():
            for line in map(json.loads, file.read_text().splitlines()):
                yield datetime.fromisoformat(line["ts"]).timestamp(), kind, line["type"], line["object"]


def actions(rows: Iterable[Row]) -> Iterator[Object]:
    """What was done to the InferenceServices, as it shows in them: made, changed, deleted."""
    known: dict[str, Object] = {}
    for seconds, kind, type_, one in rows:
        if kind != "InferenceService":
            continue
        metadata, wanted = one["metadata"], _wanted(one)
        name, before = metadata["name"], known.get(one["metadata"]["name"])
        if type_ == "ADDED":
            yield {"at": seconds, "do": "create", "body": wanted}
        elif before and metadata.get("deletionTimestamp") and not before["metadata"].get("deletionTimestamp"):
            foreground = "foregroundDeletion" in metadata.get("finalizers", [])
            yield {"at": seconds, "do": "delete", "name": name, **({"foreground": True} if foreground else {})}
        elif before and wanted != _wanted(before):
            yield {"at": seconds, "do": "replace", "body": wanted}
        known[name] = one


def _wanted(one: Object) -> Object:
    """The part of an InferenceService that a client has written."""
    metadata = one["metadata"]
    annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key not in BY_WEBHOOK}
    kept = {"name": metadata["name"], "annotations": annotations, "labels": metadata.get("labels", {})}
    return {"metadata": {key: value for key, value in kept.items() if value}, "spec": one["spec"]}


def states(rows: Iterable[Row]) -> dict[str, list[str]]:
    """The states of each object, one after the other.

    An InferenceService and a Deployment have their own names. The ReplicaSets of a Deployment, and the pods of each,
    are counted in the order in which they came.
    """
    rows = list(rows)
    found: dict[str, list[tuple[float, str]]] = {}
    names = _names(rows)
    tell = {"InferenceService": of_inference_service, "Deployment": of_deployment, "ReplicaSet": of_set, "Pod": of_pod}
    for seconds, kind, type_, one in rows:
        told = "gone" if type_ == "DELETED" else tell[kind](one)
        listed = found.setdefault(names[kind, _name(one)], [])
        if kind != "Pod":
            _append(listed, seconds, told)
        elif told not in [*NOT_OF_PODS, *(before for _, before in listed)]:  # a pod that fails does so again and again
            listed.append((seconds, told))
    return {name: [told for _, told in listed] for name, listed in found.items()}


def _names(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """What each object is called, by its kind and name."""
    names: dict[tuple[str, str], str] = {}
    counts: dict[str, int] = {}
    for of_kind in KINDS.values():  # a pod may be seen before its ReplicaSet
        for _, kind, _, one in rows:
            where = (kind, _name(one))
            if kind != of_kind or where in names:
                continue
            if kind in ("InferenceService", "Deployment"):
                names[where] = f"{kind} {where[1]}"
                continue
            above = where[1].rpartition("-")[0]
            if kind == "Pod":
                above = names["ReplicaSet", above].removeprefix("ReplicaSet ")
            counts[above] = counts.get(above, 0) + 1
            names[where] = f"{kind} {above} {counts[above]}"
    return names


def _name(one: Object) -> str:
    return str(one.get("metadata", one)["name"])


def _append(listed: list[tuple[float, str]], seconds: float, told: str) -> None:
    """Add a state, without what is seen by chance, as it is over at once."""
    if not told or "PredictorReady=Unknown NewReplicaSetCreated" in told:
        return
    if listed and ">Loading" in listed[-1][1]:  # a try to load a model
        listed.pop()
    if len(listed) > 1 and seconds - listed[-1][0] < BRIEF:  # the model's part of a state, before the rest has changed
        before, brief, now = (one.partition(", model=")[0] for one in (listed[-2][1], listed[-1][1], told))
        if before == brief != now and "to be deleted" not in listed[-1][1]:
            listed.pop()
    if not listed or listed[-1][1] != told:
        listed.append((seconds, told))


def of_inference_service(one: Object) -> str:
    """What an InferenceService says; "" before its controller has looked at it."""
    status = one.get("status") or {}
    told = [f"{each['type']}={_condition(each)}" for each in status.get("conditions", [])]
    model = status.get("modelStatus", {})
    if model:
        model_states = model.get("states", {})
        moved = f"{model_states.get('activeModelState', '')}>{model_states.get('targetModelState', '')}"
        moved = f"{model['transitionStatus']} {moved}"
        # The first answers say nothing of the model, or this, by chance.
        waiting = moved == " >" and status["conditions"][1].get("status") == "False" and "address" in status
        told.append(f"model={'InProgress >Pending' if waiting else moved}")
        copies = model.get("copies", {}).get("totalCopies")
        told += [f"copies={copies}"] if copies else []
        told += [f"failure={model['lastFailureInfo']['reason']}"] if "lastFailureInfo" in model else []
    for canary in status.get("canaryStatuses", []):
        told.append(f"canary={canary['name']} {canary['trafficPercent']} {'ready' if canary['ready'] else 'not ready'}")
    return _deleted(one["metadata"], ", ".join(told))


def of_deployment(one: Object) -> str:
    """What a Deployment says."""
    status = one.get("status") or {}
    numbers = " ".join(str(status.get(name, 0)) for name in ("replicas", "updatedReplicas", "availableReplicas"))
    conditions = sorted(status.get("conditions", []), key=lambda each: each["type"])
    told = [f"{each['type']}={_condition(each)}" for each in conditions]
    return _deleted(one["metadata"], ", ".join([f"{one['spec']['replicas']}: {numbers}", *told])) if told else ""


def of_set(one: Object) -> str:
    """What a ReplicaSet says."""
    status = one.get("status") or {}
    numbers = f"{one['spec']['replicas']}: {status.get('replicas', 0)} {status.get('availableReplicas', 0)}"
    return ", ".join([numbers, *(each["reason"] for each in status.get("conditions", []))])


def of_pod(one: Object) -> str:
    """What a pod says; as the recordings have it, or as the API does."""
    if one.get("metadata", one).get("deletionTimestamp"):
        return "to be deleted"
    status = one.get("status", one)
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    told = [status.get("phase") or ""]
    scheduled = conditions.get("PodScheduled")
    if scheduled and scheduled["status"] == "False":
        told.append(f"PodScheduled={_condition(scheduled)}")
    for kind in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(kind) or []:
            (state, inner), *_ = each["state"].items()
            reason = inner.get("reason", "")
            code = f" {inner['exitCode']}" if "exitCode" in inner else ""
            told.append(f"{each['name']}={state} {reason}{code}{' ready' if each['ready'] else ''}".strip())
    return ", ".join(told)


def _condition(one: Object) -> str:
    return f"{one['status']} {one['reason']}" if one.get("reason") else str(one["status"])


def _deleted(metadata: Object, told: str) -> str:
    return f"{told}, to be deleted" if metadata.get("deletionTimestamp") else told


def main(folder: Path) -> None:
    """Write the file from the recordings in a folder."""
    FILE.write_text("".join(f"{json.dumps(one, sort_keys=True)}\n" for one in excerpts(folder)))


def excerpts(folder: Path) -> Iterator[Object]:
    """All recordings in short. One that shows nothing that others do not show names these."""
    tapes: dict[tuple[str, ...], str] = {}
    for one in sorted(folder.iterdir()):
        if not (one / "isvc.jsonl").exists():
            yield {"tape": one.name, "shows": "no InferenceService"}
            continue
        short = excerpt(one)
        shown = [(name, *listed) for name, listed in short["states"].items()]
        if all(each in tapes for each in shown):
            yield {"tape": one.name, "same_as": sorted({tapes[each] for each in shown})}
            continue
        tapes |= {each: one.name for each in shown if each not in tapes}
        yield short


if __name__ == "__main__":
    main(Path(sys.argv[1]))
