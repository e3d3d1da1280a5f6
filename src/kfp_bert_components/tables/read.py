"""A file of any format, opened: what it is, and its rows in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.batches import Batch
from kfp_bert_components.tables.dialect import Dialect, find_dialect
from kfp_bert_components.tables.files import COMPRESSIONS, TableFile, blocks
from kfp_bert_components.tables.lines import text_blocks
from kfp_bert_components.tables.read_csv import read_csv
from kfp_bert_components.tables.read_jsonl import read_jsonl
from kfp_bert_components.tables.read_parquet import read_parquet
from kfp_bert_components.tables.settings import Column, TableSettings
from kfp_bert_components.tables.survey import find_encoding, survey


@dataclass(frozen=True)
class FileFacts:
    """What was found out about a file.

    Attributes:
        name: Its name below the source.
        kind: csv, jsonl or parquet; "" for an empty file.
        compression: gzip, zstd, bz2 or "".
        encoding: Its codec; "" for Parquet.
        dialect: Of CSV, else None.
        note: Something that a reader of the report should know, or "".
    """

    name: str
    kind: str = ""
    compression: str = ""
    encoding: str = ""
    dialect: Dialect | None = None
    note: str = ""


def open_table(
    file: TableFile, columns: Sequence[Column], settings: TableSettings
) -> tuple[FileFacts, Iterator[Batch]]:
    """Find out what a file is, and read the wanted columns: what was found out, and its rows.

    Raises:
        UserError: The file is no table, is empty, is damaged, or lacks a column; damage may show only while the batches
            are gone through.
    """
    name, keep = file.name, settings.unreadable == "keep"
    with file.path.open("rb") as stream:
        first = stream.read(4)
    if first == b"PAR1":
        note = "" if name.endswith((".parquet", ".pq")) else "is a Parquet file, whatever its name says"
        return FileFacts(name, "parquet", note=note), read_parquet(file, columns, keep)
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
    encoding = find_encoding(file, found, settings.encoding)
    sample = found.sample.decode(encoding, errors="replace")
    pieces = text_blocks(blocks(file, compression), encoding)
    start = sample.lstrip("\ufeff \t\r\n")
    if settings.file_format == "jsonl" or (settings.file_format == "auto" and start.startswith("{")):
        return FileFacts(name, "jsonl", compression, encoding), read_jsonl(pieces, name, columns, keep)
    if settings.file_format == "auto" and start.startswith(("[{", "[\n")):
        raise UserError(f"{name} is one JSON array: write it as JSON Lines, one object a line.")
    dialect = find_dialect(name, sample, len(found.sample) == found.size, columns, settings)
    indices = {column.name: column.index_in(dialect.columns, name, dialect.first_row) for column in columns}
    return FileFacts(name, "csv", compression, encoding, dialect), read_csv(pieces, dialect, indices, keep)
