"""Bring the objects of a manifest into a folder: in parallel, whole, and only those that are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from kfp_bert_components.data.fetch_manifest import Pinned
from kfp_bert_components.progress import track
from kfp_bert_components.storage import Access, Entry, Store, file_crc32c, open_store

_THREADS = 32


def transfer(objects: Sequence[Pinned], target: Path, access: Access) -> None:
    """Fill `target`/files with exactly these objects."""
    files = target / "files"
    files.mkdir(parents=True, exist_ok=True)
    paths = {one.path for one in objects}
    for path in sorted(files.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(files).as_posix() not in paths:
            path.unlink()
    with (
        track(sum(one.size for one in objects), "fetching", "", bytes_=True) as bar,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        for done in pool.map(lambda one: _one(one, files, access, bar.update), objects):
            del done


def _one(one: Pinned, files: Path, access: Access, progress: Callable[[int], object]) -> None:
    place = files / one.path
    if place.is_file() and place.stat().st_size == one.size and file_crc32c(place) == one.crc32c:
        progress(one.size)
        return
    store, name = _locate(one.source, access)
    store.download_entry(Entry(name, one.size, one.crc32c, one.generation), place, progress)


@lru_cache(maxsize=1024)
def _locate(source: str, access: Access) -> tuple[Store, str]:
    """The store and the name of one object; objects of one bucket share a store."""
    if source.startswith("gs://"):
        bucket, _, name = source.removeprefix("gs://").partition("/")
        return open_store(f"gs://{bucket}", access), name
    path = Path(source)
    return open_store(str(path.parent), access), path.name
