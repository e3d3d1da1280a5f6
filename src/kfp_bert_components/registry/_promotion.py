"""Promotion: store a version whole, then move the champion pointer by compare-and-swap.

The order of writes makes every moment a safe one to be killed in:

1. promotions/<decision>.json   the number that we want, so that the same run, started again, finds it
2. versions/<n>/claim.json      the number is ours (created only if it does not exist)
3. versions/<n>/...             the files, each created only if it does not exist
4. versions/<n>/version.json    the version is complete, and visible from now on
5. champion.json                if its generation is the one that the comparison saw
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components import __version__
from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.registry._card import model_card
from kfp_bert_components.registry._files import describe_files, memory_name, put_files, remove_version
from kfp_bert_components.registry._records import Champion, author, dump, load, now, parse
from kfp_bert_components.storage import Store

if TYPE_CHECKING:
    from kfp_bert_components.registry._registry import Registry


def promote(registry: Registry, bundle: Path, evaluation: Path, decision: Path) -> int:
    """See `Registry.promote`."""
    model, scores, verdict = _read_inputs(bundle, evaluation, decision)
    identity, expected = str(verdict["decision_id"]), int(verdict["champion_generation"])
    champion = registry.champion()
    if done := _already(champion, identity):
        return done
    if (champion.generation if champion else 0) != expected:
        _clean_up(registry.store, identity)
        raise _lost(registry, champion, verdict)
    number = _claim(registry, identity)
    with tempfile.TemporaryDirectory() as scratch:
        record = _record(registry.store, number, model, scores, verdict, champion)
        card = Path(scratch, "README.md")
        card.write_text(model_card(record, model, scores), encoding="utf-8")
        paths, hashes = describe_files({"bundle": bundle, "evaluation": evaluation, "decision": decision})
        cards, card_hashes = describe_files({"card": Path(scratch)})
        paths["README.md"], hashes["README.md"] = cards["card/README.md"], card_hashes["card/README.md"]
        try:
            put_files(registry.store, number, paths, hashes)
            _complete(registry.store, number, {**record, "files": hashes}, identity)
            return _swap(registry, number, verdict, champion)
        except ConflictError:
            if done := _already(registry.champion(), identity):
                return done  # our own write, whose reply was lost, or a twin of this run
            _clean_up(registry.store, identity)
            raise


def _swap(registry: Registry, number: int, verdict: dict[str, Any], champion: Champion | None) -> int:
    """Move the pointer; ConflictError if it was moved since the comparison."""
    event = {
        "event": "promoted",
        "version": number,
        "previous": champion.version if champion else None,
        "decision_id": verdict["decision_id"],
        "at": now(),
        "by": author(),
        "reason": verdict.get("reason", ""),
    }
    log = [*(champion.log if champion else ()), event]
    value = {"version": number, "decision_id": verdict["decision_id"], "log": log}
    try:
        registry.store.write("champion.json", dump(value), if_generation=int(verdict["champion_generation"]))
    except ConflictError:
        raise _lost(registry, registry.champion(), verdict) from None
    return number


def _already(champion: Champion | None, identity: str) -> int | None:
    """The version that this decision made champion before, if it did."""
    for event in champion.log if champion else ():
        if event["event"] == "promoted" and event["decision_id"] == identity:
            return int(event["version"])
    return None


def _claim(registry: Registry, identity: str) -> int:
    """A version number that no other run uses; the same one again for the same decision.

    The number is written down before it is claimed, so that a run killed in between finds it again.
    """
    store, memory = registry.store, memory_name(identity)
    while True:
        number, generation = _remembered(store, identity)
        if number == 0:
            number = _unused(registry)
            try:
                store.write(memory, _intention(identity, number), if_generation=0)
            except ConflictError:  # a lost reply, or a twin of this run
                continue
        try:
            claim = dump({"decision_id": identity, "at": now(), "by": author()})
            store.write(f"versions/{number}/claim.json", claim, if_generation=0)
            return number
        except ConflictError:
            if _owner(store, number) == identity:
                return number
        with contextlib.suppress(ConflictError):
            number = max(number + 1, _unused(registry))
            store.write(memory, _intention(identity, number), if_generation=generation or None)


def _remembered(store: Store, identity: str) -> tuple[int, int]:
    """The number that this decision wants, 0 if none yet, and the generation of that memory."""
    try:
        value, generation = load(store, memory_name(identity))
    except NotFoundError:
        return 0, 0
    return int(value["version"]), generation


def _intention(identity: str, number: int) -> bytes:
    return dump({"decision_id": identity, "version": number, "at": now()})


def _unused(registry: Registry) -> int:
    champion = registry.champion()
    once = [int(event["version"]) for event in (champion.log if champion else ())]
    return max([*registry.numbers(), *once], default=0) + 1


def _owner(store: Store, number: int) -> str:
    """The decision that has claimed a number, "" if none has."""
    try:
        return str(load(store, f"versions/{number}/claim.json")[0]["decision_id"])
    except NotFoundError:
        return ""


def _complete(store: Store, number: int, record: dict[str, Any], identity: str) -> None:
    name = f"versions/{number}/version.json"
    try:
        store.write(name, dump(record), if_generation=0)
    except ConflictError:
        if load(store, name)[0]["decision_id"] != identity:
            raise


def _clean_up(store: Store, identity: str) -> None:
    """Take away what a run that lost the race has stored; what fails here is left to gc."""
    with contextlib.suppress(UserError):
        number, _ = _remembered(store, identity)
        if number and _owner(store, number) == identity:
            remove_version(store, number)
        if number:
            store.delete(memory_name(identity))


def _lost(registry: Registry, champion: Champion | None, verdict: dict[str, Any]) -> ConflictError:
    seen = verdict.get("champion_version")
    against = f"version {seen}" if seen is not None else "no champion"
    if champion is None:
        return ConflictError(
            f"The registry {registry.uri} has no champion, but the decision compared with {against}: "
            "check that it is the same registry, and run the pipeline again."
        )
    last = champion.log[-1]
    return ConflictError(
        f"Version {champion.version} became champion first ({last['event']} at {last['at']} by {last['by']}, "
        f"decision {last['decision_id']}), while this model was compared with {against}: run the pipeline "
        "again to compare it with the new champion."
    )


def _record(
    store: Store,
    number: int,
    model: dict[str, Any],
    scores: dict[str, Any],
    verdict: dict[str, Any],
    champion: Champion | None,
) -> dict[str, Any]:
    # When and by whom comes from the claim, so that a run started again, or a twin, writes the same bytes.
    claim, _ = load(store, f"versions/{number}/claim.json")
    return {
        "version": number,
        "at": claim["at"],
        "by": claim["by"],
        "decision_id": str(verdict["decision_id"]),
        "parent": champion.version if champion else None,
        "data_fingerprint": model.get("data_fingerprint", ""),
        "bundle_fingerprint": model["fingerprint"],
        "parameters": model.get("parameters", {}),
        "package_version": __version__,
        "metrics": scores.get("metrics", {}),
        "base_model": model.get("base_model") or "",
        "reason": verdict.get("reason", ""),
    }


def _read_inputs(bundle: Path, evaluation: Path, decision: Path) -> tuple[dict[str, Any], ...]:
    """bundle.json, evaluation.json and decision.json, checked to belong together."""
    values = []
    for folder, name in (
        (bundle, "bundle.json"),
        (evaluation, "evaluation.json"),
        (decision, "decision.json"),
    ):
        path = folder / name
        if not path.is_file():
            raise NotFoundError(f"{folder} holds no {name}: give the folder that the step before wrote.")
        values.append(parse(path.read_bytes(), str(path)))
    model, scores, verdict = values
    if verdict["outcome"] != "PROMOTE":
        raise UserError(
            f"The decision in {decision} is {verdict['outcome']}, not PROMOTE: {verdict['reason']}"
        )
    if verdict["candidate_fingerprint"] != model["fingerprint"]:
        raise UserError(
            f"The decision in {decision} is about another model than the one in {bundle}: give the model "
            "that was compared."
        )
    if verdict.get("test_fingerprint", "") != scores.get("test_fingerprint", ""):
        raise UserError(
            f"The decision in {decision} was made on another test set than the evaluation in {evaluation}: "
            "give the evaluation that was compared."
        )
    return model, scores, verdict
