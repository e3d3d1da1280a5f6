"""How a PATCH changes an object of the fake Kubernetes API: merge patch, JSON patch, server-side apply.

Server-side apply keeps in `metadata.managedFields` which manager has set which field
(https://kubernetes.io/docs/reference/using-api/server-side-apply/). As a simplification a list is one field, whole.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from tests.support.kubernetes_store import ApiError, Object

Path = tuple[str, ...]
NOT_OWNED = {
    ("apiVersion",),
    ("kind",),
    ("metadata", "name"),
    ("metadata", "namespace"),
    ("metadata", "uid"),
    ("metadata", "resourceVersion"),
    ("metadata", "generation"),
    ("metadata", "creationTimestamp"),
    ("metadata", "managedFields"),
}


def merge(one: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386): null removes, a list replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(one) if isinstance(one, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def json_patch(one: Object, operations: list[Object]) -> Object:
    """A JSON patch (RFC 6902): add, replace, remove, test; 422 where one cannot be done."""
    result = copy.deepcopy(one)
    for operation in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        holder: Any = result
        try:
            for part in parents:
                holder = holder[int(part)] if isinstance(holder, list) else holder[part]
            _operate(holder, last, operation)
        except (KeyError, IndexError, ValueError) as error:
            message = f"the server rejected our request due to an error in our request: {operation} ({error!r})"
            raise ApiError(422, "Invalid", message) from error
    return result


def _operate(holder: Any, last: str, operation: Object) -> None:
    index: Any = last
    if isinstance(holder, list):
        index = len(holder) if last == "-" else int(last)
    if operation["op"] == "add" and isinstance(holder, list):
        holder.insert(index, operation["value"])
    elif operation["op"] == "add":
        holder[index] = operation["value"]
    elif operation["op"] == "test":
        if holder[index] != operation["value"]:
            raise ValueError("testing value failed")
    elif operation["op"] == "remove":
        del holder[index]
    elif operation["op"] == "replace":
        holder[index]  # it must be there
        holder[index] = operation["value"]
    else:
        raise ValueError("the fake does not know this operation")


# Who manages what


def leaves(one: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The fields of an object that hold a value, a list, or an empty object, each with its path."""
    if isinstance(one, dict) and one:
        for name, value in one.items():
            yield from leaves(value, (*path, name))
    elif path:
        yield path, one


def record_update(old: Object | None, new: Object, manager: str, stamp: str, part: str = "") -> Object:
    """The object with what changed put down to a manager; the others no longer have it."""
    before = dict(leaves({**(old or {}), "status": None} if part != "status" else old or {}))
    after = dict(leaves(new))
    changed = {path for path, value in after.items() if before.get(path, ...) != value and _owned(path, part)}
    if not changed and old is not None and before.keys() <= after.keys():
        return new
    result = copy.deepcopy(new)
    managers = _read(result)
    mine = (manager, "Update", part)
    managers = {who: {path for path in paths if path in after} for who, paths in managers.items()}
    managers = {who: paths - changed if who != mine else paths for who, paths in managers.items()}
    managers[mine] = managers.get(mine, set()) | changed
    return _write(result, managers, stamp)


def apply(old: Object | None, body: Object, manager: str, force: bool, stamp: str) -> Object:
    """Server-side apply.

    Args:
        old: The object as it is; None where there is none.
        body: What the manager wants; a field of its own that is no longer in it is removed.
        manager: Its name.
        force: Whether it takes fields that others hold; else a 409 names them.
        stamp: The time.
    """
    wanted = {path: value for path, value in leaves(body) if _owned(path, "")}
    new = copy.deepcopy(old) if old else {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": {}}
    managers = _read(new)
    current, mine = dict(leaves(new)), (manager, "Apply", "")
    for path in managers.get(mine, set()) - wanted.keys():
        if not any(path in paths for who, paths in managers.items() if who != mine):
            _remove(new, path)
    disputed = [
        (path, who)
        for who, paths in managers.items()
        for path in sorted(paths & wanted.keys())
        if who != mine and wanted[path] != {} and current.get(path) != wanted[path]
    ]
    if disputed and not force:
        raise _dispute(disputed)
    for path, who in disputed:
        managers[who].discard(path)
    for path, value in wanted.items():
        _set(new, path, value)
    managers[mine] = set(wanted)
    for name in ("name", "namespace", "resourceVersion"):
        if name in body.get("metadata", {}):
            new["metadata"][name] = body["metadata"][name]
    return _write(new, managers, stamp)


def _dispute(disputed: list[tuple[Path, tuple[str, str, str]]]) -> ApiError:
    causes = []
    for path, (manager, operation, _) in disputed:
        using = " using serving.kserve.io/v1beta1" if operation == "Update" else ""
        message = f'conflict with "{manager}"{using}'
        causes.append({"reason": "FieldManagerConflict", "message": message, "field": "." + ".".join(path)})
    listed = ", ".join(f"{one['message']}: {one['field']}" for one in causes)
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    return ApiError(409, "Conflict", f"Apply failed with {count}: {listed}", {"causes": causes})


def _owned(path: Path, part: str) -> bool:
    return path not in NOT_OWNED and (path[0] == "status") == (part == "status")


def _read(one: Object) -> dict[tuple[str, str, str], set[Path]]:
    entries = one["metadata"].get("managedFields", [])
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): set(_paths(entry["fieldsV1"]))
        for entry in entries
    }


def _write(one: Object, managers: dict[tuple[str, str, str], set[Path]], stamp: str) -> Object:
    before = {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry
        for entry in one["metadata"].get("managedFields", [])
    }
    entries = []
    for (manager, operation, part), paths in managers.items():
        if not paths:
            continue
        entry = {"manager": manager, "operation": operation, "apiVersion": one["apiVersion"], "time": stamp}
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": _tree(paths)}
        if part:
            entry["subresource"] = part
        known = before.get((manager, operation, part))
        same = known and json.dumps(known["fieldsV1"], sort_keys=True) == json.dumps(entry["fieldsV1"], sort_keys=True)
        entries.append(known if same else entry)
    one["metadata"]["managedFields"] = entries
    return one


def _tree(paths: set[Path]) -> Object:
    tree: Object = {}
    for path in sorted(paths):
        holder = tree
        for name in path:
            holder = holder.setdefault(f"f:{name}", {})
    return tree


def _paths(tree: Object, path: Path = ()) -> Iterator[Path]:
    for name, inner in tree.items():
        if inner:
            yield from _paths(inner, (*path, name.removeprefix("f:")))
        else:
            yield (*path, name.removeprefix("f:"))


def _set(one: Object, path: Path, value: Any) -> None:
    holder = one
    for name in path[:-1]:
        if not isinstance(holder.get(name), dict):
            holder[name] = {}
        holder = holder[name]
    if not (value == {} and isinstance(holder.get(path[-1]), dict)):  # an empty object wants no more than its presence
        holder[path[-1]] = copy.deepcopy(value)


def _remove(one: Object, path: Path) -> None:
    holders: list[Any] = [one]
    for name in path[:-1]:
        holders.append(holders[-1].get(name))
        if not isinstance(holders[-1], dict):
            return
    holders[-1].pop(path[-1], None)
    for holder, name in zip(reversed(holders[:-1]), reversed(path[:-1]), strict=True):
        if not holder[name]:
            del holder[name]
