"""CRC-32C in the form that Cloud Storage gives it, of bytes and of files; SHA-256 of files."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20


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
