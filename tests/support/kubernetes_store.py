"""The objects of the fake Kubernetes API: versions, generations, deletion, and the history that a watch reads."""

from __future__ import annotations

import json
import random
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.kubernetes_resources import Resource, by_kind

Object = dict[str, Any]
Key = tuple[Resource, str, str]


class ApiError(Exception):
    """An answer that is an object of kind Status."""

    def __init__(self, status: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.details = status, reason, message, details or {}

    def body(self) -> Object:
        """The Status."""
        known = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message}
        details = {"details": self.details} if self.details else {}
        return {**known, "reason": self.reason, **details, "code": self.status}


@dataclass(frozen=True)
class Event:
    """One change, as a watch tells it: ADDED, MODIFIED or DELETED. `before` is the object as it was."""

    version: int
    type: str
    resource: Resource
    object: Object
    before: Object | None = None


class Store:
    """All objects. An object that was given out is a copy.

    Args:
        stamp: Gives the time as objects have it.

    Attributes:
        lock: Held during every change.
        changed: Notified at every change.
        listeners: Called with every change, under the lock.
        oldest: A watch cannot begin before this version (410).
    """

    def __init__(self, stamp: Callable[[], str]) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.listeners: list[Callable[[Event], None]] = []
        self.oldest = 0
        self.version = 1000
        self._stamp = stamp
        self._objects: dict[Key, Object] = {}
        self._history: list[Event] = []

    # Reading

    def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """An object, or None."""
        with self.lock:
            return copied(self._objects.get((resource, namespace, name)))

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """An object; a 404 where there is none."""
        found = self.find(resource, namespace, name)
        if found is None:
            details = {"name": name, "group": resource.group, "kind": resource.plural}
            raise ApiError(404, "NotFound", f'{resource.full_name} "{name}" not found', details)
        return found

    def list(self, resource: Resource, namespace: str = "", labels: str = "", fields: str = "") -> list[Object]:
        """The objects of a kind in the order of their names; namespace "": of all."""
        with self.lock:
            keys = sorted((key for key in self._objects if key[0] == resource), key=lambda key: key[1:])
            found = [self._objects[key] for key in keys if namespace in ("", key[1])]
            return [copied(one) for one in found if selected(one, labels, fields)]

    def events_since(self, version: int) -> list[Event]:
        """The changes after a version; a 410 where they are forgotten."""
        with self.lock:
            if version < self.oldest:
                message = f"too old resource version: {version} ({self.oldest})"
                raise ApiError(410, "Expired", message)
            return [event for event in self._history if event.version > version]

    def forget(self) -> None:
        """Forget the history, as a server does after a while: a watch from an older version gets a 410."""
        with self.lock:
            self.oldest, self._history = self.version, []

    # Writing

    def create(self, resource: Resource, body: Object, dry_run: bool = False) -> Object:
        """Make an object; 409 where its name is taken."""
        with self.lock:
            new = copied(body)
            metadata = new.setdefault("metadata", {})
            if not metadata.get("name") and metadata.get("generateName"):
                metadata["name"] = metadata["generateName"] + suffix()
            name, namespace = metadata["name"], metadata.get("namespace", "")
            if there := self._objects.get((resource, namespace, name)):
                message = f'{resource.full_name} "{name}" already exists'
                if there["metadata"].get("deletionTimestamp"):
                    message = f"object is being deleted: {message}"
                details = {"name": name, "group": resource.group, "kind": resource.plural}
                raise ApiError(409, "AlreadyExists", message, details)
            for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
                metadata.pop(field, None)
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._stamp(), "generation": 1}
            new |= {"apiVersion": resource.api_version, "kind": resource.kind}
            if not dry_run:
                self._put("ADDED", resource, new)
            return copied(new)

    def change(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Object], Object | None],
        *,
        part: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Change an object by a function, which gets a copy and may give another; 409 where it names an old version.

        As on a real server, the status changes only through its own part where there is one, and nothing else does
        there; a change of the spec makes a new generation; a change that changes nothing makes no new version.
        """
        with self.lock:
            old = self.get(resource, namespace, name)
            work = copied(old)
            new = change(work) or work
            if new["metadata"].get("resourceVersion", old["metadata"]["resourceVersion"]) not in (
                "",
                old["metadata"]["resourceVersion"],
            ):
                raise conflict(resource, name)
            _keep(old, new, part)
            if _content(new) == _content(old):
                return old
            if new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
            if not dry_run:
                gone = new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers")
                if gone and resource.kind != "Pod":
                    self._remove(resource, old, new)
                else:
                    self._put("MODIFIED", resource, new, old)
            return copied(new)

    def set_status(self, resource: Resource, namespace: str, name: str, status: Object) -> Object:
        """Replace an object's status, as its controller does."""
        return self.change(resource, namespace, name, lambda one: {**one, "status": status}, part="status")

    def delete(
        self, resource: Resource, namespace: str, name: str, *, foreground: bool = False, grace: int = 30
    ) -> bool:
        """Delete an object; whether it is gone. With finalizers, and of pods, it stays until they are done."""
        with self.lock:
            old = self.get(resource, namespace, name)
            new = copied(old)
            metadata = new["metadata"]
            if foreground:
                metadata["finalizers"] = [*metadata.get("finalizers", []), "foregroundDeletion"]
            if not (metadata.get("finalizers") or (resource.kind == "Pod" and grace)):
                self._remove(resource, old, new)
                return True
            if not metadata.get("deletionTimestamp"):
                metadata["deletionTimestamp"] = self._stamp()
                metadata["deletionGracePeriodSeconds"] = grace if resource.kind == "Pod" else 0
                metadata["generation"] = metadata.get("generation", 1) + 1
                self._put("MODIFIED", resource, new, old)
            return False

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Take an object away at once, if it is there."""
        with self.lock:
            if old := self.find(resource, namespace, name):
                self._remove(resource, old, old)

    def owned(self, resource: Resource, uid: str) -> list[Object]:
        """The objects of a kind that an object controls."""
        with self.lock:
            found = [one for key, one in self._objects.items() if key[0] == resource and uid in owner_ids(one)]
            return [copied(one) for one in sorted(found, key=lambda one: str(one["metadata"]["name"]))]

    def _put(self, type_: str, resource: Resource, new: Object, old: Object | None = None) -> None:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        metadata = new["metadata"]
        self._objects[resource, metadata.get("namespace", ""), metadata["name"]] = copied(new)
        self._tell(type_, resource, new, old)

    def _remove(self, resource: Resource, old: Object, new: Object) -> None:
        self.version += 1
        gone = copied(new)
        gone["metadata"]["resourceVersion"] = str(self.version)
        del self._objects[resource, old["metadata"].get("namespace", ""), old["metadata"]["name"]]
        self._tell("DELETED", resource, gone, old)

    def _tell(self, type_: str, resource: Resource, new: Object, old: Object | None) -> None:
        event = Event(self.version, type_, resource, copied(new), old)
        self._history.append(event)
        for listener in self.listeners:
            listener(event)
        self.changed.notify_all()


def copied(one: Any) -> Any:
    """A copy of an object to its depth; several times faster than the library's, which knows more kinds of things."""
    if isinstance(one, dict):
        return {name: copied(value) for name, value in one.items()}
    return [copied(value) for value in one] if isinstance(one, list) else one


