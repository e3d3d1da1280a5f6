"""Verification: every file of every version against the hash that it was stored with, and what does not belong."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType

from kfp_bert_components.errors import DamagedError, NotFoundError, UserError
from kfp_bert_components.plain import plain
from kfp_bert_components.progress_bar import track
from kfp_bert_components.registry._checkpoints import checkpoints_beside, is_checkpoint
from kfp_bert_components.registry._claim import read_claim
from kfp_bert_components.registry._decisions import FOLDER, load_decision
from kfp_bert_components.registry._deployments import read_deployments
from kfp_bert_components.registry._files import removed_name
from kfp_bert_components.registry._identity import registry_id
from kfp_bert_components.registry._mirrors import NAME as MIRRORS
from kfp_bert_components.registry._mirrors import read_mirrors
from kfp_bert_components.registry._numbers import read_note
from kfp_bert_components.registry._read import (
    is_number,
    read_champion,
    read_removed,
    read_version,
    removed_numbers,
    version_numbers,
)
from kfp_bert_components.registry._records import Champion, Version, is_target, load, repair_command
from kfp_bert_components.registry._removal import deployed_numbers
from kfp_bert_components.registry._test_set_repair import is_text_file, test_set_problems
from kfp_bert_components.registry._test_sets import NAME, TEXTS, read_uses
from kfp_bert_components.storage import Store, file_sha256

_OWN_FILES = {"version.json", "claim.json"}
_ROOT_FILES = {"champion.json", "registry.json", MIRRORS}
_ROOT_FOLDERS = {"versions", "decisions", "deployments", "pins", "promotions", "removed", "test_sets"}


def check_names(store: Store, names: Sequence[str]) -> None:
    """UserError where none of these names of a store is one that a registry holds."""
    if not any(name in _ROOT_FILES or name.partition("/")[0] in _ROOT_FOLDERS for name in names):
        raise UserError(f"{store.uri} is no registry: nothing is there that one holds. Check the address.")


def verify(store: Store, version: int | None = None) -> list[str]:
    """What is wrong with a registry, one sentence each; empty if nothing is.

    Args:
        store: The registry's store.
        version: Check only this version; by default all, what points to them, and what does not belong.

    Raises:
        UserError: The folder is no registry.
    """
    if version is not None:
        return check_files(store, [read_version(store, version)], _remedies(store))
    names = [entry.name for entry in store.list(checksums=False)]
    check_names(store, names)
    problems = [*_pointers(store), *_records(store, names), *test_set_problems(store)]
    readable = _readable(store, problems)
    problems += check_files(store, readable, _remedies(store))
    return [plain(one) for one in [*problems, *_strangers(store, names)]]


def check_files(store: Store, versions: list[Version], remedies: Mapping[int, str] = MappingProxyType({})) -> list[str]:
    """What is wrong with the files of versions, one sentence each: every file is read.

    Args:
        store: The registry's store.
        versions: The versions.
        remedies: What to do where a file of a version is lost, by its number.
    """
    problems = []
    with track(sum(len(one.files) for one in versions), "verifying", "files") as bar:
        for one in versions:
            problems += _files(store, one, bar.update, remedies.get(one.version, ""))
    return problems


def _remedies(store: Store) -> dict[int, str]:
    """What to do where a file of the champion is lost, by its number."""
    try:
        champion = read_champion(store)
    except UserError:  # which is a problem of its own
        return {}
    repair = f" Restore it from a backup, or choose another champion with `{repair_command(store)}`."
    return {champion.version: repair} if champion else {}


def _pointers(store: Store) -> Iterator[str]:
    records, damaged = read_deployments(store)
    try:
        champion = read_champion(store)
    except UserError as error:
        yield str(error)
    else:
        if champion and not store.exists(f"versions/{champion.version}/version.json"):
            yield (
                f"The champion is version {champion.version}, which is not there: restore it from a backup, or choose "
                f"another one with `{repair_command(store)}`."
            )
        yield from _unknown_to(champion, store, deployed_numbers(records.values()))
    yield from damaged
    for target, record in records.items():
        for one in (record, *record.elsewhere()):
            live = one.live_version
            where = target if one is record else f"{target}, {one.place_in_words()}"
            if live is not None and not store.exists(f"versions/{live}/version.json"):
                yield f"Version {live} is live on {where}, but the registry does not hold it."


def _unknown_to(champion: Champion | None, store: Store, deployed: set[int]) -> Iterator[str]:
    """Versions that were champion and that champion.json does not know of: it is an older one, put back."""
    for number in version_numbers(store):
        promoted = number in deployed or _was_promoted(store, number)
        if _lacks(champion, number) and promoted and _lacks(read_champion(store), number):
            yield (
                f"Version {number} was promoted, but {store.describe('champion.json')} does not know of it: the file "
                "is older. Restore the newest one from a backup, or make the version champion with "
                f"`kfp-bert registry rollback {shlex.quote(store.uri)} --to {number}`."
            )


def _lacks(champion: Champion | None, number: int) -> bool:
    """Whether a pointer that tells all that it ever named lacks a version."""
    log = champion.log if champion else ()
    return bool(log) and all(event["event"] != "repaired" and event["version"] != number for event in log)


def _was_promoted(store: Store, number: int) -> bool:
    with suppress(DamagedError):
        claim = read_claim(store, number)
        return bool(claim and claim.promoted and not claim.removing)
    return False


def _records(store: Store, names: list[str]) -> Iterator[str]:
    """Which of the smaller records are damaged."""
    notes = [name for name in names if _is_json_in(name, "promotions")]
    old = [name for name in names if _is_json_in(name, "test_sets") and name != NAME]
    checks: list[Callable[[], object]] = [partial(read_removed, store, number) for number in removed_numbers(store)]
    checks += [partial(registry_id, store, create=False), partial(read_mirrors, store)]
    checks += [partial(read_claim, store, number) for number in version_numbers(store)]
    checks += [partial(load, store, name, read_note) for name in notes]
    checks += [partial(load, store, name, itemgetter("run", "at")) for name in names if _is_json_in(name, "pins")]
    checks += [partial(load_decision, store, name) for name in names if _is_json_in(name, FOLDER)]
    checks += [partial(read_uses, store, Path(name).stem) for name in old]
    for check in checks:
        try:
            check()
        except NotFoundError:  # just removed
            continue
        except UserError as error:
            yield str(error)


def _readable(store: Store, problems: list[str]) -> list[Version]:
    """The complete versions. What never became complete, or is being removed, is gc's business."""
    found, removed = [], removed_numbers(store)
    for number in version_numbers(store):
        try:
            if number not in removed:
                found.append(read_version(store, number))
        except NotFoundError:
            continue
        except UserError as error:
            problems.append(str(error))
    return found


