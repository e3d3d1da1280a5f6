"""Which texts have decided, and how often: test sets that share texts are one lineage, with one budget of alpha.

`test_sets/lineages.json` is a list of all decisions, moved by compare-and-swap. A decision's new texts belong to one
lineage for good. Their hashes lie in a file of their own, 8 bytes a text, which is written before the list names it and
never changes: what is killed in between leaves a file that nobody needs.

A text is known by its key, which is the same for all that differ in case, punctuation, spaces or Unicode form only.

Older versions of this package kept `test_sets/<fingerprint>.json`, a list for each test set as it was to the byte. Such
a list is read when its test set comes again, and its uses count. Others knew a text by its id, which is found as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import ConflictError, DamagedError, NotFoundError
from kfp_bert_components.gate import Use, choose_lineages, spend
from kfp_bert_components.records import build, check_types, require
from kfp_bert_components.registry._records import dump, load, now, repair_command
from kfp_bert_components.storage import Generation, Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from kfp_bert_components.evaluation import Evaluation

NAME = "test_sets/lineages.json"
# What an identity calls the fingerprint of the groups that are the evidence; decisions of older versions lack it.
_GROUPS = "groups"
# What decisions of older versions have beside it: by this one a rollback made another comparison of the same models.
_GENERATION = "champion_generation"
TEXTS = "test_sets/texts/"
_TRIES = 20
_THREADS = 16


@dataclass(frozen=True)
class Past:
    """A decision that was made.

    Attributes:
        identity: What was compared, in plain values; a step that is tried again has the same one.
        test_fingerprint: Fingerprint of the test split.
        lineages: Whose rows decided. New texts belong to the first of them.
        number: Which use of these lineages it was.
        texts: Name of the file with the hashes of the new texts; "" where there were none.
        at: When; "" where that is not known.
    """

    identity: Mapping[str, Any]
    test_fingerprint: str
    lineages: Sequence[int]
    number: int
    texts: str = ""
    at: str = ""


def count_use(store: Store, test: Evaluation, alpha: float, identity: Mapping[str, Any]) -> tuple[Use, np.ndarray]:
    """Count a use of a test set; see `Registry.count_use`."""
    import numpy as np

    from kfp_bert_components.registry._test_set_repair import lost_uses

    groups = test.groups_fingerprint()
    identity = json.loads(json.dumps({**identity, **({_GROUPS: groups} if groups else {})}))
    for _ in range(_TRIES):
        past, generation = read_past(store)
        for problem in lost_uses(store, past):
            raise DamagedError(problem)
        texts = read_texts(store, past)
        hashes = text_hashes(test.predictions, texts)
        made = with_known_uses(store, past, texts, test.test_fingerprint, hashes)
        owners = owners_of(hashes, made, texts)
        mine = [one for one in made if _is_same(one, test.test_fingerprint, identity, owners)]
        if not mine:
            numbers = numbers_of(made)
            lineages = choose_lineages(hashes, owners, test.truth(), numbers, alpha)
            number = 1 + max((numbers[one] for one in lineages), default=0)
            mine = [Past(identity, test.test_fingerprint, lineages or [new_lineage(made)], number, "", now())]
            rows = np.isin(owners, [0, *lineages]).all(1)
            mine[0] = with_texts(mine[0], hashes[rows][owners[rows] == 0], texts)
            made.append(mine[0])
        try:
            if made != past:
                write_past(store, made, texts, generation)
        except ConflictError:
            continue  # somebody else used it at the same time, or our reply was lost: look again
        return _use(mine[0], alpha, hashes, made, texts)
    raise ConflictError(f"{store.describe(NAME)} kept changing while its uses were counted; run the step again.")


def _is_same(one: Past, fingerprint: str, identity: Mapping[str, Any], owners: np.ndarray) -> bool:
    """Whether a decision is the one that a comparison asks for again.

    Then every row that may have decided did so: one whose text or group is not known is another piece of evidence.
    """
    import numpy as np

    asked = {key: value for key, value in identity.items() if key != _GROUPS or key in one.identity}
    known = {key: value for key, value in one.identity.items() if key != _GENERATION}
    if (one.test_fingerprint, known) != (fingerprint, asked):
        return False
    return bool((np.isin(owners, one.lineages) | ~np.isin(owners, [0, *one.lineages]).all(1, keepdims=True)).all())


def read_past(store: Store) -> tuple[list[Past], Generation]:
    """All decisions so far, oldest first, and the generation of their record; [] and 0 where there is none.

    Raises:
        DamagedError: The record is damaged, or gone while files beside it are there.
    """
    try:
        return load(store, NAME, _read_past)
    except NotFoundError:
        if not store.list(TEXTS, checksums=False):
            return [], 0
    with suppress(NotFoundError):  # else another comparison just made it
        return load(store, NAME, _read_past)
    raise DamagedError(
        f"{store.describe(NAME)} is lost: the texts of decisions are beside it. Restore it from a backup, or run "
        f"`{repair_command(store)}`."
    )


def _read_past(fields: dict[str, Any]) -> list[Past]:
    require(fields, ["decisions"])
    check_types(fields, {"decisions": list[dict[str, Any]]})
    past = [build(Past, one) for one in fields["decisions"]]
    if not all(one.lineages for one in past):
        raise ValueError("a decision names no lineage")
    return past


def write_past(store: Store, past: list[Past], texts: Mapping[str, np.ndarray], generation: Generation) -> None:
    """Write the record, and before it the files that it names.

    Raises:
        ConflictError: The record has another generation.
    """
    if not generation:  # so that files without a record are damage, also where we are killed now
        generation = store.write(NAME, dump({"decisions": []}), if_generation=0)
    there = {entry.name for entry in store.list(TEXTS, checksums=False)}
    for name in sorted({one.texts for one in past if one.texts and TEXTS + one.texts not in there}):
        with suppress(ConflictError):  # it is named by what it holds
            store.write(TEXTS + name, texts[name].astype("<u8").tobytes(), if_generation=0)
    store.write(NAME, dump({"decisions": [asdict(one) for one in past]}), if_generation=generation)


def read_uses(store: Store, test_fingerprint: str) -> list[Mapping[str, Any]]:
    """The uses of a test set that an older version of this package counted."""
    try:
        return load(store, f"test_sets/{test_fingerprint}.json", _read_uses)[0]
    except NotFoundError:
        return []


def _read_uses(fields: dict[str, Any]) -> list[Mapping[str, Any]]:
    require(fields, ["uses"])
    check_types(fields, {"uses": list[dict[str, Any]]})
    return list(fields["uses"])


def read_texts(store: Store, past: list[Past]) -> dict[str, np.ndarray]:
    """The hashes of the texts of decisions by the name of their file, uint64.

    Raises:
        DamagedError: A file is missing, or was changed.
    """
    names = [one.texts for one in past if one.texts]
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(names, pool.map(lambda name: read_text_file(store, name), names), strict=True))


def read_text_file(store: Store, name: str) -> np.ndarray:
    """The hashes in one file, uint64; DamagedError if it is missing, or was changed."""
    import numpy as np

    try:
        data = store.read(TEXTS + name).data
    except NotFoundError:
        data = None
    if data is not None and name.endswith(f"-{_digest(data)}.bin"):
        return np.frombuffer(data, "<u8").astype(np.uint64)
    what = "is missing" if data is None else "was changed since it was stored"
    raise DamagedError(
        f"{store.describe(TEXTS + name)} {what}: it says which texts have decided. Restore it from a backup, or run "
        f"`{repair_command(store)}`."
    )


def text_hashes(predictions: pa.Table | None, known: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
    """Numbers for the text of each row, and for its group where groups are the evidence.

    The text of a row without a group is its group.

    Args:
        predictions: Of an evaluation; None for none.
        known: The hashes of texts that have decided, by file. A text of which an older version recorded the id has
            that hash.

    Returns:
        uint64 [rows, 1 or 2], equal where the texts are, or the groups.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from kfp_bert_components.data.ids import PAIR_MARK, hash_texts
    from kfp_bert_components.evaluation.records import CLUSTER, without_value
    from kfp_bert_components.evaluation.text_keys import key_column

    if predictions is None:
        return np.zeros((0, 1), np.uint64)
    keys, ids = (
        hash_texts(predictions[name].cast(pa.string()).combine_chunks()) for name in (key_column(predictions), "id")
    )
    found = [_as_recorded(keys, ids, np.concatenate([np.empty(0, np.uint64), *(known or {}).values()]))]
    if CLUSTER in predictions.column_names:
        values = pc.fill_null(predictions[CLUSTER].cast(pa.string()), "")
        groups = hash_texts(pc.binary_join_element_wise(CLUSTER, values, PAIR_MARK).combine_chunks())
        found.append(np.where(without_value(predictions[CLUSTER]), found[0], groups))
    return np.stack(found, 1)