def conflict(resource: Resource, name: str) -> ApiError:
    """The 409 of a change of an old version."""
    message = f'Operation cannot be fulfilled on {resource.full_name} "{name}": the object has been modified; '
    message += "please apply your changes to the latest version and try again"
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return ApiError(409, "Conflict", message, details)


def owner_ids(one: Object) -> list[str]:
    """The uids of an object's owners."""
    return [owner["uid"] for owner in one["metadata"].get("ownerReferences", [])]


def owner_reference(owner: Object) -> Object:
    """A reference to the object that controls another."""
    metadata = owner["metadata"]
    names = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return {**names, "controller": True, "blockOwnerDeletion": True}


def selected(one: Object, labels: str = "", fields: str = "") -> bool:
    """Whether an object fits a label selector and a field selector, of equalities, `in`, and names of labels."""
    known = one["metadata"].get("labels") or {}
    return all(_label_fits(known, term) for term in _terms(labels)) and all(
        _field_fits(one, term) for term in _terms(fields)
    )


def _terms(selector: str) -> list[str]:
    terms, depth, term = [], 0, ""
    for letter in selector:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            terms.append(term)
            term = ""
        else:
            term += letter
    return [one.strip() for one in [*terms, term] if one.strip()]


def _label_fits(known: dict[str, str], term: str) -> bool:
    if " in (" in term:
        name, _, values = term.partition(" in (")
        return known.get(name.strip()) in [value.strip() for value in values.rstrip(")").split(",")]
    if "!=" in term:
        name, _, value = term.partition("!=")
        return known.get(name.strip()) != value.strip()
    if "=" in term:
        name, _, value = term.replace("==", "=").partition("=")
        return known.get(name.strip()) == value.strip()
    return term[1:] not in known if term[0] == "!" else term in known


def _field_fits(one: Object, term: str) -> bool:
    name, _, value = term.replace("==", "=").partition("!=" if "!=" in term else "=")
    found: Any = one
    for part in name.split("."):
        found = (found or {}).get(part)
    return (str(found or "") == value) != ("!=" in term)


def suffix(length: int = 5) -> str:
    """Random letters, as at the end of the name of a pod."""
    return "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=length))


def _keep(old: Object, new: Object, part: str) -> None:
    """Undo what a change may not change."""
    with_status = part == "status"
    if with_status:
        kept = {name: value for name, value in old.items() if name != "status"}
        status, fields = new.get("status"), new["metadata"].get("managedFields")
        new.clear()
        new |= copied(kept)
        if status is not None:
            new["status"] = status
        if fields:
            new["metadata"]["managedFields"] = fields
    else:
        new.pop("status", None)
        if "status" in old:
            new["status"] = copied(old["status"])
    for field in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "name"):
        new["metadata"].pop(field, None)
        if field in old["metadata"]:
            new["metadata"][field] = old["metadata"][field]
    if "namespace" in old["metadata"]:
        new["metadata"]["namespace"] = old["metadata"]["namespace"]
    new |= {"apiVersion": old["apiVersion"], "kind": old["kind"]}


def _content(one: Object) -> str:
    metadata = {name: value for name, value in one["metadata"].items() if name != "resourceVersion"}
    return json.dumps({**one, "metadata": metadata}, sort_keys=True)


PODS, SERVICES, EVENTS = by_kind("Pod"), by_kind("Service", ""), by_kind("Event")
DEPLOYMENTS, REPLICASETS = by_kind("Deployment"), by_kind("ReplicaSet")
HPAS, CLAIMS = by_kind("HorizontalPodAutoscaler"), by_kind("PersistentVolumeClaim")
INFERENCE_SERVICES, SLICES = by_kind("InferenceService"), by_kind("EndpointSlice")
