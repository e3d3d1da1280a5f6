"""KServe's mode Standard: an InferenceService is a Deployment, whose pods Kubernetes replaces one by one."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment import LeaseLostError, RolloutError, SmokeSettings
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.kserve.gateway import is_installed
from kfp_bert_components.kserve.modes import STANDARD, Mode, check_same, mode_of
from kfp_bert_components.kserve.objects import check_runs, is_same, is_version, kept
from kfp_bert_components.kserve.reasons import failure_of
from kfp_bert_components.kserve.services import Services
from kfp_bert_components.kserve.witnesses import Seen, Witnesses, revision_of, shares_requests

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Journal


class Standard(Mode):
    """A version is first served by a second InferenceService beside the first, which gets the test's requests only.

    Then the first one is changed, and Kubernetes rolls its pods: a new one begins to answer before an old one ends.

    Facts: `revision`, the ReplicaSet that the status named before it was changed, and `served`, the one of its pods.
    """

    name = of_kserve = STANDARD

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.witnesses = Witnesses(services.cluster)

    def admit(self, found: dict[str, Any] | None, *, begun: bool = False) -> None:
        """RolloutError where settings are given that do nothing here, or somebody else moves the requests."""
        settings = self.services.settings
        # A first version gets all requests at once; the next one can get them in steps where there is a gateway.
        steps = settings.traffic_steps or settings.step_seconds
        if steps and ((found and not begun) or not is_installed(self.services.cluster)):
            raise RolloutError(
                f"traffic_steps and step_seconds are for KServe's mode Knative, and for {STANDARD} where spec.canary "
                f"and an HTTPRoute of the Gateway API share the requests, which is not so for {settings.name}: leave "
                "them out."
            )
        self.check_canaries(found, begun=begun)

    def check_canaries(self, found: dict[str, Any] | None, *, begun: bool) -> None:
        """RolloutError where somebody gave an InferenceService canaries."""
        if found and not begun and shares_requests(found):
            raise RolloutError(
                f"The InferenceService {self.services.name} has spec.canary, so somebody shares its requests between "
                "its predictor and canaries: remove the field."
            )

    def wanted(self, version: int) -> dict[str, Any]:
        """The first InferenceService."""
        return self.services.main(version)

    def plan(self, version: int) -> str:
        """That there would be a second InferenceService."""
        return f"would test version {version} in an InferenceService of its own, and then change this:"

    def facts(self, found: dict[str, Any] | None, version: int) -> dict[str, Any]:
        """The ReplicaSet, where the status will name another one."""
        rolls = found and not is_same(found, _of_pods(self.wanted(version)))
        return {"revision": revision_of(found.get("status", {})) if found and rolls else ""}

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the Deployment, or the status, and the server at the address say so."""
        before = facts.get("revision", "")
        return self.witnesses.look(self.wanted(version), facts["fingerprint"], before, brief=True).serves

    def serves(self, version: int, facts: dict[str, Any]) -> bool:
        """As `is_live`, with whatever settings the version was written."""
        found = self.services.find(self.services.name)
        if not found or not is_version(found, version, facts["fingerprint"]):
            return False
        return self.witnesses.look(kept(found), facts["fingerprint"], facts.get("revision", ""), brief=True).serves

    def prepare(self, journal: Journal) -> None:
        """Remove the second InferenceService, where it is another version's."""
        wanted, found = self.services.second(journal.version), self.services.find(self.services.next)
        if found and not is_same(found, wanted):
            self.services.remove(journal, self.services.next)
        self.services.wait_until_gone(journal, self.services.next)

    def introduce(self, journal: Journal) -> None:
        """Start the version in the second InferenceService, and wait until it serves."""
        self._start(journal)

    def test(self, journal: Journal) -> None:
        """Ask the second InferenceService, which a run that could not write its record may have removed."""
        seen = self._start(journal)
        self.services.ask(journal, seen.url, replace(self.services.smoke, bake_seconds=0.0), self.services.next)

    def _start(self, journal: Journal) -> Seen:
        wanted = self.services.second(journal.version)
        self.services.write(journal, wanted)
        return self._wait(journal, wanted)

    def shift(self, journal: Journal) -> None:
        """Change the first InferenceService, look until all its pods serve the version, and ask it."""
        found = self.services.wait_until_gone(journal, self.services.name)
        self.change(journal, found, self.wanted(journal.version), self.services.smoke)

    def change(
        self, journal: Journal, found: dict[str, Any] | None, wanted: dict[str, Any], smoke: SmokeSettings
    ) -> None:
        """Make the first InferenceService what is wanted, look until all its pods serve the version, and ask it."""
        services = self.services
        if not found or not is_same(found, wanted):
            facts = self.facts(found, journal.version)
            self.before.write(journal, found, wanted, failure=failure_of(found), **facts)
        facts = journal.facts
        seen = self._wait(journal, wanted, failure=facts["failure"], revision=facts["revision"])
        services.ask(journal, seen.url, smoke)
        journal.note(served=seen.revision or services.name, url=seen.url, witnesses=list(seen.witnesses))

    def finish(self, journal: Journal) -> None:
        """Remove the second InferenceService, and wait while pods that were asked for are starting."""
        self.services.remove_ours(journal, self.services.next)
        self.before.forget(journal)
        self.settle(journal)

    def revert(self, journal: Journal) -> None:
        """Take back what was written into the first InferenceService, and remove the second one."""
        try:
            super().revert(journal)
        finally:
            self.services.remove_ours(journal, self.services.next)

    def write_back(self, journal: Journal) -> None:
        """Write the old fields, and wait until they serve."""
        services, facts = self.services, journal.facts
        try:
            found = services.wait_until_gone(journal, services.name)
            old = self.before.back(journal, found)
        except (LeaseLostError, RolloutError):
            raise
        except (TransientError, UserError):
            if facts.get("copied"):
                raise
            old = kept(facts["before"])
            services.force(old, facts.get("uid", ""))
        else:
            if found and kept(found) == old:
                return
            services.apply(journal, old, found)
        self._wait_for_old(journal, old)

    def _wait(
        self, journal: Journal, wanted: dict[str, Any], *, failure: dict[str, Any] | None = None, revision: str = ""
    ) -> Seen:
        return self.services.wait(journal, wanted, partial(self.look, journal, wanted, revision), failure=failure)

    def look(self, journal: Journal, wanted: dict[str, Any], revision: str) -> Seen:
        """Look whether an InferenceService serves the version."""
        seen = self.witnesses.look(wanted, journal.facts["fingerprint"], revision)
        if seen.service and not seen.serves:
            check_same(wanted["metadata"]["name"], mode_of(seen.service), STANDARD)
            check_runs(seen.service)
        return seen

    def _wait_for_old(self, journal: Journal, before: dict[str, Any]) -> None:
        """Wait until what was there before serves again; its pods were never ended where the new ones never served."""
        end = time.monotonic() + self.services.pace.stuck_seconds
        while time.monotonic() < end:
            try:
                if self.witnesses.look(before, "").serves:
                    return
            except LeaseLostError:
                raise
            except (TransientError, UserError):
                pass
            self.services.pause(journal)
        name = self.services.name
        self.services.report(f"{name} was written back, and does not serve from all its pods yet: look at them")

    def settle(self, journal: Journal) -> None:
        """Wait for the pods of an InferenceService that was not changed by others.

        Where its status is the only witness, it says for a moment that it serves after more pods were asked for, and
        then that it does not, until they are there.
        """
        services, facts, told = self.services, journal.facts, False
        end = time.monotonic() + services.settings.ready_seconds
        while time.monotonic() < end:
            found = services.find(services.name)
            if not found or not is_version(found, journal.version, facts["fingerprint"]) or shares_requests(found):
                return
            if self.serves(journal.version, facts):
                return
            if not told:
                services.report(
                    f"{services.name} was asked, and its status does not say yet that it serves: waiting for it"
                )
                told = True
            services.pause(journal)


def _of_pods(wanted: dict[str, Any]) -> dict[str, Any]:
    """The fields by which Kubernetes rolls pods: another number of them is no other ReplicaSet."""
    predictor = {
        key: value for key, value in wanted["spec"]["predictor"].items() if key not in ("minReplicas", "maxReplicas")
    }
    return {**wanted, "spec": {**wanted["spec"], "predictor": predictor}}