def _as_recorded(keys: np.ndarray, ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The keys, but for each text of which a row's id is known that id instead."""
    import numpy as np

    old = np.flatnonzero(np.isin(ids, known) & ~np.isin(keys, known))
    texts, first = np.unique(keys[old], return_index=True)
    if not len(texts):
        return keys
    place = np.minimum(np.searchsorted(texts, keys), len(texts) - 1)
    return np.where(texts[place] == keys, ids[old[first]][place], keys)


def owners_of(hashes: np.ndarray, past: list[Past], texts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The lineage that each hash belongs to, 0 where none, int of their shape."""
    import numpy as np

    files = [(one.lineages[0], texts[one.texts]) for one in reversed(past) if one.texts]
    if not files:
        return np.zeros(hashes.shape, np.int64)
    # A text that two files hold, which happens only after a repair, belongs to the oldest decision: the last one here.
    keys = np.concatenate([file for _, file in files])
    order = np.argsort(keys, kind="stable")
    lineages = np.repeat([lineage for lineage, _ in files], [len(file) for _, file in files])[order]
    place = np.searchsorted(keys[order], hashes, side="right") - 1
    return np.where((place >= 0) & (keys[order][place] == hashes), lineages[place], 0)


def numbers_of(past: list[Past]) -> dict[int, int]:
    """The number of the last use of each lineage."""
    found: dict[int, int] = {}
    for one in past:
        for lineage in one.lineages:
            found[lineage] = max(one.number, found.get(lineage, 0))
    return found


def new_lineage(past: list[Past]) -> int:
    """The number of the next lineage."""
    return 1 + max(numbers_of(past), default=0)


def with_texts(one: Past, hashes: np.ndarray, texts: dict[str, np.ndarray]) -> Past:
    """A decision with its new texts, whose file is put among `texts`; its name says whose they are."""
    import numpy as np

    found = np.unique(hashes)
    if not len(found):
        return one
    name = f"{one.lineages[0]}-{one.number}-{_digest(found.astype('<u8').tobytes())}.bin"
    texts[name] = found
    return replace(one, texts=name)


def with_known_uses(
    store: Store, past: list[Past], texts: dict[str, np.ndarray], fingerprint: str, hashes: np.ndarray
) -> list[Past]:
    """The decisions, with those on a test set of this fingerprint of which only the fingerprint was kept.

    Such are the uses that an older version counted, and decisions that were rebuilt without their texts.
    """
    import numpy as np

    owners = owners_of(hashes, past, texts)
    fresh = hashes[(owners == 0).all(1)].ravel()
    same = [one for one in past if one.test_fingerprint == fingerprint]
    if same and len(fresh):
        last = max(same, key=lambda one: one.number)
        return [*past, with_texts(replace(last, identity={}, texts=""), fresh, texts)]
    if same or not (uses := read_uses(store, fingerprint)):
        return [*past]
    lineages = [new_lineage(past), *(one for one in np.unique(owners).tolist() if one)]
    old = [Past(identity, fingerprint, lineages, number) for number, identity in enumerate(uses, 1)]
    return [*past, with_texts(old[0], fresh, texts), *old[1:]]


def _use(
    one: Past, alpha: float, hashes: np.ndarray, past: list[Past], texts: Mapping[str, np.ndarray]
) -> tuple[Use, np.ndarray]:
    """What a decision may spend, and which rows it rests on, bool [rows]."""
    import numpy as np

    rows = np.asarray(np.isin(owners_of(hashes, past, texts), one.lineages).all(1))
    fresh = int(np.isin(hashes, texts[one.texts]).all(1).sum()) if one.texts and one.at else 0
    use = Use(
        number=one.number,
        alpha=spend(one.number, alpha),
        left=alpha / (one.number + 1),
        counted=True,
        lineage=one.lineages[0],
        rows=int(rows.sum()),
        fresh=fresh,
        left_out=int((~rows).sum()),
    )
    return use, rows


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
