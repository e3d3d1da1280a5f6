"""From a URI to the store behind it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage._types import Access, Store


def open_store(uri: str, access: Access | None = None) -> Store:
    """The store at a URI. Nothing is created until the first write.

    Args:
        uri: gs://bucket or gs://bucket/prefix, a local path, or file:///path.
        access: Credentials and project for gs://; by default the application default credentials.

    Raises:
        UserError: The URI is empty or of another scheme.
    """
    if not uri:
        raise UserError("The storage URI is empty: give gs://bucket/folder or a local folder.")
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        from kfp_bert_components.storage._local import LOCK_SECONDS, LocalStore

        return LocalStore(local_path(uri), min(access.patience, LOCK_SECONDS) if access else LOCK_SECONDS)
    if scheme != "gs":
        raise UserError(f"{uri} has the unknown scheme {scheme}://: give gs://bucket/folder or a local folder.")
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise UserError(f"{uri} names no bucket: give gs://bucket/folder.")
    from kfp_bert_components.storage._gcs import GcsStore

    return GcsStore(bucket, prefix.strip("/"), access or Access())


def close_clients() -> None:
    """Close the connections to Cloud Storage that stores of this process keep; the next use opens new ones."""
    from kfp_bert_components.storage._client import close_clients

    close_clients()


def local_path(uri: str) -> Path:
    """The path that a plain path or a file:// URI means."""
    if uri.startswith("file://"):
        uri = unquote(urlsplit(uri).path)
    return Path(uri).expanduser()
