"""Promotion: store a version whole, then move the champion pointer by compare-and-swap.

The order of writes makes every moment a safe one to be killed in:

1. promotions/<decision>.json   the number that we want, so that the same run, started again, finds it
2. versions/<n>/claim.json      the number is ours (created if it does not exist, else renewed)
3. versions/<n>/...             the files, each created only if it does not exist
4. versions/<n>/version.json    the version is complete, and visible from now on
5. champion.json                if its generation is the one that the comparison saw
6. versions/<n>/claim.json      the version is champion, if gc did not take the claim

gc marks a claim before it removes anything, and looks at the pointer before it removes the rest. So a promotion that
finds its claim unmarked after step 5 knows that nothing is missing; one that finds it marked stores the version again
under another number.
"""

from __future__ import annotations

import shlex
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from kfp_bert_components import __version__
from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.gate import Decision
from kfp_bert_components.origin import Origin
from kfp_bert_components.progress import say
from kfp_bert_components.registry._card import model_card
from kfp_bert_components.registry._claim import Claim, read_claim
from kfp_bert_components.registry._files import delete_files, describe_files, put_files, removed_name
from kfp_bert_components.registry._inputs import Inputs, read_inputs
from kfp_bert_components.registry._numbers import claim_number, give_up, holds, promoted_number, settle
from kfp_bert_components.registry._read import VERSION_FORMAT, read_champion
from kfp_bert_components.registry._records import Champion, dump, load, stamp
from kfp_bert_components.registry._removal import logged_numbers
from kfp_bert_components.storage import Store

_TRIES = 5


def promote(store: Store, bundle: Path, evaluation: Path, decision: Path, origin: Origin, pin: str = "") -> int:
    """See `Registry.promote`."""
    inputs = read_inputs(bundle, evaluation, decision)
    verdict, identity = inputs.decision, inputs.decision.decision_id
    for _ in range(_TRIES):
        champion = read_champion(store)
        done = _already(champion, identity)
        if champion and done and (done != champion.version or settle(store, done, identity)):
            return done
        if not done and (number := promoted_number(store, identity)):
            _say_what_is_lost(store, number, champion)
            return number
        if not done and (champion.generation if champion else 0) != verdict.champion_generation:
            give_up(store, identity)
            raise _lost(store, champion, verdict)
        if not done and (champion.version if champion else None) != verdict.champion_version:
            raise UserError(
                f"The decision {identity} says that it compared with {_seen(verdict)}, but by its generation it did "
                f"with {f'version {champion.version}' if champion else 'no champion'} of {store.uri}: run "
                "compare_models again."
            )
        try:
            number, claim = claim_number(store, identity, origin)
            _store(store, number, claim, inputs, champion, pin)
            if holds(store, number, identity):
                _swap(store, number, verdict, champion, origin)
                if settle(store, number, identity):
                    return number
            elif read_claim(store, number) is None and store.exists(removed_name(number)):
                delete_files(store, number)  # gc is done with it: what we stored meanwhile is ours to remove
        except ConflictError:
            if not _already(read_champion(store), identity) and not promoted_number(store, identity):
                give_up(store, identity)
                raise
            # else our write with a lost reply, or another attempt
    raise ConflictError(
        f"gc removed this version {_TRIES} times while it was stored in {store.uri}: check the clock of the machine "
        "that runs gc, and run the step again."
    )


def _store(store: Store, number: int, claim: Claim, inputs: Inputs, champion: Champion | None, pin: str) -> None:
    """Put the files and the record of a version into the store, whole."""
    record = _record(number, claim, inputs, champion) | ({"pin": pin} if pin else {})
    with tempfile.TemporaryDirectory() as scratch:
        card = Path(scratch, "README.md")
        card.write_text(model_card(record, inputs.model, inputs.evaluation), encoding="utf-8")
        cards, card_hashes = describe_files({"card": Path(scratch)})
        paths = {**inputs.paths, "README.md": cards["card/README.md"]}
        hashes = {**inputs.hashes, "README.md": card_hashes["card/README.md"]}
        put_files(store, number, paths, hashes)
    _complete(store, number, {**record, "files": hashes}, inputs.decision.decision_id)


