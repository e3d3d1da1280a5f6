"""Data that was looked at and not read: its fingerprint, and whether it is still the same when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kfp_bert_components.errors import ConflictError
from kfp_bert_components.fetch.manifest import Manifest, Pinned
from kfp_bert_components.storage import file_crc32c


def fingerprint(objects: Iterable[Pinned], *, changes: bool = True) -> str:
    """A hash by which one sees, without reading, whether any of the objects is another one now.

    Of an object in a bucket its path, size and checksum count: it is the fingerprint of a manifest. Of a local file
    that was not read its path, size and times count.

    Args:
        objects: The objects.
        changes: Whether the time counts at which the system last changed anything about a local file (ctime). Nobody
            can set it, so a file with other bytes and its old time of modification is noticed. It also changes with
            owner and permissions, and a copy on another machine has another one.

    Raises:
        ConflictError: A file is gone.
    """
    digest = hashlib.sha256()
    for one in sorted(objects, key=lambda one: one.path):
        facts: list[object] = [one.path, one.size, one.crc32c or one.generation]
        if changes and not one.crc32c:
            facts.append(_changed(one.source))
        digest.update(json.dumps(facts).encode() + b"\n")
    return digest.hexdigest()


def read_checksums(manifest: Manifest) -> Manifest:
    """The same with the checksums of the local files that were only looked at.

    Raises:
        ConflictError: A file is another one than that which was looked at, or is gone.
    """
    return Manifest(manifest.sources, [one if one.crc32c else _read(one) for one in manifest.objects])


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
            "that stays, or to gs://."
        )
    return replace(one, crc32c=crc32c)


def _changed(path: str) -> int:
    try:
        return Path(path).stat().st_ctime_ns
    except OSError as error:
        raise ConflictError(f"{path} was removed while it was looked at ({error.strerror}): try again.") from None
