"""What an InferenceService was before a rollout, what the rollout wrote into it, and what others changed meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.kserve.merging import over, owned, put_back, touched
from kfp_bert_components.kserve.objects import (
    MODE,
    STOP,
    check_runs,
    has,
    kept,
    with_percent,
    with_values,
    without_values,
)
from kfp_bert_components.kserve.services import Services
from kfp_bert_components.kubernetes_api import MANAGER

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Journal


class Before:
    """What is needed to go back.

    Values of environment variables can be secret, so they are in no record. Where there are some, the InferenceService
    is copied into another one, `NAME-before`, that is stopped and has no pods. It is deleted when the rollout ends.

    Facts: `before` (what was there, without those values; None where there was none), `gave` (what of it this package
    had set, which goes where it is not set again), `copied` (whether `NAME-before` has the values), `uid` (of the
    InferenceService), and `wrote` (what the rollout writes, once for each of the settings that its runs had, the newest
    last: one of them is there, as a write can be noted and not be made; None before that).

    Args:
        services: The InferenceServices.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._copy = services.copy
        self._done: tuple[Any, ...] = ()  # the rollout that has written, as this run knows

    def note(self, journal: Journal, found: dict[str, Any] | None, **facts: Any) -> None:
        """Note what is there, before anything is written."""
        before = kept(found) if found else None
        shown = without_values(before)
        if before and shown != before:
            self._keep(journal, before)
        uid = found["metadata"]["uid"] if found else ""
        known = {"before": shown, "gave": _given(found, shown), "copied": shown != before, "uid": uid}
        journal.note(**{"wrote": None, **known, **facts})

    def write(
        self,
        journal: Journal,
        found: dict[str, Any] | None,
        wanted: dict[str, Any],
        percent: int | None = None,
        **facts: Any,
    ) -> None:
        """Write a version into the InferenceService.

        Args:
            journal: The rollout under way.
            found: The InferenceService as it is.
            wanted: As it is to be.
            percent: The share of the requests that the version gets, where it can have one.
            facts: Noted before.

        Raises:
            RolloutError: Somebody else changed, since the rollout began, what would be written, or stopped it.
        """
        self._check(journal, found, wanted)
        known = written(journal)
        if known:
            journal.note(wrote=[*(one for one in known if one != wanted), wanted], **facts)
        elif "wrote" in journal.facts:  # what others changed since, in fields that stay, was there before
            self.note(journal, found, wrote=[wanted], **facts)
        else:
            journal.note(**facts)
        self._services.apply(journal, with_percent(wanted, percent), found)
        self._done = rollout_of(journal)

    def _check(self, journal: Journal, found: dict[str, Any] | None, wanted: dict[str, Any]) -> None:
        facts, name = journal.facts, self._services.name
        if "wrote" not in facts:  # a rollout that an older version of this package began
            return
        # A run that could not write its record may have taken the version back; this one has not.
        known = written(journal)
        before = known[-1] if known and self._done == rollout_of(journal) else facts["before"]
        if bool(before) != bool(found):
            what = "made" if found else "deleted"
            raise RolloutError(f"somebody {what} the InferenceService {name} during the rollout: run again")
        if found:
            check_runs(found)
            refuse_changed(name, touched(before, without_values(kept(found)), [wanted, *known]))

    def was_written(self, journal: Journal) -> bool:
        """Whether the rollout has begun to write; an older version of this package did not note it."""
        return bool("before" in journal.facts and journal.facts.get("wrote", True))

    def full(self, journal: Journal) -> dict[str, Any]:
        """What was there before, with the values of environment variables."""
        before = kept(journal.facts["before"])  # records of older versions of this package may have more
        if not journal.facts.get("copied"):
            return before
        copy = self._services.find(self._copy)
        if copy is None or not has(without_values(copy["spec"]), before["spec"]):
            raise RolloutError(
                f"{self._services.name} can't be made what it was: the values of its environment variables were in the "
                f"InferenceService {self._copy}, which somebody deleted or changed. Write it back by hand."
            )
        return {**before, "spec": with_values(before["spec"], copy["spec"])}

    def back(self, journal: Journal, found: dict[str, Any] | None) -> dict[str, Any]:
        """What is to be written to take back what the rollout wrote; what others changed since stays."""
        before, known = self.full(journal), written(journal)
        if found is None or not known:
            return before
        # Older versions of this package did not note what they gave.
        gave = journal.facts.get("gave", journal.facts["before"])
        merged = with_percent(kept(found), None)
        for one in known:
            merged = put_back(with_percent(before, None), over(gave, one), merged)
        percent = before["spec"]["predictor"].get("canaryTrafficPercent")
        return with_percent(merged, percent)

    def forget(self, journal: Journal, *, back: bool = False) -> None:
        """Remove the copy.

        Args:
            journal: The rollout under way.
            back: Whether all that was written is taken back; another run would look for the copy in vain.
        """
        if journal.facts.get("copied"):
            if back:
                journal.note(wrote=None)
            self._services.remove_ours(journal, self._copy)

    def _keep(self, journal: Journal, before: dict[str, Any]) -> None:
        services = self._services
        mode = {key: value for key, value in before["metadata"].get("annotations", {}).items() if key == MODE}
        metadata = {**before["metadata"], "name": self._copy, "labels": services.owner}
        copy = {**before, "metadata": {**metadata, "annotations": {**mode, STOP: "true"}}}
        found = services.wait_until_gone(journal, self._copy)
        if found and not has(found["spec"], copy["spec"]):
            services.remove(journal, self._copy)
            found = services.wait_until_gone(journal, self._copy)
        if not found:
            services.apply(journal, copy, None)


def _given(found: dict[str, Any] | None, shown: dict[str, Any] | None) -> dict[str, Any]:
    """What this package has set of the fields of an InferenceService."""
    entries = found["metadata"].get("managedFields") or () if found else ()
    fields = [one["fieldsV1"] for one in entries if (one["manager"], one["operation"]) == (MANAGER, "Apply")]
    return dict(owned(shown, fields[0])) if fields and shown else {}


def written(journal: Journal) -> list[dict[str, Any]]:
    """What the rollout may have written into the InferenceService, the newest last."""
    wrote = journal.facts.get("wrote") or []
    return wrote if isinstance(wrote, list) else [wrote]  # older versions of this package noted the newest only


def refuse_changed(name: str, fields: list[str]) -> None:
    """RolloutError where somebody changed these fields of an InferenceService."""
    if fields:
        raise RolloutError(
            f"somebody changed the InferenceService {name} during the rollout ({', '.join(fields)}): run again where "
            "the settings are to replace that"
        )


def rollout_of(journal: Journal) -> tuple[Any, ...]:
    """Which rollout is under way: its version, and which attempt it is."""
    return (journal.version, journal.facts.get("attempt"))
