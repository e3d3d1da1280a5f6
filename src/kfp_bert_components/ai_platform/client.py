"""AI Platform's typed clients over REST. Errors that may pass become TransientError, all others UserError."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

import google.api_core.exceptions as api
import google.auth.exceptions
import requests.exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import json_format

from kfp_bert_components.ai_platform.settings import check_region
from kfp_bert_components.errors import NotFoundError, TransientError, UserError, reason_of
from kfp_bert_components.progress import say

Service = TypeVar("Service")
_TRANSIENT = (
    api.Aborted,
    api.AlreadyExists,
    api.Conflict,
    api.TooManyRequests,
    api.ServerError,
    api.RetryError,
    requests.exceptions.Timeout,
    google.auth.exceptions.TransportError,
    # An answer that was cut off, or that something on the way has changed.
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    json_format.ParseError,
    UnicodeDecodeError,
)


class AiPlatformClient:
    """The services of one project in one region.

    Args:
        project: The project's id or number.
        location: The region, such as "europe-west4".
        api_endpoint: Another address of the API; "" for the region's own. An address with http:// must be on this
            machine, and is called without credentials: it is for tests.
        call_seconds: Longest time for one call.
        poll_seconds: First pause between two requests for the state of a long-running operation; each following one is
            1.5 times as long, up to 10 s.
        report_seconds: Time between two printed lines about an operation that is waited for.

    Attributes:
        parent: "projects/.../locations/...", for requests.
        before_call: Called before each call, which is not made if it raises. A rollout checks its lease there.

    Raises:
        UserError: The project or the location is none, or `api_endpoint` is http:// on another machine.
    """

    def __init__(
        self,
        project: str,
        location: str,
        api_endpoint: str = "",
        *,
        call_seconds: float = 60.0,
        poll_seconds: float = 0.5,
        report_seconds: float = 15.0,
    ) -> None:
        if not project or not location:
            raise UserError("AI Platform needs a project and a location, such as europe-west4.")
        check_region(project, location)
        self.parent = f"projects/{project}/locations/{location}"
        self.before_call: Callable[[], None] = lambda: None
        self._address = api_endpoint or f"{location}-aiplatform.googleapis.com"
        self._call_seconds, self._poll_seconds, self._report_seconds = call_seconds, poll_seconds, report_seconds
        self._local = self._address.startswith("http://")
        if self._local:
            _check_local(self._address)

    @cached_property
    def endpoints(self) -> v1.EndpointServiceClient:
        """The client of the Endpoint service."""
        return self._service(v1.EndpointServiceClient, self._address)

    @cached_property
    def models(self) -> v1.ModelServiceClient:
        """The client of the Model service."""
        return self._service(v1.ModelServiceClient, self._address)

    @cached_property
    def jobs(self) -> v1.JobServiceClient:
        """The client of the Job service."""
        return self._service(v1.JobServiceClient, self._address)

    @cached_property
    def pipelines(self) -> v1.PipelineServiceClient:
        """The client of the Pipeline service."""
        return self._service(v1.PipelineServiceClient, self._address)

    @cached_property
    def schedules(self) -> v1.ScheduleServiceClient:
        """The client of the Schedule service."""
        return self._service(v1.ScheduleServiceClient, self._address)

    def predictions(self, dedicated_dns: str = "") -> v1.PredictionServiceClient:
        """The client of the Prediction service.

        Args:
            dedicated_dns: The host name of a dedicated endpoint; "" for the shared address.
        """
        address = dedicated_dns.removeprefix("https://") or self._address
        if dedicated_dns and self._local:
            address = f"http://{address}"
            _check_local(address)
        return self._service(v1.PredictionServiceClient, address)

    def call(self, method: Callable[..., Any], request: Any) -> Any:
        """Call `method` once.

        Args:
            method: A method of one of the clients.
            request: Its request message.

        Returns:
            The method's answer.

        Raises:
            TransientError: It failed in a way that may pass. It may have taken effect all the same.
            NotFoundError: The resource does not exist.
            UserError: AI Platform refused the call, or there are no credentials.
        """
        name = getattr(method, "__name__", "a call")
        self.before_call()
        try:
            return method(request, retry=None, timeout=self._call_seconds)
        except requests.exceptions.ConnectionError as error:
            host = urlsplit(str(error.request.url)).netloc if error.request else self._address
            raise TransientError(
                f"{name} failed, as {host} does not answer: check the network ({reason_of(error)})"
            ) from error
        except _TRANSIENT as error:
            raise TransientError(f"{name} failed ({_first_line(error)})") from error
        except api.NotFound as error:
            raise NotFoundError(f"AI Platform does not find it ({name}): {_first_line(error)}") from error
        except api.GoogleAPIError as error:
            raise UserError(f"AI Platform refused {name}: {_first_line(error)}") from error
        except google.auth.exceptions.GoogleAuthError as error:
            raise _unusable(error) from error

    def running_operations(self, resource: str) -> list[str]:
        """The names of the operations on a resource that are not done; also those that others started."""
        request = operations_pb2.ListOperationsRequest(name=resource)
        try:
            answer = self.call(self.endpoints.list_operations, request)
        except NotFoundError:
            return []
        return [one.name for one in answer.operations if not one.done]

    def wait(
        self, name: str, description: str, seconds: float, check: Callable[[], None], cancels: bool = True
    ) -> None:
        """Wait until an operation has succeeded.

        Args:
            name: The operation.
            description: What it does, for messages: "deploying version 3".
            seconds: Longest time to wait.
            check: Called before each request for the operation's state; the waiting ends with what it raises.
            cancels: Whether an operation that takes too long is cancelled.

        Raises:
            UserError: The operation failed, or did not end in time.
            TransientError: Its state could not be read five times in a row.
        """
        started, pause, unread = time.monotonic(), self._poll_seconds, 0
        report_at = self._report_seconds
        while True:
            check()
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
                    raise UserError(f"{description} failed: {operation.error.message}")
                return
            passed = time.monotonic() - started
            if passed > report_at:
                say(f"{description}: {passed:.0f} s")
                report_at = passed + self._report_seconds
            if passed > seconds:
                if cancels:
                    with suppress(TransientError, UserError):  # if it went on, the next run would wait for it again
                        self.cancel(name)
                raise UserError(f"{description} did not end within {seconds:g} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 10.0)

    def cancel(self, name: str) -> None:
        """Request that an operation is cancelled. It may end later, or succeed all the same."""
        self.call(self.endpoints.cancel_operation, operations_pb2.CancelOperationRequest(name=name))

    def _service(self, kind: Callable[..., Service], address: str) -> Service:
        options: dict[str, Any] = {"transport": "rest", "client_options": {"api_endpoint": address}}
        if self._local:
            options["credentials"] = AnonymousCredentials()
        try:
            return kind(**options)
        except (google.auth.exceptions.GoogleAuthError, OSError, ValueError, AttributeError) as error:
            raise _unusable(error) from None  # google-auth fails in all these ways where a key's file is damaged


def _check_local(address: str) -> None:
    if urlsplit(address).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise UserError(f"The address {address} is plain http and not on this machine: use https.")


def _unusable(error: Exception) -> UserError:
    return UserError(
        f"There are no usable Google credentials ({_first_line(error)}): give the pod's account access to AI Platform, "
        "or run `gcloud auth application-default login`."
    )


def _first_line(error: BaseException) -> str:
    """What an error says, without the status, the verb and the URL of the request."""
    said = re.sub(r"^\d{3} [A-Z]+ \S+: ", "", str(error))
    return said.splitlines()[0][:300] if said else type(error).__name__
