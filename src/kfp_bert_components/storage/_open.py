"""From an address to the store behind it."""

from __future__ import annotations

import uuid
from pathlib import Path

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.extras import named_extra
from kfp_bert_components.storage._access import HURRIED, Access, with_environment
from kfp_bert_components.storage._address import Address, parse_address
from kfp_bert_components.storage._rights import denied
from kfp_bert_components.storage._types import Store


def open_store(place: str | Address, access: Access | None = None, parameter: str = "the address") -> Store:
    """The store at an address. Nothing is created until the first write.

    Args:
        place: gs://, s3:// or minio://, then bucket or bucket/prefix; a local path; or file:///path.
        access: How buckets are reached. What it leaves out is taken from the environment; s3:// takes credentials from
            there alone.
        parameter: Which parameter the address is of, for messages.

    Raises:
        UserError: `place` is no address, or what its kind of store needs is not installed.
    """
    address = place if isinstance(place, Address) else parse_address(place, parameter)
    if address.is_local:
        from kfp_bert_components.storage._local import LOCK_SECONDS, LocalStore

        return LocalStore(address.path, min(access.patience, LOCK_SECONDS) if access else LOCK_SECONDS)
    prefix, access = address.name.strip("/"), with_environment(access or Access())
    if address.scheme != "gs":
        with named_extra():
            from kfp_bert_components.storage._s3 import S3Store

        return S3Store(address.scheme, address.bucket, prefix, access)
    with named_extra():
        from kfp_bert_components.storage._gcs import GcsStore

    return GcsStore(address.bucket, prefix, access)


def check_writable(place: str, parameter: str, *, conditions: bool = False) -> None:
    """Write a small object to an address and delete it, to know before hours of work that this can be done.

    Args:
        place: As for `open_store`.
        parameter: Which parameter the address is of, for messages.
        conditions: Whether the store must also keep to conditions, as a registry needs it.

    Raises:
        UserError: `place` is no address, an object in it can't be written and deleted, or a store of S3 overlooks
            conditions.
    """
    store = open_store(place, parameter=parameter)
    name, written = f".check-{uuid.uuid4().hex}", False
    try:
        store.write(name, b"", if_generation=0 if conditions else None)
        written = True
        store.delete(name)
    except (OSError, UserError) as error:
        left = not _removed(place, name) and written
        also = f" The empty object {store.describe(name)}, by which this was tried, is left." if left else ""
        raise UserError(f"{_unwritable(parameter, store, error)}{also}") from None


def check_may_write(place: str, parameter: str) -> None:
    """Ask a bucket for a write that can't take effect, to know whether one is allowed. Nothing is changed.

    Args:
        place: gs://, then bucket or bucket/prefix. Cloud Storage looks at the rights before it looks at conditions.
        parameter: Which parameter the address is of, for messages.

    Raises:
        UserError: `place` is no address, there is no such bucket, or no object may be written in it.
    """
    store = open_store(place, parameter=parameter)
    try:
        store.write(".check", b"", if_generation=1)  # which no object has
    except ConflictError:
        return
    except (OSError, UserError) as error:
        raise UserError(_unwritable(parameter, store, error)) from None


def _unwritable(parameter: str, store: Store, error: Exception) -> str:
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, PermissionError):
        return f"{parameter} {store.uri} can't be written: {denied(Path(cause.filename or store.uri))}."
    reason = f"{cause.strerror}." if isinstance(cause, OSError) and cause.strerror else str(error)
    return f"{parameter} {store.uri} can't be written: {reason}"


def _removed(place: str, name: str) -> bool:
    """Whether an object is away, after one more try to delete it: what failed may have taken effect."""
    try:
        open_store(place, Access(patience=HURRIED)).delete(name)
    except NotFoundError:
        return True
    except (OSError, UserError):
        return False
    return True


def close_clients() -> None:
    """Close connections to buckets, and forget what Kubeflow said of its store; the next use opens and asks anew."""
    from kfp_bert_components.storage._client import close_clients
    from kfp_bert_components.storage._s3_client import close_buckets

    close_clients()
    close_buckets()
