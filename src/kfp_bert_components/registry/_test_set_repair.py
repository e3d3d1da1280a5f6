"""What is lost of the record of decisions, and how it is rebuilt from what the versions tell.

A lost record would be a fresh budget for texts that have decided. Each version keeps its decision, which says which use
of a test set it was, and its evaluation, which has the ids of the rows. So the loss is seen, and most of it rebuilt.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import DamagedError, NotFoundError, UserError
from kfp_bert_components.progress import say
from kfp_bert_components.registry._read import version_numbers
from kfp_bert_components.registry._records import repair_command
from kfp_bert_components.registry._test_sets import (
    NAME,
    TEXTS,
    Past,
    new_lineage,
    owners_of,
    read_past,
    read_text_file,
    read_uses,
    text_hashes,
    with_texts,
    write_past,
)
from kfp_bert_components.storage import Generation, Store

if TYPE_CHECKING:
    import numpy as np

_FILE = re.compile(r"(\d+)-(\d+)-[0-9a-f]{32}\.bin")


@dataclass(frozen=True)
class _Told:
    """What the decision of a version says of its test set: `lineage` is 0 in older decisions."""

    version: int
    test_fingerprint: str
    number: int
    lineage: int


def is_text_file(name: str) -> bool:
    """Whether a name under TEXTS is one that this package gives."""
    return _FILE.fullmatch(name) is not None


def test_set_problems(store: Store) -> list[str]:
    """What of the record of decisions is lost or damaged, one sentence each."""
    try:
        past, _ = read_past(store)
    except UserError as error:
        return [str(error)]
    problems = []
    for one in past:
        try:
            _ = one.texts and read_text_file(store, one.texts)
        except DamagedError as error:
            problems.append(str(error))
    return [*problems, *lost_uses(store, past)]


def lost_uses(store: Store, past: list[Past]) -> Iterator[str]:
    """A sentence for each version whose decision names a use that is not in the record."""
    known: dict[str, int] = {}
    for one in past:
        known[one.test_fingerprint] = max(one.number, known.get(one.test_fingerprint, 0))
    for told in _versions(store):
        number = known.get(told.test_fingerprint) or len(read_uses(store, told.test_fingerprint))
        if number < told.number:
            yield (
                f"{store.describe(NAME)} lacks uses of a test set: version {told.version} was promoted by use "
                f"{told.number} of the test set {told.test_fingerprint[:16]}, and {number or 'none'} is recorded. "
                f"Restore {store.describe('test_sets')} from a backup, or run `{repair_command(store)}`, which "
                "rebuilds it from the versions."
            )


def rebuild(store: Store) -> list[str]:
    """See `Registry.repair_test_sets`."""
    if not test_set_problems(store):
        return []
    past, generation = _readable_past(store)
    before, lost = len(past), 0
    texts: dict[str, np.ndarray] = {}
    for place, one in enumerate(past):
        try:
            texts |= {one.texts: read_text_file(store, one.texts)} if one.texts else {}
        except DamagedError:
            past[place], lost = replace(one, texts=""), lost + 1
            with suppress(NotFoundError):  # else in the way of the same texts
                store.delete(TEXTS + one.texts)
    past += _unnamed(store, past, texts)
    for told in _versions(store):
        past = _with_version(store, told, past, texts)
    write_past(store, past, texts, generation)
    said = [
        f"{store.describe(NAME)} is written anew. Decisions that were added, as the versions and the texts beside it "
        f"tell: {len(past) - before}. Decisions that promoted nothing may be missing: a use may then have too low a "
        "number and spend more of alpha than is left."
    ]
    if lost:
        said.append(f"Decisions whose texts are lost, but for those of promoted versions: {lost}.")
    return said


def _readable_past(store: Store) -> tuple[list[Past], Generation]:
    """The record as far as it can be read, and the generation of its file."""
    try:
        return read_past(store)
    except DamagedError:
        try:
            return [], store.stat(NAME).generation
        except NotFoundError:
            return [], 0


def _unnamed(store: Store, past: list[Past], texts: dict[str, np.ndarray]) -> list[Past]:
    """A decision for each file of texts that none names; the file's name says of which lineage and use it is."""
    found = []
    for entry in store.list(TEXTS, checksums=False):
        name = entry.name[len(TEXTS) :]
        if name in {one.texts for one in past} or not (parts := _FILE.fullmatch(name)):
            continue
        try:
            texts[name] = read_text_file(store, name)
        except DamagedError:
            continue  # nobody names it
        found.append(Past({}, "", [int(parts[1])], int(parts[2]), name))
    return sorted(found, key=lambda one: (one.lineages[0], one.number))


def _with_version(store: Store, told: _Told, past: list[Past], texts: dict[str, np.ndarray]) -> list[Past]:
    """The decisions with that of a version, where it or its texts are lacking."""
    import numpy as np

    hashes = _evaluated(store, told.version, texts)
    owners = owners_of(hashes, past, texts)
    number = max(told.number, len(read_uses(store, told.test_fingerprint)))
    same = [one for one in past if one.test_fingerprint == told.test_fingerprint]
    if (owners != 0).all() and any(one.number >= number for one in same):
        return past
    owned = [one for one in np.unique(owners).tolist() if one]
    lineages = [told.lineage] if told.lineage else same[-1].lineages if same else owned or [new_lineage(past)]
    number = max([number, *(one.number for one in same)])
    one = Past({"rebuilt from version": told.version}, told.test_fingerprint, lineages, number, "", "")
    return [*past, with_texts(one, hashes[owners == 0], texts)]


def _versions(store: Store) -> Iterator[_Told]:
    """What the decisions of the versions say of their test sets, oldest first."""
    for version in version_numbers(store):
        try:
            found = json.loads(store.read(f"versions/{version}/decision/decision.json").data)
            use: Mapping[str, Any] = found.get("test_set") or {}
            told = _Told(version, str(found["test_fingerprint"]), int(use.get("number", 0)), int(use.get("lineage", 0)))
            counted = bool(use.get("counted"))
        except NotFoundError:  # not complete, or just removed
            continue
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            say(f"The decision of version {version} can't be read, so its use of a test set is not compared.")
            continue
        if counted:
            yield told


def _evaluated(store: Store, version: int, known: Mapping[str, np.ndarray]) -> np.ndarray:
    """The hashes of the texts that a version was examined on; none where its predictions can't be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from kfp_bert_components.evaluation.records import CLUSTER
    from kfp_bert_components.evaluation.text_keys import TEXT_KEY, TEXTS, with_text_keys

    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "predictions.parquet")
        try:
            store.download(f"versions/{version}/evaluation/predictions.parquet", copy)
            names = {*pq.read_schema(copy).names}
            texts = {TEXT_KEY} & names or {*TEXTS} & names
            table = pq.read_table(copy, columns=sorted({"id", CLUSTER} & names | texts))
            return text_hashes(with_text_keys(table), known)
        except (NotFoundError, pa.ArrowException, OSError):
            say(f"The predictions of version {version} can't be read: which texts it was examined on is not known.")
            return text_hashes(None)
