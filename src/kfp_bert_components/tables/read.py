"""All files of a source, whatever their format, as one stream of chunks."""

from __future__ import annotations

from collections.abc import Iterator

from kfp_bert_components.data.settings import METADATA, PrepareSettings, parameter_of
from kfp_bert_components.errors import UserError
from kfp_bert_components.tables.chunks import Chunk, Faults, FileFacts
from kfp_bert_components.tables.dialect import find_column, find_dialect
from kfp_bert_components.tables.files import TableFile, compression_of
from kfp_bert_components.tables.survey import find_encoding, survey


def read_tables(
    files: list[TableFile], settings: PrepareSettings, faults: Faults, facts: list[FileFacts]
) -> Iterator[Chunk]:
    """Read every file of a source.

    Args:
        files: What to read, in this order.
        settings: Columns, format, encoding, dialect.
        faults: Where unreadable rows are counted.
        facts: Gets one entry a file.

    Raises:
        UserError: A file is not a table, or lacks a column.
    """
    for number, file in enumerate(files):
        fact = FileFacts(file.name)
        facts.append(fact)
        before = faults.count
        for chunk in _read_one(file, number, settings, faults, fact):
            fact.rows += len(chunk.rows)
            yield chunk
        fact.rows += faults.count - before


def _read_one(
    file: TableFile, number: int, settings: PrepareSettings, faults: Faults, fact: FileFacts
) -> Iterator[Chunk]:
    if file.path.stat().st_size == 0:
        yield from _empty(file, settings, faults, fact)
        return
    fact.compression = compression_of(file.path)
    if not fact.compression and _is_parquet(file, settings):
        yield from _parquet(file, number, settings, fact)
        return
    found = survey(file, fact.compression)
    if not found.sample.strip():
        yield from _empty(file, settings, faults, fact)
        return
    fact.encoding = find_encoding(file, found, settings.encoding)
    sample = found.sample.decode(fact.encoding, errors="replace")
    if _is_jsonl(sample, settings):
        from kfp_bert_components.tables.read_jsonl import read_jsonl

        fact.kind = "jsonl"
        yield from read_jsonl(file, number, fact.compression, fact.encoding, _asked(settings), faults)
        return
    if settings.file_format == "auto" and sample.lstrip("\ufeff \t\r\n").startswith(("[{", "[\n")):
        raise UserError(f"{file.name} is one JSON array: write it as JSON Lines, one object a line.")
    from kfp_bert_components.tables.read_csv import read_csv

    dialect = find_dialect(file.name, sample, len(found.sample) == found.size, settings)
    fact.kind, fact.columns, fact.header = "csv", dialect.columns, dialect.header
    fact.delimiter, fact.quoting = dialect.delimiter, dialect.quoting
    roles = _roles(file, dialect.columns, settings, dialect.first)
    keep = settings.unreadable == "keep"
    yield from read_csv(file, number, fact.compression, fact.encoding, dialect, roles, found, faults, keep)


def _parquet(file: TableFile, number: int, settings: PrepareSettings, fact: FileFacts) -> Iterator[Chunk]:
    from kfp_bert_components.tables.read_parquet import parquet_columns, read_parquet

    fact.kind = "parquet"
    fact.columns = parquet_columns(file)
    if not file.name.endswith((".parquet", ".pq")):
        fact.note = "is a Parquet file, whatever its name says"
    yield from read_parquet(file, number, _roles(file, fact.columns, settings))


def _empty(file: TableFile, settings: PrepareSettings, faults: Faults, fact: FileFacts) -> Iterator[Chunk]:
    if settings.unreadable == "error":
        raise UserError(
            f"{file.name} is empty: remove it or write it again, or set unreadable to 'drop' to go on without it."
        )
    fact.note = "is empty"
    yield from ()


def _is_parquet(file: TableFile, settings: PrepareSettings) -> bool:
    with file.path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    if settings.file_format == "parquet" and not parquet:
        raise UserError(f"{file.name} is not a Parquet file: set file_format to 'auto' or to what it is.")
    return parquet


def _is_jsonl(sample: str, settings: PrepareSettings) -> bool:
    if settings.file_format != "auto":
        return settings.file_format == "jsonl"
    return sample.lstrip("\ufeff \t\r\n").startswith("{")


def _asked(settings: PrepareSettings) -> dict[str, str]:
    """The column that was asked for in each role."""
    asked = {"text": settings.text_column, "label": settings.label_column}
    if settings.pair_column:
        asked["pair"] = settings.pair_column
    if settings.split_column:
        asked["split"] = settings.split_column
    return asked | {METADATA + name: name for name in settings.metadata_columns}


def _roles(
    file: TableFile, columns: tuple[str, ...], settings: PrepareSettings, first: tuple[str, ...] = ()
) -> dict[str, int]:
    return {
        role: find_column(asked, columns, file.name, parameter_of(role), first)
        for role, asked in _asked(settings).items()
    }
