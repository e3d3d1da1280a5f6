"""CRC-32C in the form that Cloud Storage gives it, of bytes, files, and of parts put together."""

from __future__ import annotations

import base64
from pathlib import Path

import google_crc32c

_BLOCK = 1 << 20
_POLYNOMIAL = 0x82F63B78


def crc32c(data: bytes | memoryview) -> str:
    """Base64 of the big-endian CRC-32C of `data`."""
    return encode(google_crc32c.value(bytes(data) if isinstance(data, memoryview) else data))


def file_crc32c(path: Path) -> str:
    """The same of a file, read in blocks of a MiB."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = google_crc32c.extend(value, block)
    return encode(value)


def encode(value: int) -> str:
    """Base64 of a CRC-32C given as a number."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def combine(first: int, second: int, second_length: int) -> int:
    """The CRC-32C of two byte strings one after the other, from the CRC of each.

    Appending n zero bytes is a linear map over GF(2); its powers of two are squared out of the one for a
    single bit, as zlib's crc32_combine does.
    """
    if second_length == 0:
        return first
    matrix = [_POLYNOMIAL] + [1 << bit for bit in range(31)]  # one zero bit
    matrix = _square(_square(_square(matrix)))  # one zero byte
    while second_length:
        if second_length & 1:
            first = _times(matrix, first)
        second_length >>= 1
        if second_length:
            matrix = _square(matrix)
    return first ^ second


def _times(matrix: list[int], vector: int) -> int:
    total, row = 0, 0
    while vector:
        if vector & 1:
            total ^= matrix[row]
        vector >>= 1
        row += 1
    return total


def _square(matrix: list[int]) -> list[int]:
    return [_times(matrix, row) for row in matrix]
