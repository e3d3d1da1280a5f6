"""Kubernetes' API through the connection of the official client. Errors that may pass become TransientError."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from kfp_bert_components.errors import NotFoundError, TransientError, UserError, reason_of

MANAGER = "kfp-bert-components"  # the field manager of server-side apply
NOT_THERE = "1"  # a `resourceVersion` that no object ever has: the first object of a cluster has a higher one
_APPLY = "application/apply-patch+yaml"


class ForbiddenError(UserError):
    """The account may not make this call."""


class ControllerDownError(TransientError):
    """The controller that checks each change of an object, such as KServe's, does not answer."""


class ChangedError(TransientError):
    """Somebody changed the object since it was read, or made one of its name: look again."""


def is_same_quantity(one: Any, other: Any) -> bool:
    """Whether two quantities, such as "1000m" and "1", are the same amount: the API writes them in its own form."""
    from kubernetes.utils import parse_quantity

    try:
        return bool(parse_quantity(one) == parse_quantity(other))
    except ValueError:
        return bool(one == other)


class Cluster:
    """The objects of one namespace. They are plain JSON values, as the API has them.

    Args:
        namespace: The namespace.
        api_endpoint: Another address of the API, http:// on this machine only and without credentials: for tests. "":
            the cluster that this pod runs in, or else the one of the kubeconfig's current context.
        call_seconds: Longest time for one call.

    Attributes:
        before_call: Called before each call, which is not made if it raises. A rollout checks its lease there.
        host: Address of the API.

    Raises:
        UserError: There is no cluster to talk to, or `api_endpoint` is http:// on another machine.
    """

    def __init__(self, namespace: str, api_endpoint: str = "", *, call_seconds: float = 30.0) -> None:
        self.namespace, self._seconds = namespace, call_seconds
        self.before_call: Callable[[], None] = lambda: None
        self._client = _open(api_endpoint)
        self.host: str = self._client.configuration.host

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Read an object, or a list of them with `labelSelector`.

        Raises:
            NotFoundError: It is not there, or the cluster has no such kind of object.
            ForbiddenError, TransientError, UserError: As `send`.
        """
        return _object(self.send("GET", path, query=query), f"GET {path}")

    def text(self, path: str, **query: str) -> str:
        """Read what is no object, such as a log; raises as `get`."""
        return self.send("GET", path, query=query)

    def find(self, path: str, **query: str) -> dict[str, Any] | None:
        """As `get`, but None where the object is not there."""
        try:
            return self.get(path, **query)
        except NotFoundError:
            return None

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object in a collection.

        Raises:
            ChangedError: There is one of its name.
            TransientError, UserError: As `send`.
        """
        return _object(self.send("POST", path, query={"fieldValidation": "Strict"}, body=body), f"POST {path}")

    def apply(
        self, path: str, body: dict[str, Any], *, dry_run: bool = False, manager: str = MANAGER
    ) -> dict[str, Any]:
        """Create or change an object by server-side apply, so that it has these fields; other managers' stay.

        A `resourceVersion` in the body is the condition that the object has not changed since, and a `uid` that it is
        still the same one. With the `resourceVersion` NOT_THERE the object is made, unless there is one of its name.

        Args:
            path: The object.
            body: Its fields that are ours. One that was ours and is absent is removed.
            dry_run: Whether the API only says what the object would be.
            manager: Whose fields they are.

        Returns:
            The object as it is, or would be, then.

        Raises:
            ChangedError: Somebody changed the object meanwhile.
            TransientError, UserError: As `send`.
        """
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        query |= {"dryRun": "All"} if dry_run else {}
        return _object(self.send("PATCH", path, query=query, body=body), f"PATCH {path}")

    def delete(self, found: dict[str, Any], path: str) -> None:
        """Delete an object, unless another one has its name by now. It may go on until its pods have ended."""
        body = {"preconditions": {"uid": found["metadata"]["uid"]}, "propagationPolicy": "Background"}
        try:
            self.send("DELETE", path, body=body)
        except NotFoundError:
            return

    def send(
        self, method: str, path: str, *, query: dict[str, str] | None = None, body: dict[str, Any] | None = None
    ) -> str:
        """Make one call, and return what was answered.

        Raises:
            NotFoundError: There is no such object.
            ForbiddenError: The account may not make this call.
            ControllerDownError: The API can't reach the controller that checks the change.
            ChangedError: The object is not as the call says that it is (409).
            TransientError: It failed in a way that may pass. It may have taken effect all the same.
            UserError: The API refused it, or knows no such account.
        """
        import urllib3

        self.before_call()
        headers = {"Accept": "application/json, */*"}
        headers["Content-Type"] = _APPLY if method == "PATCH" else "application/json"
        self._client.update_params_for_auth(headers, [], ["BearerToken"])
        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        what = f"{method} {path}"
        try:
            answer = self._client.rest_client.pool_manager.request(
                method,
                url,
                body=json.dumps(body) if body is not None else None,
                headers=headers,
                timeout=self._seconds,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(f"Kubernetes does not answer at {self.host} ({what}: {reason_of(error)})") from error
        text: str = answer.data.decode("utf-8", "replace")
        if not 200 <= answer.status <= 299:
            raise _error(answer.status, text, what)
        return text


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise TransientError(f"{what} was not answered with JSON: an answer may have been cut off ({error})") from error
    return found


def _error(status: int, text: str, what: str) -> Exception:
    try:
        message = str(json.loads(text).get("message") or text)
    except (ValueError, AttributeError):
        message = text
    message = message[:500]
    if status == 404:
        return NotFoundError(f"Kubernetes does not find it ({what}): {message}")
    if status == 500 and "failed calling webhook" in message:
        whose = "KServe's" if "kserve" in message else "A"
        return ControllerDownError(f"{whose} controller does not answer ({message})")
    if status == 409:
        return ChangedError(f"{what} failed (409 {message})")
    if status in (408, 410, 429) or status >= 500:
        return TransientError(f"{what} failed ({status} {message})")
    if status == 401:
        return UserError(
            f"Kubernetes does not know who calls ({message}): run as a service account of the cluster, or give a "
            "kubeconfig whose credentials have not expired."
        )
    # A webhook that refuses an object answers 403, too.
    if status == 403 and "admission webhook" not in message and "quota" not in message:
        return ForbiddenError(f"Kubernetes does not allow {what}: {message}")
    return UserError(f"Kubernetes refused {what}: {message}")


def _open(api_endpoint: str) -> Any:
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    configuration = client.Configuration()
    if api_endpoint:
        if api_endpoint.startswith("http://") and urlsplit(api_endpoint).hostname not in ("127.0.0.1", "localhost"):
            raise UserError(f"The address {api_endpoint} is plain http and not on this machine: use https.")
        configuration.host = api_endpoint.rstrip("/")
        return client.ApiClient(configuration)
    try:
        config.load_incluster_config(configuration)
    except ConfigException:
        try:
            config.load_kube_config(client_configuration=configuration)
        except (ConfigException, OSError) as error:
            raise UserError(
                f"There is no cluster to talk to ({_short(error)}): run this step on the cluster, or give a "
                "kubeconfig, whose path is in KUBECONFIG."
            ) from None
    return client.ApiClient(configuration)


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
