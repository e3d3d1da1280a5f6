"""KServe's deployment modes: which one an InferenceService is in, and what a rollout does in a mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from kfp_bert_components.deployment import ForeignOwnerError, RolloutError, SmokeSettings
from kfp_bert_components.deployment.states import FINISHING
from kfp_bert_components.kserve.before import Before
from kfp_bert_components.kserve.objects import MODE, is_version
from kfp_bert_components.kserve.services import Services

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Journal
    from kfp_bert_components.kserve.witnesses import Seen

STANDARD, KNATIVE = "Standard", "Knative"
CANARY = "Canary"  # what a record calls the mode Standard where spec.canary and a gateway share the requests
_STEPS = (10, 50, 100)
_OLDER = {"RawDeployment": STANDARD, "Serverless": KNATIVE}  # names of the same


class Mode(ABC):
    """What a rollout does in one of the modes. Its methods are those of `Target`, with the same promises.

    Args:
        services: The InferenceServices.

    Attributes:
        name: What a deployment record calls it.
        of_kserve: What KServe calls it.
    """

    name: ClassVar[str]
    of_kserve: ClassVar[str]

    def __init__(self, services: Services) -> None:
        self.services = services
        self.before = Before(services)

    @abstractmethod
    def admit(self, found: dict[str, Any] | None, *, begun: bool = False) -> None:
        """RolloutError where the cluster, the settings or the InferenceService do not allow this mode.

        Args:
            found: The InferenceService; None where there is none.
            begun: Whether a rollout is under way.
        """

    @abstractmethod
    def wanted(self, version: int) -> dict[str, Any]:
        """The InferenceService as it is when a version serves."""

    @abstractmethod
    def plan(self, version: int) -> str:
        """What would be done before the InferenceService is `wanted`, in a sentence."""

    @abstractmethod
    def facts(self, found: dict[str, Any] | None, version: int) -> dict[str, Any]:
        """What this mode must know later of the InferenceService as it is before a rollout."""

    @abstractmethod
    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether all requests get a version. At most one look at the InferenceService, one more call, one request."""

    @abstractmethod
    def serves(self, version: int, facts: dict[str, Any]) -> bool:
        """As `is_live`, as the rollout with these facts left it, whatever the settings are now."""

    @abstractmethod
    def prepare(self, journal: Journal) -> None:
        """Remove what an earlier rollout left."""

    @abstractmethod
    def introduce(self, journal: Journal) -> None:
        """Start the version where it gets no requests, and wait until it serves."""

    @abstractmethod
    def test(self, journal: Journal) -> None:
        """Ask it for texts of the test split."""

    @abstractmethod
    def shift(self, journal: Journal) -> None:
        """Let it get all requests, look whether it does, and ask it again."""

    @abstractmethod
    def finish(self, journal: Journal) -> None:
        """Remove what only the rollout needed."""

    def after(self, journal: Journal, found: dict[str, Any] | None) -> dict[str, Any] | None:
        """The InferenceService as the end of the rollout, which is finished or taken back, leaves it. One look at most.

        Args:
            journal: Of the rollout.
            found: The InferenceService as it is; None where there is none.
        """
        if not found or journal.state == FINISHING or not self.before.was_written(journal):
            return found
        if journal.facts["before"] is None:
            return found if self._is_anothers(journal, found) else None
        back = self.before.back(journal, found)
        return {**found, "metadata": {**found["metadata"], **back["metadata"]}, "spec": back["spec"]}

    def revert(self, journal: Journal) -> None:
        """Let what served before get all requests, and take back what the rollout wrote."""
        services = self.services
        try:
            if self.before.was_written(journal):
                services.look_again(journal, partial(self._take_back, journal))
        except ForeignOwnerError as error:
            services.report(f"{services.name} is left alone: {error}")
        self.before.forget(journal, back=True)

    def _take_back(self, journal: Journal) -> None:
        if journal.facts["before"] is None:
            self._remove_first(journal)
        else:
            self.write_back(journal)

    def _remove_first(self, journal: Journal) -> None:
        """Delete what a first version was written into; one that has another version by now is not the rollout's."""
        services = self.services
        found = services.find(services.name)
        if found and self._is_anothers(journal, found):
            services.report(
                f"the InferenceService {services.name} has not the version {journal.version} that this rollout wrote: "
                "it is left alone"
            )
            return
        services.remove_ours(journal, services.name)

    def _is_anothers(self, journal: Journal, found: dict[str, Any]) -> bool:
        """Whether an InferenceService of ours has not the version that the rollout wrote."""
        written = is_version(found, journal.version, journal.facts["fingerprint"])
        return self.services.is_ours(found) and not written

    def steps(self) -> tuple[int, ...]:
        """The shares of the requests, in percent, that a version gets one after the other."""
        return self.services.settings.traffic_steps or _STEPS

    def raise_share(
        self, journal: Journal, share: int, give: Callable[[int, int], bool], wait: Callable[[int], Seen]
    ) -> SmokeSettings:
        """Raise the share of a version step by step to 100 percent.

        It is asked for `bake_seconds` before it has all: until then the old version keeps its pods.

        Args:
            journal: Of the rollout.
            share: What it has.
            give: Gives it a larger share than it has, and waits until it has it. False ends the steps.
            wait: Waits until it serves with a share.

        Returns:
            What is left of the test.
        """
        services, smoke = self.services, self.services.smoke
        for percent in self.steps():
            if percent <= share:
                continue
            if percent == 100 and smoke.bake_seconds:
                services.ask(journal, wait(share).url, smoke)
                smoke = replace(smoke, bake_seconds=0.0)
            if not give(share, percent):
                break
            share = percent
            services.report(f"version {journal.version} gets {percent} % of the requests")
            services.pause(journal, services.settings.step_seconds if percent < 100 else 0.0)
        return smoke

    @abstractmethod
    def write_back(self, journal: Journal) -> None:
        """Make the InferenceService what it was before, also where it can be written and not be read."""


def mode_of(found: dict[str, Any]) -> str:
    """The mode that KServe put an InferenceService into; "" where neither it nor anybody said so yet."""
    said = found.get("status", {}).get("deploymentMode") or found["metadata"].get("annotations", {}).get(MODE, "")
    return _OLDER.get(said, said)


def asked_mode(annotations: dict[str, str]) -> str:
    """The mode that annotations ask for; "" where they do not say it."""
    said = annotations.get(MODE, "")
    return _OLDER.get(said, said)


def check_known(name: str, mode: str) -> None:
    """RolloutError where an InferenceService is, or would be, in a mode in which this package does not deploy."""
    if mode not in ("", STANDARD, KNATIVE):
        raise RolloutError(
            f"The InferenceService {name} is in KServe's mode {mode}: this package deploys in {STANDARD} and "
            f"{KNATIVE}. Give annotations={{'{MODE}': '{STANDARD}'}} and a name that is new."
        )


def check_same(name: str, mode: str, begun: str) -> None:
    """RolloutError where an InferenceService is in another mode than the one in which its rollout began."""
    if mode not in ("", begun):
        raise RolloutError(
            f"The InferenceService {name} is in KServe's mode {mode}, and its rollout began in {begun}: somebody made "
            "it anew. Delete it and run again, or give another name."
        )


def check_asked(name: str, mode: str, asked: str) -> None:
    """RolloutError where the annotations ask for another mode than the one that an InferenceService is in."""
    if mode and asked not in ("", mode):
        raise RolloutError(
            f"The InferenceService {name} is in KServe's mode {mode}, and annotations ask for {asked}: KServe does not "
            f"change the mode. Leave {MODE} out of annotations, or give a name that is new."
        )
