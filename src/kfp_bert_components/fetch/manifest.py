"""The list of what was fetched: name, generation, size and checksum of each object."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.records import dump_record, load_record
from kfp_bert_components.storage import Access, open_store, parse_address


@dataclass(frozen=True)
class Pinned:
    """One object: where it is, the path of its file, and what its bytes must be.

    `crc32c` is "" for a local file that was looked at and not read: then its size and its generation, which is its time
    of modification in microseconds, say whether it is still the same. It is "" too for an object on s3:// until it is
    fetched: there the generation is its ETag, and its version where the bucket keeps versions.
    """

    source: str
    path: str
    generation: int | str
    size: int
    crc32c: str


@dataclass(frozen=True)
class Manifest:
    """All objects of one fetch, sorted by path; `remedy` is what to do where one of them is another one now."""

    sources: Sequence[str]
    objects: Sequence[Pinned]
    remedy: str = "Start the run again."

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the files' names, sizes and checksums: the same wherever and whenever they lie."""
        digest = hashlib.sha256()
        for one in sorted(self.objects, key=lambda one: one.path):
            digest.update(json.dumps([one.path, one.size, one.crc32c]).encode() + b"\n")
        return digest.hexdigest()

    def fields(self) -> dict[str, Any]:
        """The fields of its record."""
        return {"fingerprint": self.fingerprint, "sources": self.sources, "objects": list(map(vars, self.objects))}

    def write(self, path: Path) -> None:
        """Write the manifest whole and once."""
        path.write_text(dump_record(self.fields()), encoding="utf-8")


def read_manifest(uri: str, access: Access) -> Manifest:
    """Read a manifest.json.

    Args:
        uri: Path or address of the file, or of the folder that holds it.
        access: How buckets are reached.

    Raises:
        NotFoundError: It is missing.
        UserError: It is of an unknown format, or was changed by hand.
    """
    address = parse_address(uri, "manifest")
    folder, name = address.split() if uri.endswith(".json") else (address, "manifest.json")
    try:
        data = open_store(folder, access).read(name).data
    except NotFoundError:
        raise NotFoundError(
            f"The manifest {uri} does not exist: start the run again where pin_data wrote it, give one that is there, "
            "or give this step access to where it lies."
        ) from None
    found, fingerprint = load_record(data, uri, {1: _read_1}, "give the manifest.json that a fetch wrote")
    if found.fingerprint != fingerprint:
        raise UserError(f"{uri} was changed since it was written: give the manifest.json as the fetch wrote it.")
    return found


def _read_1(fields: dict[str, Any]) -> tuple[Manifest, str]:
    objects = [Pinned(**one) for one in fields["objects"]]
    kinds = {key: kind.split(" | ") for key, kind in Pinned.__annotations__.items()}
    fits = (type(value).__name__ in kinds[key] for one in objects for key, value in vars(one).items())
    if not all(fits) or not all(isinstance(source, str) for source in fields["sources"]):
        raise TypeError("a value is of another type")
    # A pin names its run. In a manifest that somebody gives, the same objects are wanted in the next run too.
    remedy = Manifest.remedy if "run" in fields else "Restore it, or start the run again without a manifest."
    return Manifest(fields["sources"], objects, remedy), fields["fingerprint"]
