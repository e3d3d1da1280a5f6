"""Batches that are written once and read several times: in memory while they are few, else in a scratch file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

IN_MEMORY = 512 << 20


class Spool:
    """A sequence of record batches of one schema.

    Args:
        folder: Scratch space for the file.
        in_memory: Bytes that may stay in memory.
    """

    def __init__(self, folder: Path, in_memory: int = IN_MEMORY) -> None:
        self._path = folder / "spool.arrow"
        self._budget = in_memory
        self._held: list[pa.RecordBatch] = []
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def append(self, batch: pa.RecordBatch) -> None:
        """Add a batch at the end."""
        if self._writer is None:
            self._held.append(batch)
            self._budget -= batch.nbytes
            if self._budget < 0:
                self._spill(batch.schema)
        else:
            self._writer.write_batch(batch)

    def _spill(self, schema: pa.Schema) -> None:
        self._writer = pa.ipc.new_file(str(self._path), schema)
        for batch in self._held:
            self._writer.write_batch(batch)
        self._held = []

    def close(self) -> None:
        """Nothing more will be appended."""
        if self._writer is not None:
            self._writer.close()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._writer is None:
            yield from self._held
            return
        # Read, not mapped: mapped pages would count as memory of this process.
        with pa.OSFile(str(self._path)) as file:
            reader = pa.ipc.open_file(file)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)

    def numbered(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The batches, each with the number of its first row."""
        start = 0
        for batch in self:
            yield start, batch
            start += batch.num_rows
