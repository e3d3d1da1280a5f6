"""obstore's clients of S3 buckets, and their errors in words."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, PreconditionError
from obstore.store import S3Store as Bucket

from kfp_bert_components.errors import ConflictError, NoBucketError, NotFoundError, UserError
from kfp_bert_components.storage._access import Access
from kfp_bert_components.storage._http import TIMEOUT, client_options, retries, said_when_long
from kfp_bert_components.storage._kubeflow import forget_sessions
from kfp_bert_components.storage._s3_settings import ROLE_ARN, WEB_IDENTITY, S3Settings
from kfp_bert_components.storage._types import unusable_name

if TYPE_CHECKING:
    from obstore.store import S3Credential

_CERTIFICATES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_UPLOAD_SECONDS = 3600  # for all of a large object, which is one request
# What the store says of credentials, by its code; see AWS's list of error codes.
_CODES = {
    "InvalidAccessKeyId": "the store does not know this access key",
    "SignatureDoesNotMatch": "the secret key is not that of the access key",
    "ExpiredToken": "the credentials have expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
}


# By the request. A store that may not list for somebody refuses what is not there, too.
_READ = (
    "the permission s3:GetObject on it, or s3:ListBucket on the bucket (needed where there is no object of this name)"
)
_RIGHTS = {
    "LIST": "the permission s3:ListBucket on the bucket",
    "GET": _READ,
    "HEAD": _READ,
    "PUT": "the permission s3:PutObject on it",
    "POST": "the permission s3:PutObject on it",
    "DELETE": "the permission s3:DeleteObject on it",
}


class UnreachableError(UserError):
    """No answer came from the store."""


_open: dict[tuple[Any, ...], Bucket] = {}
_lock = threading.Lock()


def bucket_for(
    bucket: str, settings: S3Settings, access: Access, *, upload: bool = False, if_match: str = ""
) -> Bucket:
    """obstore on a bucket: one a process and kind of use, as its connections don't outlive a fork.

    Args:
        bucket: The bucket.
        settings: Where the store is, and as whom it is reached.
        access: For how long requests are tried again.
        upload: For objects that may take long to send.
        if_match: An ETag that all requests ask for. obstore can't be told so for one deletion.
    """
    times = (access.patience, access.most_seconds)
    key = (bucket, settings, times, os.getpid(), upload, os.environ.get("AWS_CA_BUNDLE", ""))
    if if_match:
        return _opened(bucket, settings, access, TIMEOUT[1], {"if-match": f'"{if_match}"'})
    with _lock:
        if key not in _open:
            _open[key] = _opened(bucket, settings, access, _UPLOAD_SECONDS if upload else TIMEOUT[1], {})
        return _open[key]


def _opened(bucket: str, settings: S3Settings, access: Access, read_seconds: int, headers: dict[str, str]) -> Bucket:
    config: dict[str, Any] = {"region": settings.region, "skip_signature": settings.anonymous}
    if settings.endpoint:
        config["endpoint"] = settings.endpoint_of(bucket)
    config["conditional_put"] = "etag"  # whatever the environment says: what is written with a condition relies on it
    if settings.hosted:
        config["virtual_hosted_style_request"] = True
    # Deletions one by one: not every store knows many at once, and only so do they have a condition.
    config["disable_bulk_delete"] = True
    options = client_options(settings.endpoint, headers, _CERTIFICATES, read_seconds, access.most_seconds or 86_400)
    # AWS's tools take a variable that is empty for none, obstore for a value.
    for name in [name for name, value in os.environ.items() if name.startswith("AWS_") and not value.strip()]:
        del os.environ[name]
    try:
        return Bucket(
            bucket,
            config=config,  # type: ignore[arg-type]
            client_options=options,
            retry_config=retries(access),
            credential_provider=_provider(dict(settings.keys)) if settings.keys else None,
        )
    except (BaseError, ValueError) as error:
        found = ", ".join(sorted(name for name in os.environ if name.startswith("AWS_")))
        raise UserError(
            f"The S3 store can't be used as the environment says: {_short(_text(error))}. Look at what is set of "
            f"AWS's variables: {found}."
        ) from None


def _provider(keys: dict[str, str]) -> Callable[[], S3Credential]:
    """Credentials that are these alone: given as settings, a token of the environment would be sent with them."""
    made: S3Credential = {
        "access_key_id": keys["access_key_id"],
        "secret_access_key": keys["secret_access_key"],
        "token": keys.get("session_token"),
        "expires_at": None,
    }
    return lambda: made


def close_buckets() -> None:
    """Close all connections, and forget how Kubeflow reaches its store; the next use opens and asks anew."""
    _open.clear()
    forget_sessions()


@contextmanager
def explained(where: str, settings: S3Settings) -> Iterator[None]:
    """Turn obstore's errors about `where` into one sentence each; a long wait is said."""
    try:
        with said_when_long(f"{where} from {settings.place}"):
            yield
    except (BaseError, OSError, ValueError) as error:
        raise explain(error, where, settings) from None