def _strangers(store: Store, names: list[str]) -> list[str]:
    """What does not belong to a registry: files, and the folders of others as one."""
    ours = {number for number in version_numbers(store) if _is_version(store, number, names)}
    known = _ROOT_FOLDERS
    if checkpoints_beside(store.uri) == store.describe("checkpoints"):  # the registry is a whole bucket
        known = known | {"checkpoints"}
        names = [name for name in names if not is_checkpoint(name.removeprefix("checkpoints/"))]
    found = {stranger for name in names if (stranger := _stranger(name, ours))}
    found |= {name for name in store.folders() if name not in known}  # which may be empty
    found |= {f"versions/{name}" for name in store.folders("versions") if not is_number(name)}
    return [f"{store.describe(name)} does not belong to a registry: move it elsewhere." for name in sorted(found)]


def _is_version(store: Store, number: int, names: list[str]) -> bool:
    start = f"versions/{number}/"
    return f"{start}version.json" in names or f"{start}claim.json" in names or store.exists(removed_name(number))


def _stranger(name: str, versions: set[int]) -> str:
    """The part of a name that does not belong, "" where all of it does."""
    first, _, rest = name.partition("/")
    if not rest:
        return "" if name in _ROOT_FILES else name
    if first not in _ROOT_FOLDERS:
        return first
    if first == "versions":
        folder, _, file = rest.partition("/")
        return "" if file and is_number(folder) and int(folder) in versions else f"versions/{folder}"
    if name.startswith(TEXTS):
        return "" if is_text_file(name[len(TEXTS) :]) else name
    stem = rest.removesuffix(".json")
    good = {"deployments": is_target(stem), "removed": is_number(stem)}.get(first, _is_json_in(name, first))
    return "" if good and rest == f"{stem}.json" else name


def _is_json_in(name: str, folder: str) -> bool:
    return re.fullmatch(rf"{folder}/[A-Za-z0-9][^/]*\.json", name) is not None


def _files(store: Store, record: Version, advance: Callable[[int], object], remedy: str) -> list[str]:
    start, problems = f"versions/{record.version}/", []
    there = {entry.name[len(start) :] for entry in store.list(start, checksums=False)}
    for name in sorted(there - set(record.files) - _OWN_FILES):
        problems.append(f"{store.describe(start + name)} does not belong to version {record.version}.")
    with tempfile.TemporaryDirectory() as scratch:
        for name, expected in record.files.items():
            where, copy = store.describe(start + name), Path(scratch, "file")
            try:
                store.download(start + name, copy)
                if (copy.stat().st_size, file_sha256(copy)) != (expected["size"], expected["sha256"]):
                    problems.append(f"{where} was changed since it was stored: its SHA-256 differs.{remedy}")
            except NotFoundError:
                problems.append(f"{where} is missing.{remedy}")
            except UserError as error:
                problems.append(str(error))
            advance(1)
    return problems
