"""One way to write where something is: in a bucket of Cloud Storage or of an S3 store, or on this machine."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from kfp_bert_components.errors import UserError

# What a user may write, by scheme. Another kind of storage is a line here, and a store.
_FORMS = {
    "gs": "gs://bucket/folder",
    "s3": "s3://bucket/folder",
    "minio": "minio://bucket/folder",
    "file": "a local path",
}
_SAID = [scheme for scheme in _FORMS if scheme != "minio"]  # the other name of s3, which need not be in every sentence
# A known name of a scheme is one also where no slash follows: a slip in writing, and no name of a folder.
_KNOWN = "gs|file|s3a?|hdfs|https?|pvc|minio|abfss?|wasbs?|az|dbfs"
_SCHEME = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]*(?=:/)|(?i:{_KNOWN})):")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_NOT_UTF_8 = re.compile("[\ud800-\udfff]")  # what Python makes of such bytes
ON_THIS_MACHINE = " on this machine."  # the end of the line that says what a relative path stands for
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Address:
    """Where an object, a file or a folder is.

    Attributes:
        scheme: "gs"; "s3" or "minio" for an S3 store; "file" for this machine.
        bucket: The bucket; "" on this machine.
        name: The name in the bucket as it was written, "" for all of it; or the absolute path.
    """

    scheme: str
    bucket: str
    name: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.name}".rstrip("/") if self.bucket else self.name

    @property
    def path(self) -> Path:
        """The path on this machine."""
        return Path(self.name)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return self.scheme == "file"

    def __truediv__(self, name: str) -> Address:
        """The address of what has this name below."""
        return Address(self.scheme, self.bucket, f"{self.name.rstrip('/')}/{name}".lstrip("/" if self.bucket else ""))

    def split(self) -> tuple[Address, str]:
        """The folder above, and the last part of the name."""
        folder, _, last = self.name.rstrip("/").rpartition("/")
        return Address(self.scheme, self.bucket, folder or ("/" if self.is_local else "")), last


def parse_address(text: str | Path, parameter: str = "the address", schemes: Sequence[str] = tuple(_FORMS)) -> Address:
    """Read an address: gs://, s3:// or minio://bucket/name, a local path (`~` and relative ones too), or file:///path.

    A path after file:// is percent-encoded; the name in a bucket stands for itself.

    What a relative path or `~` stands for is said on stderr.

    Args:
        text: The address as a user wrote it.
        parameter: Which parameter it is of, for messages.
        schemes: What is allowed: "gs", "s3", "minio", "file"; by default all.

    Raises:
        UserError: It is empty, has white space around it, is not UTF-8, is of another scheme, or has parts that a store
            does not take.
    """
    text = os.fspath(text)
    forms = [_FORMS[one] for one in schemes if one in _SAID]
    supported = " or ".join([", ".join(forms[:-1]), forms[-1]] if forms[1:] else forms)

    def refused(reason: str) -> UserError:
        return UserError(f"{parameter} {text!r} {reason}: give {supported}.")

    if not text.strip():
        raise UserError(f"{parameter} is empty: give {supported}.")
    if text != text.strip():
        raise UserError(f"{parameter} {text!r} has white space around it: leave that out.")
    if _CONTROL.search(text):
        raise refused("holds a control character")
    if _NOT_UTF_8.search(text):
        raise refused("is not UTF-8")
    found = _SCHEME.match(text)
    scheme, rest = (found[1], text[found.end() :]) if found else ("file", text)
    if scheme not in schemes:
        raise refused(f"is of the kind {scheme}:, which is not supported here" if found else "is a local path")
    if scheme != "file":
        bucket, _, name = rest.removeprefix("//").partition("/")
        if not rest.startswith("//") or not _BUCKET.fullmatch(bucket):
            raise refused("names no bucket")
        # Cloud Storage takes such names, but obstore, which reads bodies, does not.
        if {".", ".."} & set(name.split("/")):
            raise refused("has a part '.' or '..', which a store takes for a name")
        if "//" in f"/{name}":
            raise refused("has an empty part, as in a//b")
        return Address(scheme, bucket, name)
    if found:
        return Address("file", "", _path_of_uri(rest, refused))
    return Address("file", "", _absolute(text, parameter, refused))


def known_address(uri: str) -> Address:
    """The address of a store or folder by its `uri`, which `parse_address` made: what a user wrote is read once."""
    scheme, _, rest = uri.partition("://")
    if uri.startswith("/") or not rest:
        return Address("file", "", uri)
    bucket, _, name = rest.partition("/")
    return Address(scheme, bucket, name)


def one_name(uri: str) -> str:
    """An address under one name: minio:// is another name of s3://."""
    return f"s3://{uri.removeprefix('minio://')}" if uri.startswith("minio://") else uri


def _path_of_uri(rest: str, refused: Callable[[str], UserError]) -> str:
    """The path in a file:// URI, from what follows its colon."""
    path = rest.removeprefix("//").removeprefix("localhost") if rest.startswith("//") else rest
    if not rest.startswith("/"):
        raise refused("has no slash after its colon; a path begins with the third slash, as in file:///folder")
    if not path.startswith("/"):
        raise refused("names a machine before its path; a path begins with the third slash, as in file:///folder")
    try:
        path = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise refused("is not percent-encoded UTF-8") from None
    if _CONTROL.search(path):
        raise refused("holds a control character, percent-encoded")
    return path


def _absolute(text: str, parameter: str, refused: Callable[[str], UserError]) -> str:
    try:
        path = str(Path(text).expanduser().absolute())
    except RuntimeError:
        raise refused("names the home of nobody known here") from None
    if _NOT_UTF_8.search(path):
        raise refused(f"is {path!r} on this machine, which is not UTF-8")
    if not text.startswith("/"):
        _say_where(parameter, text, path)
    return path


@cache
def _say_where(parameter: str, text: str, path: str) -> None:
    """Say what a relative path stands for, once."""
    print(f"{parameter} {text!r} is {path}{ON_THIS_MACHINE}", file=sys.stderr, flush=True)
