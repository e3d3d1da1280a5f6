"""Data that was looked at and not read: its fingerprint, and whether it is still the same when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

from kfp_bert_components.errors import ConflictError
from kfp_bert_components.fetch.manifest import Manifest, Pinned
from kfp_bert_components.storage import file_crc32c, is_fuse, split_object


def fingerprint(objects: Iterable[Pinned], *, changes: bool = True) -> str:
    """A hash by which one sees, without reading, whether any of the objects is another one now.

    Of an object on gs:// its path, size and checksum count: it is the fingerprint of a manifest. On s3:// its ETag (and
    version) counts, also where it has a checksum, as whether that is asked for depends on the objects beside it. Of a
    local file that was not read its path, size and times count, and which file it is.

    Args:
        objects: The objects.
        changes: Whether it counts which local file it is (its path without links, and its inode), and the time at which
            the system last changed anything about it (ctime). Nobody can set these, so other bytes under the old name
            and time of modification are noticed. They also change with owner and permissions, and a copy has others.

    Raises:
        ConflictError: A file is gone.
    """
    digest, in_fuse = hashlib.sha256(), cache(is_fuse)
    for one in sorted(objects, key=lambda one: one.path):
        checksum = one.crc32c if split_object(one.source)[0].scheme in ("gs", "file") else ""
        facts: list[object] = [one.path, one.size, checksum or one.generation]
        if changes and _on_disk(one):
            facts += _which(one.source, in_fuse)
        digest.update(json.dumps(facts).encode() + b"\n")
    return digest.hexdigest()


def read_checksums(manifest: Manifest) -> Manifest:
    """The same with the checksums of the local files that were only looked at.

    Raises:
        ConflictError: A file is another one than that which was looked at, or is gone.
    """
    return replace(manifest, objects=[_read(one) if _on_disk(one) else one for one in manifest.objects])


def _on_disk(one: Pinned) -> bool:
    """Whether it is a local file that was not read."""
    return not one.crc32c and split_object(one.source)[0].is_local


def _read(one: Pinned) -> Pinned:
    try:
        crc32c, status = file_crc32c(Path(one.source)), Path(one.source).stat()
    except OSError as error:
        raise ConflictError(
            f"{one.source} can't be read any more ({error.strerror}): start the run again; trying this step again "
            "does not help."
        ) from None
    if (status.st_size, status.st_mtime_ns // 1000) != (one.size, one.generation):
        raise ConflictError(
            f"{one.source} was changed since the run began: start the run again; trying this step again does not "
            "help. Files that are new in each pod, as those of a ConfigMap, can't be pinned: copy them to a volume "
            "that stays, or to a bucket."
        )
    return replace(one, crc32c=crc32c)


def _which(path: str, in_fuse: Callable[[Path], bool]) -> list[object]:
    """What tells a file from another one that has its name, size and time of modification."""
    try:
        real = Path(path).resolve(strict=True)
        status = real.stat()
    except OSError as error:
        raise ConflictError(f"{path} was removed while it was looked at ({error.strerror}): try again.") from None
    inode = 0 if in_fuse(real.parent) else status.st_ino  # a FUSE mount may number its files anew in each pod
    return [str(real), inode, status.st_ctime_ns]