def _swap(store: Store, number: int, verdict: Decision, champion: Champion | None, origin: Origin) -> None:
    """Move the pointer; ConflictError if it was moved since the comparison."""
    again = champion and _already(champion, verdict.decision_id)
    event = {
        "event": "promoted",
        "version": number,
        "previous": champion.version if champion else None,
        "decision_id": verdict.decision_id,
        **stamp(origin),
        "reason": f"version {again} was removed while it became champion" if again else verdict.reason,
    }
    log = [*(champion.log if champion else ()), event]
    value = {"version": number, "decision_id": verdict.decision_id, "log": log}
    generation = champion.generation if champion else 0
    try:
        store.write("champion.json", dump(value), if_generation=generation)
    except ConflictError:
        raise _lost(store, read_champion(store), verdict) from None


def _say_what_is_lost(store: Store, number: int, champion: Champion | None) -> None:
    """Tell where the pointer does not know of a promotion."""
    if number not in logged_numbers(champion):
        say(
            f"Warning: version {number} was promoted by this decision before, but {store.describe('champion.json')} "
            f"does not know of it: the file is older. Run `kfp-bert registry verify {shlex.quote(store.uri)}`."
        )


def _already(champion: Champion | None, identity: str) -> int | None:
    """The version that this decision made champion before, if it did."""
    for event in reversed(champion.log if champion else ()):
        if event["event"] == "promoted" and event["decision_id"] == identity:
            return int(event["version"])
    return None


def _complete(store: Store, number: int, record: dict[str, Any], identity: str) -> None:
    name = f"versions/{number}/version.json"
    try:
        store.write(name, dump(record, VERSION_FORMAT), if_generation=0)
    except ConflictError:
        with suppress(NotFoundError):  # gc just removed it: the claim says so
            owner, _ = load(store, name, *[_decision_id] * VERSION_FORMAT)
            if owner != identity:
                raise


def _decision_id(fields: dict[str, Any]) -> Any:
    return fields["decision_id"]


def _lost(store: Store, champion: Champion | None, verdict: Decision) -> ConflictError:
    against = _seen(verdict)
    if champion is None:
        return ConflictError(
            f"The registry {store.uri} has no champion, but the decision compared with {against}: "
            "check that it is the same registry, and run the pipeline again."
        )
    last = champion.log[-1]
    return ConflictError(
        f"Version {champion.version} became champion first ({last['event']} at {last['at']} by {last['by']}, "
        f"decision {last['decision_id']}), while this model was compared with {against}: run the whole "
        "pipeline again. What has not changed, the trained model too, is taken from the cache, and about a minute "
        "later it is compared with the new champion. A retry of this step alone keeps to the old comparison."
    )


def _seen(verdict: Decision) -> str:
    return f"version {verdict.champion_version}" if verdict.champion_version is not None else "no champion"


def _record(number: int, claim: Claim, inputs: Inputs, champion: Champion | None) -> dict[str, Any]:
    verdict = inputs.decision
    compared = champion is not None and champion.generation == verdict.champion_generation
    # When, by whom and where comes from the claim, so that every attempt at this promotion writes the same bytes.
    return {
        "version": number,
        "at": claim.at,
        "by": claim.by,
        "decision_id": verdict.decision_id,
        "parent": champion.version if champion and compared else verdict.champion_version,
        "data_fingerprint": inputs.model.get("data_fingerprint", ""),
        "bundle_fingerprint": inputs.model["fingerprint"],
        "parameters": inputs.model.get("parameters", {}),
        "package_version": __version__,
        "metrics": inputs.evaluation.metrics,
        "base_model": inputs.model.get("base_model") or "",
        "reason": verdict.reason,
        "origin": claim.origin,
        "data": inputs.fetched,
    }
