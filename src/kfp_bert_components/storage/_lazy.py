"""Functions whose modules need a library, imported when they are called."""

from pathlib import Path


def file_crc32c(path: Path) -> str:
    """Base64 of the big-endian CRC-32C of a file."""
    from kfp_bert_components.storage._checksums import file_crc32c

    return file_crc32c(path)
