"""Small tables, and what `prepare_text_data` makes of them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.steps.prepare_text_data import prepare_text_data

WORDS = ["apple", "river", "stone", "cloud", "paper", "window", "garden", "music", "silver", "table"]


def texts(count: int) -> list[str]:
    """Different texts of ten words that share few of them."""
    return [" ".join(f"{WORDS[(i * 7 + k) % 10]}{i}" for k in range(10)) for i in range(count)]


def write(path: Path, **columns: list) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def run(source: Path, folder: Path, **settings: object):
    places = [folder / name for name in ("train", "validation", "test")]
    prepared = prepare_text_data(source, *places, folder / "report.html", PrepareSettings(**settings))
    return prepared, *[read_split(place).table for place in places]


def labels(count: int) -> list[int]:
    return [i % 2 for i in range(count)]
