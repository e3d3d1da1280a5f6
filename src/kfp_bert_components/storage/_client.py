"""Clients of Cloud Storage, and its errors in words."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC
from functools import partial
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import google.auth
import google.cloud.storage as storage
import requests
import urllib3
from google.api_core import exceptions as api
from google.api_core.retry import Retry
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import Request
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from obstore.exceptions import BaseError
from obstore.store import GCSStore

from kfp_bert_components.errors import ConflictError, NoBucketError, NotFoundError, UserError, reason_of
from kfp_bert_components.storage._access import Access
from kfp_bert_components.storage._http import client_options, retries, said_when_long

if TYPE_CHECKING:
    from obstore.store import GCSCredential

_CONNECTIONS = 64
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

_open: dict[tuple[Access, int, str], storage.Client] = {}
_bodies: dict[tuple[storage.Client, str], GCSStore] = {}
_lock = threading.Lock()


def retry_for(access: Access, failed: Callable[[Exception], object] | None = None) -> Retry:
    """When the client tries a request again.

    Whole objects are written and read: repeating a request does no harm, with or without a precondition.

    Args:
        access: For how long.
        failed: Called with what a try failed by that is made again.
    """
    again = Retry(DEFAULT_RETRY._predicate, initial=0.2, multiplier=2.0, maximum=20.0, on_error=failed)
    return again.with_timeout(access.patience)


def client_for(access: Access) -> storage.Client:
    """The client for these credentials, one a process (its connections don't outlive a fork).

    Raises:
        google.auth.exceptions.GoogleAuthError: There are no credentials, or they are damaged.
    """
    key = (access, os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST", ""))
    with _lock:
        if key not in _open:
            try:
                _open[key] = _client(access)
            except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
                # google-auth takes a key's file for what it should be, and fails in all these ways where it isn't.
                raise auth.DefaultCredentialsError(f"{type(error).__name__}: {error}") from None
        return _open[key]


def _client(access: Access) -> storage.Client:
    if access.anonymous:
        client = storage.Client.create_anonymous_client()
    elif access.impersonate:
        client = storage.Client(project=access.user_project or "<none>", credentials=_impersonated(access.impersonate))
    else:
        # The project is needed only to create buckets, which we never do: without it ADC need not know one.
        client = storage.Client(project=access.user_project or os.environ.get("GOOGLE_CLOUD_PROJECT") or "<none>")
    adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=_CONNECTIONS)
    client._http.mount("https://", adapter)
    client._http.mount("http://", adapter)
    # For its traces the library asks for each bucket's metadata in the background, on a thread and a
    # connection that nobody closes, and with a permission that readers need not have.
    client._bucket_metadata_cache = None
    return client


def _impersonated(account: str) -> google.auth.credentials.Credentials:
    from google.auth import impersonated_credentials

    source, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return impersonated_credentials.Credentials(
        source_credentials=source, target_principal=account, target_scopes=[_SCOPE]
    )


def bodies_for(bucket: str, access: Access, *, anew: bool = False) -> GCSStore:
    """obstore on a bucket, to read bodies with the address and the credentials of the client library.

    Args:
        bucket: The bucket.
        access: Credentials.
        anew: Sign in again, as the access token in use was refused.
    """
    with explained(f"gs://{bucket}", access):
        client = client_for(access)
        key = (client, bucket)
        if anew:
            client._credentials.token = None
        if anew or key not in _bodies:
            _bodies[key] = _open_bodies(client, bucket, access)
        return _bodies[key]


def _open_bodies(client: storage.Client, bucket: str, access: Access) -> GCSStore:
    headers = {"accept-encoding": "gzip"}  # objects stored compressed come as stored: their checksum is of that
    if access.user_project:
        headers["x-goog-user-project"] = access.user_project
    anonymous = isinstance(client._credentials, AnonymousCredentials)
    if not anonymous:
        _token(client._credentials)  # its errors are Python's here, and text when obstore asks
    return GCSStore(
        bucket,
        config={"base_url": client.api_endpoint, "skip_signature": anonymous},
        client_options=client_options(client.api_endpoint, headers),
        retry_config=retries(access),
        # Without one, also where nothing is signed, obstore looks for a key's file itself.
        credential_provider=partial(_token, client._credentials),
    )


def _token(credentials: Any) -> GCSCredential:
    if not credentials.valid:
        credentials.refresh(Request())
    return {"token": credentials.token, "expires_at": credentials.expiry and credentials.expiry.replace(tzinfo=UTC)}


def close_clients() -> None:
    """Close all connections; the next use opens new ones."""
    for client in _open.values():
        client.close()
    _open.clear()
    _bodies.clear()


@contextlib.contextmanager
def explained(where: str, access: Access) -> Iterator[None]:
    """Turn the client's errors about `where` into one sentence each; a long wait is said."""
    try:
        with said_when_long(where):
            yield
    except (api.GoogleAPICallError, InvalidResponse, auth.GoogleAuthError, api.RetryError) as error:
        raise translate(error, where, access) from None
    except DataCorruption:
        raise UserError(f"{where} arrived with wrong bytes: they don't match its checksum. Try again.") from None
    except requests.exceptions.JSONDecodeError:
        raise UserError(
            f"{where} can't be had: the answer is not Cloud Storage's. Look for a proxy that answers instead."
        ) from None
    except (OSError, HTTPException, urllib3.exceptions.HTTPError, BaseError) as error:  # OSError has those of requests
        raise UserError(
            f"{where} can't be reached: check the network and try again ({_short(reason_of(error))})."
        ) from None


def translate(error: Exception, where: str, access: Access) -> UserError:
    """The sentence for one error of the client."""
    if isinstance(error, auth.DefaultCredentialsError):
        if where.split("/")[2:3] == ["my-bucket"]:
            return UserError(f"{where} is an address of the examples, with a bucket that is made up: give your own.")
        file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        why = f"those in {file} can't be used ({_short(error.args[0])})" if file else "there are none here"
        return UserError(
            f"{where} needs credentials and {why}: run `gcloud auth application-default login`, set "
            "GOOGLE_APPLICATION_CREDENTIALS to the file of a key, or KFP_BERT_ANONYMOUS=true if the bucket is public."
        )
    if isinstance(error, auth.GoogleAuthError):
        who = f" as {access.impersonate}" if access.impersonate else ""
        return UserError(f"{where} can't be reached: signing in{who} failed: {_short(error)}.")
    if isinstance(error, api.RetryError):
        why = _short(reason_of(error.cause or error))
        return UserError(f"{where} can't be reached after many tries: check the network, and try again later ({why}).")
    status = error.response.status_code if isinstance(error, InvalidResponse) else getattr(error, "code", 0)
    return explain_status(int(status or 0), _text(error), where, access)


def explain_status(status: int, text: str, where: str, access: Access) -> UserError:
    """The sentence for an HTTP status and the server's message."""
    lowered = text.lower()
    if status == 404:
        if "bucket does not exist" in lowered:
            bucket = "/".join(where.split("/")[:3])
            return NoBucketError(f"{where} does not exist: there is no bucket {bucket}.")
        return NotFoundError(f"{where} does not exist.")
    if status in (409, 412):
        return ConflictError(f"{where} was changed by somebody else since it was read.")
    if "requester pays" in lowered or "userproject" in lowered.replace(" ", ""):
        return UserError(
            f"{where} is in a bucket whose readers pay: give user_project, or set KFP_BERT_USER_PROJECT: a "
            "project of yours to bill, on which you have the permission serviceusage.services.use."
        )
    if status in (401, 403):
        permission = re.search(r"(?:storage|serviceusage)\.\w+\.\w+", text)
        missing = f"the permission {permission[0]}" if permission else "a permission"
        if access.anonymous or "anonymous caller" in lowered:
            return UserError(f"{where} is forbidden: anonymous access lacks {missing} on it. Sign in with an account.")
        return UserError(f"{where} is forbidden: the account used lacks {missing} on it. Grant it, or use another one.")
    if status == 429 or status >= 500:
        return UserError(f"{where} can't be reached: Cloud Storage answered {status} again and again. Try again later.")
    return UserError(f"{where}: Cloud Storage refused the request with {status}: {text.strip()[:300]}")


def _text(error: Exception) -> str:
    response = getattr(error, "response", None)
    body = getattr(response, "text", "") or ""
    return f"{getattr(error, 'message', '') or error} {body}"


def _short(error: object) -> str:
    return re.sub(r"\s+", " ", str(error)).strip().rstrip(".")[:300]
