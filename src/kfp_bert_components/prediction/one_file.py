"""The parts of a table as one file."""

import csv
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq


def join_parts(folder: Path, target: Path) -> None:
    """Make one file of the parts in a local folder, whole or not at all, and remove the folder.

    Args:
        folder: From `predict_table`, complete.
        target: The file, on the same disk as the folder; its name ends with .csv or .parquet.
    """
    parts, made = sorted(folder.glob(f"part-*{target.suffix}")), folder / ".joined"
    if target.suffix == ".csv":
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
    os.replace(made, target)
    shutil.rmtree(folder)


def _header_lines(part: Path) -> int:
    """Lines of the row with the names of the columns, which may hold line breaks."""
    with part.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader)
        return reader.line_num
