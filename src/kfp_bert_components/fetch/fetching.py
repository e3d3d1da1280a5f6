"""Copy data from a bucket or a local folder into an artifact: verified, pinned, resumable."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kfp_bert_components.errors import UserError, reason_of
from kfp_bert_components.fetch.manifest import Manifest, read_manifest
from kfp_bert_components.fetch.pins import read_checksums
from kfp_bert_components.fetch.sources import check_paths, resolve
from kfp_bert_components.fetch.transfer import transfer
from kfp_bert_components.storage import Access, is_folder, is_fuse, is_there, publish_folder, split_object


@dataclass(frozen=True)
class Fetched:
    """What was fetched: a fingerprint of the content, and how many files and bytes it has."""

    fingerprint: str
    files: int
    bytes: int


def fetch(sources: Sequence[str], target: Path, *, manifest: str = "", access: Access | None = None) -> Fetched:
    """Copy objects into `target`/files/ and write `target`/manifest.json when all are there.

    Every file is checked against the size and the checksum of the listing, written under another name and then renamed.
    If an interrupted call left files in the target, the files that are already whole are not fetched again.

    Args:
        sources: Objects, folders and globs (`*`, `**`, `?`, `[ab]`, `{a,b}`), gs://, s3:// or local. Files are
            named by their path below the folder, or below the part of the glob before its first wildcard.
        target: The folder to fill; empty, missing, or one that an earlier call wrote.
        manifest: Path or address of the manifest.json of an earlier call, or of the manifest of a pin: fetch exactly
            its objects, with the same bytes. `sources` may then be empty; otherwise they must be the manifest's
            sources.
        access: How the sources' buckets are reached. Default: with the credentials of the environment. A manifest in a
            bucket is always read with these credentials.

    Returns:
        The fingerprint depends on the names and the content of the files, not on when or where they lie.

    Raises:
        UserError: An object is missing, forbidden, has an unusable name, or its bytes don't match; or the disk is full.
    """
    access = access or Access()
    wanted = _pinned(sources, manifest) if manifest else resolve(sources, access)
    _own(target, wanted)
    wanted = read_checksums(wanted)
    try:
        return _fill_or_publish(wanted, target, access)
    except OSError as error:
        place = error.filename or target
        raise UserError(
            f"{target} can't be filled ({place}: {reason_of(error)}): give an empty folder that may be written to."
        ) from error


def _fill_or_publish(wanted: Manifest, target: Path, access: Access) -> Fetched:
    if not is_fuse(target):
        return _fill(wanted, target, access)
    # A mounted bucket takes no renames and no writing at random: all is made whole on a local disk first.
    with tempfile.TemporaryDirectory() as scratch:
        fetched = _fill(wanted, Path(scratch), access)
        publish_folder(Path(scratch), target, last=["manifest.json"])
    return fetched


def _fill(wanted: Manifest, target: Path, access: Access) -> Fetched:
    """Fetch into a local folder. While `.fetch` is there the folder is ours to change, and not complete."""
    scratch, place = target / ".fetch", target / "manifest.json"
    scratch.mkdir(parents=True, exist_ok=True)
    with _alone(scratch, target):
        for left in scratch.iterdir():  # of a fetch that was killed
            left.unlink()
        place.unlink(missing_ok=True)
        got = Manifest(wanted.sources, transfer(wanted, target, scratch, access))
        got.write(scratch / "manifest.json")
        os.replace(scratch / "manifest.json", place)
        shutil.rmtree(scratch)
    return Fetched(got.fingerprint, len(got.objects), sum(one.size for one in got.objects))


@contextmanager
def _alone(scratch: Path, target: Path) -> Iterator[None]:
    """Keep other fetches out of a target. The lock ends with the process, and where there are no locks it is none."""
    import fcntl

    folder = os.open(scratch, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another fetch fills {target}: wait for its end, or give another folder.") from None
        except OSError:  # the file system has no locks
            pass
        yield
    finally:
        os.close(folder)


def _pinned(sources: Sequence[str], manifest: str) -> Manifest:
    pinned = read_manifest(manifest, Access())  # it is ours, and the sources may be others'
    check_paths({one.path: one for one in pinned.objects})
    if sources and sorted(sources) != sorted(pinned.sources):
        raise UserError(
            f"The sources {', '.join(sources)} are not those of the manifest {manifest} "
            f"({', '.join(pinned.sources)}): give the same ones or none."
        )
    return pinned


def _own(target: Path, wanted: Manifest) -> None:
    """Make sure that the target is ours to change: missing, empty, or written by an earlier call."""
    if is_there(target) and not is_folder(target):
        raise UserError(f"{target} is a file: give a folder to fetch into.")
    there = {path.name for path in target.iterdir()} if is_folder(target) else set()
    foreign = there if there == {"files"} else there - {"files", "manifest.json", ".fetch"}
    if foreign:
        raise UserError(f"{target} holds {min(foreign)}, which no fetch wrote: give an empty folder.")
    for one in wanted.objects:
        local = split_object(one.source)[0].is_local
        if local and Path(one.source).resolve().is_relative_to(target.resolve()):
            raise UserError(f"{one.source} lies in the folder to fetch into, {target}: give another folder.")
