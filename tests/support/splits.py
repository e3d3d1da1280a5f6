"""Splits made of tables, without preparing any data."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from kfp_bert_components.data.splits import SplitWriter


def write_split(folder: Path, name: str, labels: Sequence[str], table: pa.Table) -> str:
    """Write a table with the columns id, text and label, and perhaps others, as a split; its fingerprint."""
    fingerprint = sha256(repr(table.to_pylist()).encode()).hexdigest()[:32]
    writer = SplitWriter(folder, table.schema)
    for batch in table.to_batches():
        writer.write(batch)
    writer.finish(name, labels, fingerprint)
    return fingerprint


def write_small_splits(folder: Path) -> tuple[Path, Path]:
    """Write the splits train and validation, of 24 short texts each."""
    for name in ("train", "validation"):
        texts = [f"{name} {word} {number}" for number in range(12) for word in ("good", "bad")]
        labels = [text.split()[1] for text in texts]
        write_split(folder / name, name, ["bad", "good"], pa.table({"id": texts, "text": texts, "label": labels}))
    return folder / "train", folder / "validation"
