"""The files of a table, and which of them, or which of their rows, are a shard's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.storage import Entry, file_crc32c, find_objects, open_store, parse_address, split_object
from kfp_bert_components.tables import TableFile, is_table_name, list_files

# Rows that stay together where the rows of a file are divided.
BLOCK_ROWS = 1_000
# How much more than its share a shard may have where whole files are divided.
_IMBALANCE = 1.25


@dataclass(frozen=True)
class Source:
    """One file of a table.

    Attributes:
        name: Its name below the table's folder.
        size: Bytes.
        address: Where it is: a local path, or an object in a bucket.
        entry: Of the listing, for an object.
    """

    name: str
    size: int
    address: str
    entry: Entry | None = None

    def checksum(self) -> str:
        """The crc32c of its content, for which a local file is read; on s3:// its ETag.

        There a listing has checksums and versions or not, according to its newest object, which may be no table.
        """
        if not self.entry:
            return file_crc32c(Path(self.address))
        if isinstance(self.entry.generation, str):
            return self.entry.generation.partition(" ")[0]
        return self.entry.crc32c

    def fetch(self, scratch: Path) -> TableFile:
        """The file on this machine: an object is copied below `scratch`."""
        if not self.entry:
            return TableFile(Path(self.address), self.name)
        store, _ = split_object(self.address)
        path = scratch / self.name
        open_store(store).download_entry(self.entry, path)
        return TableFile(path, self.name)


@dataclass(frozen=True)
class Share:
    """What is one shard's part of a table.

    Attributes:
        sources: The files to read.
        shards: Into how many shards the rows of each file are divided; 1 where whole files are.
        index: The shard's place among them.
    """

    sources: Sequence[Source]
    shards: int = 1
    index: int = 0


def find_sources(table: str) -> list[Source]:
    """The files of a table, sorted by name.

    Args:
        table: A file, a folder, a folder made by fetch, or in a bucket a glob too.

    Raises:
        NotFoundError: There is none.
        UserError: It is no address.
    """
    address = parse_address(table, "the table")
    if address.is_local:
        return [Source(one.name, one.path.stat().st_size, str(one.path)) for one in list_files(address.path)]
    found = find_objects(table, parameter="the table")
    if len(found) > 1:
        fetched = any(one.path == "manifest.json" for one in found)
        inside = [one for one in found if one.path.startswith("files/")] if fetched else []
        found = [one for one in inside or found if is_table_name(PurePosixPath(one.path))]
    if not found:
        raise NotFoundError(f"{table} holds no files: check its address.")
    return sorted((Source(one.path, one.entry.size, one.address, one.entry) for one in found), key=lambda one: one.name)


def share_of(sources: Sequence[Source], num_shards: int, shard_index: int) -> Share:
    """One shard's part: every row of the table is in exactly one, by the names and sizes of the files alone.

    Files are dealt out whole, the largest first, each to the shard that has least, where that gives no shard more than
    a quarter over its share. Else each shard reads all files and has every `num_shards`-th block of 1,000 rows: to read
    a row costs little beside its prediction.
    """
    loads = [0] * num_shards
    owners: dict[str, int] = {}
    for source in sorted(sources, key=lambda one: (-one.size, one.name)):
        owner = owners[source.name] = loads.index(min(loads))
        loads[owner] += source.size
    if num_shards == 1 or max(loads) > _IMBALANCE * sum(loads) / num_shards:
        return Share(sources, num_shards, shard_index)
    return Share([one for one in sources if owners[one.name] == shard_index])
