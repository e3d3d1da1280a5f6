"""Long-running operations of the fake AI Platform, and what all its services share."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from google.rpc import code_pb2, status_pb2


class RefusalError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Pending:
    """An operation under way: what it does when it is done."""

    name: str
    method: str
    due: float
    apply: Callable[[], Any]
    mark: str = ""
    done: operations_pb2.Operation | None = None


@dataclass
class Operations:
    """Operations that take time.

    Attributes:
        operation_seconds: Time that an operation takes.
        outcomes: Method -> "fail", "hang" or "late" for its operations. Those that are late take twenty times as long,
            and do not end while it stands here.
    """

    operation_seconds: float = 0.02
    outcomes: dict[str, str] = field(default_factory=dict)
    operations: dict[str, Pending] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock)
    _numbers: int = 1000

    def call(self, method: str, request: Any) -> Any:
        """Answer one request message; the state changes in one piece."""
        with self.lock:
            self._settle()
            return getattr(self, _snake(method))(request)

    def get_operation(self, request: Any) -> Any:
        if request.name not in self.operations:
            raise RefusalError(404, "NOT_FOUND", f"{request.name} does not exist")
        pending = self.operations[request.name]
        return pending.done or operations_pb2.Operation(name=pending.name)

    def list_operations(self, request: Any) -> Any:
        start = f"{request.name}/operations/"
        found = [one for name, one in self.operations.items() if name.startswith(start)]
        running = [one.done or operations_pb2.Operation(name=one.name) for one in found]
        return operations_pb2.ListOperationsResponse(operations=running)

    def cancel_operation(self, request: Any) -> Any:
        pending = self.operations[request.name]
        if not pending.done and self.outcomes.get(pending.method) != "late":
            self._end(pending, status_pb2.Status(code=code_pb2.CANCELLED, message="cancelled"))
        return None

    # Below: helpers

    def _begin(
        self, resource: str, method: str, apply: Callable[[], Any], metadata: Any, mark: str = ""
    ) -> operations_pb2.Operation:
        name = f"{resource}/operations/{self._number()}"
        slow = {"hang": 1e9, "late": 20 * self.operation_seconds}.get(self.outcomes.get(method, ""))
        due = time.monotonic() + (slow or self.operation_seconds)
        self.operations[name] = Pending(name, method, due, apply, mark)
        answer = operations_pb2.Operation(name=name)
        answer.metadata.Pack(type(metadata).pb(metadata))
        return answer

    def _settle(self) -> None:
        for pending in list(self.operations.values()):
            outcome = self.outcomes.get(pending.method)
            if pending.done or pending.due > time.monotonic() or outcome == "late":
                continue
            if outcome == "fail":
                self._end(pending, status_pb2.Status(code=code_pb2.INTERNAL, message="the machine broke"))
                continue
            result = pending.apply()
            packed = any_pb2.Any()
            packed.Pack(type(result).pb(result))
            pending.done = operations_pb2.Operation(name=pending.name, done=True, response=packed)

    def _end(self, pending: Pending, error: status_pb2.Status) -> None:
        pending.done = operations_pb2.Operation(name=pending.name, done=True, error=error)

    def _running(self, prefix: str, mark: str = "") -> bool:
        return any(
            name.startswith(f"{prefix}operations/") and not one.done and mark in ("", one.mark)
            for name, one in self.operations.items()
        )

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _etag(self) -> str:
        return f"etag-{self._number()}"


def matches(resource: Any, expression: str) -> bool:
    return all(_holds(resource, term) for term in expression.split(" AND ") if term)


def _holds(resource: Any, term: str) -> bool:
    if found := re.fullmatch(r'labels\."?([\w-]+)"?\s*=\s*"?([\w-]+)"?', term):
        return resource.labels.get(found[1]) == found[2]
    if found := re.fullmatch(r"labels\.([\w-]+):\*", term):
        return found[1] in resource.labels
    if found := re.fullmatch(r'state!="(\w+)"', term):
        return resource.state.name != found[1]
    raise RefusalError(400, "INVALID_ARGUMENT", f"the fake cannot filter by {term!r}")


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
