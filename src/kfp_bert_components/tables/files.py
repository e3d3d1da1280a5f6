"""The files of a source, and their bytes with compression taken off."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NoReturn

import pyarrow as pa

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.storage import is_file, is_folder, is_there, walk

# Bytes that are read at a time.
BLOCK = 8 << 20
# What a compressed file begins with.
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
# What people take for a table, by its first bytes: the name in the sentence that the user gets.
FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
    b"{\\rtf": "a rich text document",
}


@dataclass(frozen=True)
class TableFile:
    """A file to read: its place, and its name as reports and errors say it."""

    path: Path
    name: str


def list_files(source: Path) -> list[TableFile]:
    """The files of a source: a folder made by fetch, any other folder, or a single file.

    Raises:
        NotFoundError: The source does not exist or holds no file.
        UserError: A file or a folder in it can't be read, is a link to nothing, or has a name that is not UTF-8.
    """
    source = Path(source)
    if is_file(source):
        _check_readable(source)
        return [TableFile(source, source.name)]
    if not is_folder(source):
        there = "is neither a file nor a folder" if is_there(source) else "does not exist"
        raise NotFoundError(f"{source} {there}: give a file, or a folder with tables.")
    root = source / "files" if (source / "manifest.json").is_file() and (source / "files").is_dir() else source
    tables = walk(root, lambda name: is_table_name(PurePath(name)), _may_hold_tables, leaves=True)
    found = sorted(path for _, path in tables)
    if not found:
        raise NotFoundError(f"{source} holds no tables: give a folder with CSV, JSONL or Parquet files.")
    for path in found:
        _check_readable(path)
    return [TableFile(path, path.relative_to(root).as_posix()) for path in found]


def _check_readable(path: Path) -> None:
    try:
        str(path).encode()  # as Arrow and reports need it
        path.open("rb").close()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UserError(f"{shown} has a name that is not UTF-8: rename it.") from None
    except OSError as error:
        _refuse(error)


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename} can't be read ({error.strerror}): check its permissions.") from error


def blocks(file: TableFile, compression: str) -> Iterator[bytes]:
    """The plain bytes in pieces of `BLOCK` or less; a UserError where the compressed stream is damaged."""
    raw = pa.OSFile(str(file.path))
    stream = pa.CompressedInputStream(raw, compression) if compression else raw
    try:
        while block := stream.read(BLOCK):
            yield block
    except (OSError, EOFError) as error:
        raise UserError(f"{file.name} is a damaged {compression} file: fetch or write it again.") from error
    finally:
        stream.close()


def refuse_foreign(file: TableFile, start: bytes) -> None:
    """Raise a UserError when the first bytes are those of a file that is no table."""
    for magic, kind in FOREIGN.items():
        if start.startswith(magic):
            raise UserError(f"{file.name} is {kind}, not a table: save it as CSV, JSONL or Parquet.")


def _may_hold_tables(folder: str) -> bool:
    return not PurePath(folder).name.startswith((".", "_"))


def is_table_name(relative: PurePath) -> bool:
    """Whether a file in a folder of tables is one of them, by its path below the folder."""
    # Spark and Hive leave _SUCCESS and .crc files beside their tables; people leave a README.
    hidden = any(part.startswith((".", "_")) for part in relative.parts)
    return not (hidden or relative.suffix.lower() in (".md", ".rst") or relative.name in ("LICENSE", "README"))
