"""A call of the fake Kubernetes API that makes, changes or deletes an object."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from tests.support.kubernetes_cluster import Cluster
from tests.support.kubernetes_http import Answer, Request
from tests.support.kubernetes_patches import apply, json_patch, merge, record_update
from tests.support.kubernetes_resources import Target
from tests.support.kubernetes_schema import check_body
from tests.support.kubernetes_store import ApiError, Object

APPLY, STRATEGIC = "application/apply-patch+yaml", "application/strategic-merge-patch+json"
PATCHES = {"application/merge-patch+json": merge, "application/json-patch+json": json_patch, STRATEGIC: merge}


class Write:
    """One such call.

    Args:
        cluster: Where it happens.
        request: The request.
        target: What its address names.
    """

    def __init__(self, cluster: Cluster, request: Request, target: Target) -> None:
        self._cluster, self._store = cluster, cluster.store
        self._request, self._target, self._resource = request, target, target.resource
        self._where = (target.resource, target.namespace, target.name)
        options = request.body if request.method == "DELETE" and request.body else {}
        self._options = {**request.query, **options}
        self._dry_run = "All" in (request.query.get("dryRun"), *options.get("dryRun", []))
        self._manager = request.query.get("fieldManager") or request.agent.split("/")[0] or "unknown"
        self._stamp = cluster.clock.stamp()
        self._warnings: list[str] = []

    def answer(self) -> Answer:
        """Do it; the object as it is then."""
        method, kind = self._request.method, self._request.content_type
        if method == "DELETE":
            return self._delete()
        if method == "POST":
            return self._create(record_update(None, self._named(self._request.body), self._manager, self._stamp))
        if method == "PATCH" and kind == APPLY:
            return self._apply()
        if method == "PATCH" and (kind not in PATCHES or (kind == STRATEGIC and self._resource.crd)):
            accepted = ", ".join([*(one for one in PATCHES if one != STRATEGIC), APPLY])
            message = "the body of the request was in an unknown format - accepted media types include: "
            raise ApiError(415, "UnsupportedMediaType", message + accepted)
        return self._change(self._patched if method == "PATCH" else self._replaced)

    def _named(self, body: Object) -> Object:
        """A new object, with what its address says, and without what only the server sets."""
        metadata = {key: value for key, value in body.get("metadata", {}).items() if key != "managedFields"}
        metadata |= {"name": self._target.name} if self._target.name else {}
        metadata |= {"namespace": self._target.namespace} if self._resource.namespaced else {}
        metadata.pop("resourceVersion", None)
        kept = {key: value for key, value in body.items() if key != "status"}
        return {"apiVersion": self._resource.api_version, "kind": self._resource.kind, **kept, "metadata": metadata}

    def _admit(self, new: Object, old: Object | None) -> Object:
        """An object as the webhooks and the schema leave it."""
        admitted = self._cluster.admit(self._resource, new, old)
        checked, told = check_body(self._resource, admitted, self._request.query.get("fieldValidation", ""))
        self._warnings += told
        return self._cluster.validate(self._resource, checked, old)

    def _create(self, new: Object) -> Answer:
        made = self._store.create(self._resource, self._admit(new, None), self._dry_run)
        return Answer(201, made, self._headers())

    def _apply(self) -> Answer:
        if "fieldManager" not in self._request.query:
            told = "fieldManager: Required value: is required for apply patch"
            raise ApiError(422, "Invalid", f"PatchOptions.meta.k8s.io is invalid: {told}")
        force = self._request.query.get("force") == "true"
        applied = partial(apply, manager=self._manager, force=force, stamp=self._stamp)
        self._check_uid()
        if self._store.find(*self._where) is None:  # whatever resourceVersion it names
            return self._create(applied(None, self._named(self._request.body)))
        return self._change(lambda old: applied(old, self._request.body))

    def _check_uid(self) -> None:
        """Refuse an apply to another object than the one with the uid that it names.

        Words and order are those of the API server's source (endpoints/handlers/patch.go, registry/rest/update.go). So
        is it that an object which is not there is made, and that another resourceVersion is a conflict
        (registry/generic/registry/store.go).
        """
        there, said = self._store.find(*self._where), self._request.body.get("metadata", {})
        uid = said.get("uid")
        if not uid or (there and (there["metadata"]["uid"] == uid or said.get("resourceVersion"))):
            return
        if there is None:
            told = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise ApiError(409, "Conflict", f'Operation cannot be fulfilled on "{self._target.name}": {told}')
        raise ApiError(422, "Invalid", f'metadata.uid: Invalid value: "{uid}": field is immutable')

    def _patched(self, old: Object) -> Object:
        return self._recorded(old, PATCHES[self._request.content_type](old, self._request.body))

    def _replaced(self, old: Object) -> Object:
        body = self._request.body
        return self._recorded(old, {**body, "apiVersion": old["apiVersion"], "kind": old["kind"]})

    def _recorded(self, old: Object, new: Object) -> Object:
        metadata = {**new["metadata"], "managedFields": old["metadata"].get("managedFields", [])}
        return record_update(old, {**new, "metadata": metadata}, self._manager, self._stamp, self._target.part)

    def _change(self, change: Callable[[Object], Object]) -> Answer:
        def admitted(old: Object) -> Object:
            new = change(old)
            return new if self._target.part == "status" else self._admit(new, old)

        part = self._target.part if self._target.part == "status" else ""
        written = self._store.change(*self._where, admitted, part=part, dry_run=self._dry_run)
        return Answer(200, written, self._headers())

    def _delete(self) -> Answer:
        names, last = [self._target.name], {}
        if not self._target.name:
            selectors = (self._options.get("labelSelector", ""), self._options.get("fieldSelector", ""))
            found = self._store.list(self._resource, self._target.namespace, *selectors)
            names = [one["metadata"]["name"] for one in found]
        for name in names:
            last = self._delete_one(name)
        if last.get("metadata", {}).get("deletionTimestamp"):
            return Answer(200, last)
        details = {"name": self._target.name, "group": self._resource.group, "kind": self._resource.plural}
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Answer(200, done)

    def _delete_one(self, name: str) -> Object:
        """The object as it is then, if it stays for a while; as it was, if it is gone."""
        where = (self._resource, self._target.namespace, name)
        there = self._store.get(*where)
        for field, value in self._options.get("preconditions", {}).items():
            if there["metadata"][field] != value:
                told = f"{field} in precondition: {value}, {field} in object meta: {there['metadata'][field]}"
                raise ApiError(409, "Conflict", f"Precondition failed: {told}")
        if self._dry_run:
            return there
        foreground = self._options.get("propagationPolicy") == "Foreground"
        grace = int(self._options.get("gracePeriodSeconds", 30))
        gone = self._store.delete(*where, foreground=foreground, grace=grace)
        return there if gone else self._store.get(*where)

    def _headers(self) -> dict[str, str]:
        told = ", ".join(f"299 - {json.dumps(one)}" for one in self._warnings)
        return {"Warning": told} if told else {}
