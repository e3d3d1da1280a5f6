"""Promotion: store a version whole, then move the champion pointer by compare-and-swap.

The order of writes makes every moment a safe one to be killed in:

1. promotions/<decision>.json   the number that we want, so that the same run, started again, finds it
2. versions/<n>/claim.json      the number is ours (created only if it does not exist)
3. versions/<n>/...             the files, each created only if it does not exist
4. versions/<n>/version.json    the version is complete, and visible from now on
5. champion.json                if its generation is the one that the comparison saw
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from kfp_bert_components import __version__
from kfp_bert_components.errors import ConflictError
from kfp_bert_components.gate import Decision
from kfp_bert_components.registry._card import model_card
from kfp_bert_components.registry._claim import claim_number, give_up
from kfp_bert_components.registry._files import describe_files, put_files
from kfp_bert_components.registry._inputs import Inputs, read_inputs
from kfp_bert_components.registry._read import read_champion
from kfp_bert_components.registry._records import Champion, author, dump, load, now
from kfp_bert_components.storage import Store


def promote(store: Store, bundle: Path, evaluation: Path, decision: Path) -> int:
    """See `Registry.promote`."""
    inputs = read_inputs(bundle, evaluation, decision)
    verdict, identity = inputs.decision, inputs.decision.decision_id
    champion = read_champion(store)
    if done := _already(champion, identity):
        return done
    if (champion.generation if champion else 0) != verdict.champion_generation:
        give_up(store, identity)
        raise _lost(store, champion, verdict)
    number = claim_number(store, identity)
    with tempfile.TemporaryDirectory() as scratch:
        record = _record(store, number, inputs, champion)
        card = Path(scratch, "README.md")
        card.write_text(model_card(record, inputs.model, inputs.evaluation), encoding="utf-8")
        paths, hashes = describe_files({"bundle": bundle, "evaluation": evaluation, "decision": decision})
        cards, card_hashes = describe_files({"card": Path(scratch)})
        paths["README.md"], hashes["README.md"] = cards["card/README.md"], card_hashes["card/README.md"]
        try:
            put_files(store, number, paths, hashes)
            _complete(store, number, {**record, "files": hashes}, identity)
            return _swap(store, number, verdict, champion)
        except ConflictError:
            if done := _already(read_champion(store), identity):
                return done  # our own write, whose reply was lost, or another attempt at this promotion
            give_up(store, identity)
            raise


def _swap(store: Store, number: int, verdict: Decision, champion: Champion | None) -> int:
    """Move the pointer; ConflictError if it was moved since the comparison."""
    event = {
        "event": "promoted",
        "version": number,
        "previous": champion.version if champion else None,
        "decision_id": verdict.decision_id,
        "at": now(),
        "by": author(),
        "reason": verdict.reason,
    }
    log = [*(champion.log if champion else ()), event]
    value = {"version": number, "decision_id": verdict.decision_id, "log": log}
    try:
        store.write("champion.json", dump(value), if_generation=verdict.champion_generation)
    except ConflictError:
        raise _lost(store, read_champion(store), verdict) from None
    return number


def _already(champion: Champion | None, identity: str) -> int | None:
    """The version that this decision made champion before, if it did."""
    for event in champion.log if champion else ():
        if event["event"] == "promoted" and event["decision_id"] == identity:
            return int(event["version"])
    return None


def _complete(store: Store, number: int, record: dict[str, Any], identity: str) -> None:
    name = f"versions/{number}/version.json"
    try:
        store.write(name, dump(record), if_generation=0)
    except ConflictError:
        owner, _ = load(store, name, lambda fields: fields["decision_id"])
        if owner != identity:
            raise


def _lost(store: Store, champion: Champion | None, verdict: Decision) -> ConflictError:
    seen = verdict.champion_version
    against = f"version {seen}" if seen is not None else "no champion"
    if champion is None:
        return ConflictError(
            f"The registry {store.uri} has no champion, but the decision compared with {against}: "
            "check that it is the same registry, and run the pipeline again."
        )
    last = champion.log[-1]
    return ConflictError(
        f"Version {champion.version} became champion first ({last['event']} at {last['at']} by {last['by']}, "
        f"decision {last['decision_id']}), while this model was compared with {against}: run the pipeline "
        "again to compare it with the new champion."
    )


def _record(store: Store, number: int, inputs: Inputs, champion: Champion | None) -> dict[str, Any]:
    # When and by whom comes from the claim, so that every attempt at this promotion writes the same bytes.
    claim, _ = load(store, f"versions/{number}/claim.json", dict)
    return {
        "version": number,
        "at": claim["at"],
        "by": claim["by"],
        "decision_id": inputs.decision.decision_id,
        "parent": champion.version if champion else None,
        "data_fingerprint": inputs.model.get("data_fingerprint", ""),
        "bundle_fingerprint": inputs.model["fingerprint"],
        "parameters": inputs.model.get("parameters", {}),
        "package_version": __version__,
        "metrics": inputs.evaluation.metrics,
        "base_model": inputs.model.get("base_model") or "",
        "reason": inputs.decision.reason,
    }
