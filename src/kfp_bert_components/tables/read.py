"""A file of any format, opened: what it is, and its rows in batches."""

from __future__ import annotations

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.batches import FileFacts, Table
from kfp_bert_components.tables.dialect import find_dialect
from kfp_bert_components.tables.files import TableFile, blocks, compression_of
from kfp_bert_components.tables.lines import text_blocks
from kfp_bert_components.tables.settings import TableSettings, find_columns
from kfp_bert_components.tables.survey import find_encoding, survey


def open_table(file: TableFile, settings: TableSettings) -> Table:
    """Find out what a file is, and read it.

    Args:
        file: The file.
        settings: Which columns are wanted, and what the user has said about format, encoding and dialect.

    Raises:
        UserError: The file is no table, is empty, is damaged, or lacks a column; damage may show only while the batches
            are gone through.
    """
    if file.path.stat().st_size == 0:
        return _empty(file, settings)
    compression = compression_of(file.path)
    if not compression and _is_parquet(file, settings):
        return _parquet(file, settings)
    found = survey(file, compression)
    if not found.sample.strip():
        return _empty(file, settings)
    encoding = find_encoding(file, found, settings.encoding)
    sample = found.sample.decode(encoding, errors="replace")
    pieces = text_blocks(blocks(file, compression), encoding)
    if _is_jsonl(sample, settings):
        from kfp_bert_components.tables.read_jsonl import read_jsonl

        facts = FileFacts(file.name, "jsonl", compression, encoding)
        return Table(facts, read_jsonl(pieces, file.name, settings.columns, settings.keep_damaged))
    if settings.file_format == "auto" and sample.lstrip("\ufeff \t\r\n").startswith(("[{", "[\n")):
        raise UserError(f"{file.name} is one JSON array: write it as JSON Lines, one object a line.")
    from kfp_bert_components.tables.read_csv import read_csv

    dialect = find_dialect(file.name, sample, len(found.sample) == found.size, settings)
    facts = FileFacts(
        file.name, "csv", compression, encoding, dialect.delimiter, dialect.quoting, dialect.header, dialect.columns
    )
    columns = find_columns(settings.columns, dialect.columns, file.name, dialect.first)
    return Table(facts, read_csv(pieces, dialect, columns, settings.keep_damaged))


def _parquet(file: TableFile, settings: TableSettings) -> Table:
    from kfp_bert_components.tables.read_parquet import parquet_columns, read_parquet

    named = file.name.endswith((".parquet", ".pq"))
    note = "" if named else "is a Parquet file, whatever its name says"
    facts = FileFacts(file.name, "parquet", columns=parquet_columns(file), note=note)
    columns = find_columns(settings.columns, facts.columns, file.name)
    return Table(facts, read_parquet(file, columns, settings.keep_damaged))


def _empty(file: TableFile, settings: TableSettings) -> Table:
    if not settings.empty_files:
        raise UserError(
            f"{file.name} is empty: remove it or write it again, or set unreadable to 'drop' to go on without it."
        )
    return Table(FileFacts(file.name, note="is empty"), iter(()))


def _is_parquet(file: TableFile, settings: TableSettings) -> bool:
    with file.path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    if settings.file_format == "parquet" and not parquet:
        raise UserError(f"{file.name} is not a Parquet file: set file_format to 'auto' or to what it is.")
    return parquet


def _is_jsonl(sample: str, settings: TableSettings) -> bool:
    if settings.file_format != "auto":
        return settings.file_format == "jsonl"
    return sample.lstrip("\ufeff \t\r\n").startswith("{")