def explain(error: Exception, where: str, settings: S3Settings) -> UserError:
    """The sentence for one error of obstore."""
    text = _text(error)
    code = _found(r"<Code>(\w+)</Code>", text)
    status = int(_found(r"status (?:code:? )?(\d{3})", text) or 0)
    if "REDACTED" in text:  # as obstore writes the address of a sign-in
        return _no_sign_in(where, settings, status, text)
    if code == "NoSuchBucket":
        return NoBucketError(f"{where} does not exist: there is no bucket {'/'.join(where.split('/')[:3])}.")
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{where} does not exist.")
    if isinstance(error, (AlreadyExistsError, PreconditionError)) or status in (409, 412):
        return ConflictError(f"{where} was changed by somebody else since it was read.")
    if code in _CODES:
        return UserError(
            f"{where} is forbidden: {_CODES[code]}. Credentials come from {settings.source}, for {settings.place}."
        )
    if isinstance(error, PermissionDeniedError) or status in (401, 403):
        who = "anonymous access" if settings.anonymous else f"the account of {settings.source}"
        return UserError(f"{where} is forbidden: {who} lacks {_right(text)}. Grant it, or use another account.")
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        right = _found(r"expecting '([\w-]+)'", text) or _found(r"<Region>([\w-]+)</Region>", text)
        return UserError(
            f"{where} is not in the region {settings.region}: set AWS_REGION to that of its bucket"
            f"{f' ({right})' if right else ''}."
        )
    if status == 429 or status >= 500:
        return UserError(
            f"{where} can't be reached: {settings.place} answered {status} again and again. Try again later."
        )
    if status:
        message = _found(r"<Message>([^<]*)</Message>", text) or text
        return UserError(f"{where}: {settings.place} refused the request with {status}: {_short(message)}")
    if text.startswith("Could not parse path"):
        return unusable_name(where)
    if "invalid path" in text:
        named = _found(r'Path "([^"]*)"', text)
        return UserError(
            f"The object {named!r} in {where} can't be fetched: its name holds an empty part, '.', '..' or a control "
            "character, and nothing beside it can be listed. Rename it."
        )
    call = re.sub(r".*performing ([A-Z]+ \S+) in .* - (?:HTTP error: )?", r"\1: ", text, flags=re.DOTALL)
    return UnreachableError(
        f"{where} can't be reached: check the network and the address of the store, here {settings.place} "
        f"(AWS_ENDPOINT_URL), and try again later ({_short(call)})."
    )


def _no_sign_in(where: str, settings: S3Settings, status: int, text: str) -> UserError:
    """The sentence where the store was never asked, as no credentials came for a role."""
    message = _found(r"<Message>([^<]*)</Message>", text) or text
    answer = f"{status}: {message}" if status else message
    check = "whether the address of the credentials is right, and answers"
    if settings.source == WEB_IDENTITY:
        role, file = os.environ.get(ROLE_ARN, ""), os.environ.get(WEB_IDENTITY, "")
        check = f"whether the role {role} trusts the account of the token in {file}, and that token"
    return UserError(
        f"{where} can't be asked for: AWS gave no credentials for {settings.source} ({_short(answer)}). Check {check}."
    )


def _right(text: str) -> str:
    """The permission that a request would have needed, in words, from the error about it."""
    if named := _found(r"not authorized to perform: ([\w:]+)", text):
        return f"the permission {named}"
    asked = "LIST" if "list request" in text else _found(r"performing ([A-Z]+) ", text)
    return _RIGHTS.get(asked, "a permission on it")


def _text(error: Exception) -> str:
    """What an error of obstore says, without the parts that only its makers need."""
    return re.sub(r"^Generic \w+ error: ", "", str(error).partition("\n\nDebug source")[0].strip())


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


def _short(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".")[:300]
