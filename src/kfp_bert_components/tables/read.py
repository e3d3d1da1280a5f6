"""A file of any format, opened: what it is, and its rows in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.batches import Batch
from kfp_bert_components.tables.dialect import Dialect, find_dialect
from kfp_bert_components.tables.files import COMPRESSIONS, TableFile, blocks
from kfp_bert_components.tables.lines import as_utf8, skip_lines, text_blocks
from kfp_bert_components.tables.read_csv import read_csv
from kfp_bert_components.tables.read_json import is_document, is_json, read_json
from kfp_bert_components.tables.read_jsonl import read_jsonl, read_keys
from kfp_bert_components.tables.read_parquet import own_types, read_parquet
from kfp_bert_components.tables.settings import (
    OWN,
    Column,
    TableSettings,
    find_columns,
    own_column,
    own_names,
    own_note,
)
from kfp_bert_components.tables.survey import find_encoding, survey

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class FileFacts:
    """What was found out about a file.

    Attributes:
        name: Its name below the source.
        kind: csv, jsonl, json (a document) or parquet; "" for an empty file.
        compression: gzip, zstd, bz2 or "".
        encoding: Its codec; "" for Parquet.
        dialect: Of CSV, else None.
        note: Something that a reader of the report should know, or "".
        own: All of its columns in their order, where they were asked for: the type of each, None for texts.
    """

    name: str
    kind: str = ""
    compression: str = ""
    encoding: str = ""
    dialect: Dialect | None = None
    note: str = ""
    own: "dict[str, pa.DataType | None]" = field(default_factory=dict)


def open_table(
    file: TableFile, columns: Sequence[Column], settings: TableSettings, own: bool = False
) -> tuple[FileFacts, Iterator[Batch]]:
    """Find out what a file is, and read the wanted columns: what was found out, and its rows.

    Args:
        file: The file.
        columns: The columns that are wanted.
        settings: How it is read.
        own: Whether the batches have all of its columns besides, under their names with OWN before them. One without a
            name, or with the name of another, is called by its position, such as "#3".

    Raises:
        UserError: The file is no table, is empty, is damaged, or lacks a column; damage may show only while the batches
            are gone through.
    """
    name, keep = file.name, settings.unreadable == "keep"
    with file.path.open("rb") as stream:
        first = stream.read(4)
    if first == b"PAR1":
        note = "" if name.endswith((".parquet", ".pq")) else "is a Parquet file, whatever its name says"
        types, names_note = own_types(file) if own else ({}, "")
        facts = FileFacts(name, "parquet", note=_joined(note, names_note), own=types)
        return facts, read_parquet(file, columns, keep, own)
    compression = next((kind for magic, kind in COMPRESSIONS.items() if first.startswith(magic)), "")
    found = survey(file, compression)
    if not found.sample.strip():
        if settings.unreadable == "error":
            raise UserError(
                f"{name} is empty: remove it or write it again, or set unreadable to 'drop' to go on without it."
            )
        return FileFacts(name, note="is empty"), iter(())
    if settings.file_format == "parquet":
        raise UserError(f"{name} is not a Parquet file: set file_format to 'auto' or to what it is.")
    encoding, guessed = find_encoding(file, found, settings.encoding)
    guess = f"its encoding is taken for {encoding}, a guess (set encoding if letters are wrong)" if guessed else ""
    sample, whole = found.sample.decode(encoding, errors="replace"), len(found.sample) == found.size
    pieces = text_blocks(blocks(file, compression), encoding)
    start = sample.strip("\ufeff \t\r\n")
    if settings.file_format == "jsonl" or (settings.file_format == "auto" and is_json(name, start)):
        if is_document(start, whole, columns):
            document = as_utf8(blocks(file, compression), encoding)
            note, keys, batches = read_json(document, name, columns, keep, own)
            facts = FileFacts(name, "json", compression, encoding, note=_joined(guess, note), own=dict.fromkeys(keys))
            return facts, batches
        keys = read_keys(text_blocks(blocks(file, compression), encoding), name) if own else []
        columns = [*columns, *map(own_column, keys)]
        facts = FileFacts(name, "jsonl", compression, encoding, note=guess, own=dict.fromkeys(keys))
        return facts, read_jsonl(pieces, name, columns, keep)
    dialect = find_dialect(name, sample, whole, columns, settings)
    indices = find_columns(columns, dialect.columns, name, dialect.first_row)
    names = own_names(dialect.columns) if own else []
    indices |= {OWN + name: index for index, name in enumerate(names)}
    note = _joined(guess, dialect.note, own_note(dialect.columns, names) if own and dialect.header else "")
    facts = FileFacts(name, "csv", compression, encoding, dialect, note, dict.fromkeys(names))
    return facts, read_csv(skip_lines(pieces, dialect.skipped), dialect, indices, keep)


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))
