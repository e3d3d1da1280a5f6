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
