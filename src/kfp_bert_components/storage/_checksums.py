"""CRC-32C in the form that Cloud Storage gives it, SHA-256 of files, and whether bytes are those of an entry."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from kfp_bert_components.storage._types import Entry

_BLOCK = 1 << 20
_MD5 = re.compile(r"[0-9a-f]{32}")


def extend(value: int, data: bytes) -> int:
    """The CRC-32C, as a number, of what `value` is of, followed by `data`."""
    import google_crc32c

    return google_crc32c.extend(value, data)


def crc32c(data: bytes) -> str:
    """Base64 of the big-endian CRC-32C of `data`."""
    return encode(extend(0, data))


def file_crc32c(path: Path) -> str:
    """The same of a file, read in blocks of a MiB."""
    value = 0
    with open_file(path) as file:
        while block := file.read(_BLOCK):
            value = extend(value, block)
    return encode(value)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal, read in blocks of a MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def encode(value: int) -> str:
    """Base64 of a CRC-32C given as a number."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def open_file(path: Path) -> BinaryIO:
    """Open a file to read its bytes. A named pipe reads as empty, where others would wait for its writer."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


class Check:
    """Whether bytes that come piece by piece are an entry's, as far as it says: by its crc32c, else by an MD5 as ETag.

    The ETag of an object that was written in parts, or that S3 encrypts with a key of KMS, is no MD5 of its bytes.

    Args:
        entry: What is expected.
        etag: Whether an ETag that looks like an MD5 is one.
    """

    def __init__(self, entry: Entry, *, etag: bool = True) -> None:
        self._entry, self._size, self._crc32c = entry, 0, 0
        self._etag = str(entry.generation).partition(" ")[0]
        by_etag = etag and not entry.crc32c and _MD5.fullmatch(self._etag)
        self._md5 = hashlib.md5(usedforsecurity=False) if by_etag else None

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self._size += len(data)
        if self._entry.crc32c:
            self._crc32c = extend(self._crc32c, data)
        elif self._md5:
            self._md5.update(data)

    @property
    def wanted(self) -> str:
        """The checksum that is expected, in words; "" where none is known."""
        if self._entry.crc32c:
            return f"the crc32c {self._entry.crc32c}"
        return f"the ETag {self._etag}" if self._md5 else ""

    @property
    def right(self) -> bool:
        """Whether all bytes that came are those of the entry."""
        if self._size != self._entry.size:
            return False
        if self._entry.crc32c:
            return encode(self._crc32c) == self._entry.crc32c
        return not self._md5 or self._md5.hexdigest() == self._etag


def is_copy(path: Path, entry: Entry) -> bool:
    """Whether a file has the bytes of an entry; False also where the entry's checksum is not known."""
    check = Check(entry)
    if not check.wanted or path.stat().st_size != entry.size:
        return False
    with open_file(path) as file:
        while block := file.read(_BLOCK):
            check.add(block)
    return check.right
