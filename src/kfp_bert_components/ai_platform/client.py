"""AI Platform's typed clients over REST, with errors sorted into those that may pass and those that won't."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import google.api_core.exceptions as api
import google.auth.exceptions
import requests.exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2

from kfp_bert_components.errors import NotFoundError, TransientError, UserError
from kfp_bert_components.progress import say

_PASSING = (
    api.Aborted,
    api.AlreadyExists,
    api.Conflict,
    api.TooManyRequests,
    api.ServerError,
    api.RetryError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    google.auth.exceptions.TransportError,
)

_TELL_SECONDS = 15.0  # between two lines about a wait


class AiPlatform:
    """The services of one project in one region.

    Args:
        project: The project's id or number.
        location: The region, such as "europe-west4".
        api_endpoint: Another address of the API. One that starts with http:// must be on this machine and is
            called without credentials, which is for tests.
        call_seconds: Longest time for one call.
        poll_seconds: First pause between two looks at a long-running operation; it grows to 10 s.
    """

    def __init__(
        self,
        project: str,
        location: str,
        api_endpoint: str = "",
        *,
        call_seconds: float = 60.0,
        poll_seconds: float = 0.5,
    ) -> None:
        if not project or not location:
            raise UserError("AI Platform needs a project and a location, such as europe-west4.")
        self.parent = f"projects/{project}/locations/{location}"
        self._address = api_endpoint or f"{location}-aiplatform.googleapis.com"
        self._call_seconds, self._poll_seconds = call_seconds, poll_seconds
        self._local = self._address.startswith("http://")
        if self._local:
            _check_local(self._address)

    @cached_property
    def endpoints(self) -> v1.EndpointServiceClient:
        """The client of the Endpoint service."""
        return v1.EndpointServiceClient(**self._options(self._address))

    @cached_property
    def models(self) -> v1.ModelServiceClient:
        """The client of the Model service."""
        return v1.ModelServiceClient(**self._options(self._address))

    @cached_property
    def jobs(self) -> v1.JobServiceClient:
        """The client of the Job service."""
        return v1.JobServiceClient(**self._options(self._address))

    def predictions(self, dedicated_dns: str = "") -> v1.PredictionServiceClient:
        """The client of the Prediction service.

        Args:
            dedicated_dns: The name of a dedicated endpoint, which the shared address does not answer for.
        """
        address = dedicated_dns.removeprefix("https://") or self._address
        if dedicated_dns and self._local:
            address = f"http://{address}"
            _check_local(address)
        return v1.PredictionServiceClient(**self._options(address))

    def call(self, method: Callable[..., Any], request: Any) -> Any:
        """Call `method` once.

        Raises:
            TransientError: It failed in a way that may pass; whether it took effect is not known.
            NotFoundError: What it is about does not exist.
            UserError: It was refused.
        """
        name = getattr(method, "__name__", "a call")
        try:
            return method(request, retry=None, timeout=self._call_seconds)
        except _PASSING as error:
            raise TransientError(f"{name} failed ({_first_line(error)})") from error
        except api.NotFound as error:
            raise NotFoundError(f"AI Platform does not find it ({name}): {_first_line(error)}") from error
        except api.GoogleAPIError as error:
            raise UserError(f"AI Platform refused {name}: {_first_line(error)}") from error
        except google.auth.exceptions.GoogleAuthError as error:
            raise UserError(f"There are no usable Google credentials: {_first_line(error)}") from error

    def running(self, resource: str) -> list[str]:
        """The names of the operations under way on a resource, whoever started them."""
        request = operations_pb2.ListOperationsRequest(name=resource)
        try:
            answer = self.call(self.endpoints.list_operations, request)
        except NotFoundError:
            return []
        return [one.name for one in answer.operations if not one.done]

    def wait(self, name: str, what: str, seconds: float, alive: Callable[[], None]) -> None:
        """Wait until an operation has ended well. One that takes too long is cancelled.

        Args:
            name: The operation.
            what: What it does, for messages: "deploying version 3".
            seconds: Longest time to wait.
            alive: Called between two looks; raises to stop the waiting.

        Raises:
            UserError: The operation failed, or did not end in time.
            TransientError: Its state cannot be read for long.
        """
        started, pause, unread = time.monotonic(), self._poll_seconds, 0
        tell_at = _TELL_SECONDS
        while True:
            alive()
            try:
                operation = self.call(self.endpoints.get_operation, operations_pb2.GetOperationRequest(name=name))
                unread = 0
            except TransientError:
                unread += 1
                if unread == 5:
                    raise
                operation = operations_pb2.Operation()
            if operation.done:
                if operation.HasField("error"):
                    raise UserError(f"{what} failed: {operation.error.message}")
                return
            passed = time.monotonic() - started
            if passed > tell_at:
                say(f"{what}: {passed:.0f} s")
                tell_at = passed + _TELL_SECONDS
            if passed > seconds:
                with suppress(TransientError, UserError):  # else the next run would wait for it again
                    self.cancel(name)
                raise UserError(f"{what} did not end within {seconds:g} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 10.0)

    def cancel(self, name: str) -> None:
        """Ask for the end of an operation."""
        self.call(self.endpoints.cancel_operation, operations_pb2.CancelOperationRequest(name=name))

    def _options(self, address: str) -> dict[str, Any]:
        options: dict[str, Any] = {"transport": "rest", "client_options": {"api_endpoint": address}}
        return {**options, "credentials": AnonymousCredentials()} if self._local else options


def _check_local(address: str) -> None:
    if urlsplit(address).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise UserError(f"The address {address} is plain http and not on this machine: use https.")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
