"""The parts of a table as one file."""

import csv
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from kfp_bert_components.errors import ConflictError
from kfp_bert_components.storage import open_store


@contextmanager
def parts_beside(target: Path) -> Iterator[Path]:
    """The folder for the parts of one file, beside it.

    After an error it stays only where it has a part that the next run can go on with.

    Args:
        target: The file.
    """
    folder = target.with_name(f"{target.name}.parts")
    try:
        yield folder
    except BaseException:
        if not open_store(str(folder)).list(checksums=False):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def join_parts(folder: Path, target: Path, parts: int) -> None:
    """Make one file of the parts in a local folder, whole or not at all, and remove the folder.

    Args:
        folder: From `predict_table`, complete.
        target: The file, on the same disk as the folder; its name ends with .csv or .parquet.
        parts: How many there are.

    Raises:
        ConflictError: Another process has joined them meanwhile.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".joined-", dir=folder)
        os.close(handle)
        try:
            write_joined(folder, Path(name), target.suffix, parts)
            os.chmod(name, 0o644)
            os.replace(name, target)
        finally:
            Path(name).unlink(missing_ok=True)  # there only after an error
        joined = folder.with_name(f".{folder.name}-{os.getpid()}")
        folder.rename(joined)  # whoever joins them too has nothing left at once
    except FileNotFoundError as error:
        raise ConflictError(f"Another process has made {target} meanwhile, and has removed {error.filename}.") from None
    shutil.rmtree(joined)


def write_joined(folder: Path, made: Path, suffix: str, count: int) -> None:
    """Write the rows of the parts in a local folder into one file.

    Args:
        folder: From `predict_table`, complete.
        made: The file.
        suffix: Of the parts: .csv or .parquet.
        count: How many parts there are; FileNotFoundError where there are others.
    """
    parts = sorted(folder.glob(f"part-*{suffix}"))
    if len(parts) != count:
        raise FileNotFoundError(errno.ENOENT, f"{len(parts)} of {count} parts", str(folder))
    if suffix == ".csv":
        with made.open("wb") as joined:
            for index, part in enumerate(parts):
                with part.open("rb") as source:
                    for _ in range(_header_lines(part) if index else 0):
                        source.readline()
                    shutil.copyfileobj(source, joined, 1 << 20)
    else:
        with pq.ParquetWriter(str(made), pq.read_schema(parts[0]), compression="zstd") as writer:
            for part in parts:
                for batch in pq.ParquetFile(part).iter_batches():
                    writer.write_batch(batch)


def _header_lines(part: Path) -> int:
    """Lines of the row with the names of the columns, which may hold line breaks."""
    with part.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader)
        return reader.line_num
