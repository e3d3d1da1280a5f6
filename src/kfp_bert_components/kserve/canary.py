"""KServe's mode Standard where `spec.canary` and a gateway share the requests between two versions."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment import ForeignOwnerError, LeaseLostError, RolloutError
from kfp_bert_components.deployment.states import FINISHING
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.kserve.canaries import (
    Canaries,
    as_its_canary,
    canary_of,
    component,
    find_canary,
    of_canary,
    pods_of_spec,
    says_ready,
    with_pods,
    without_canaries,
)
from kfp_bert_components.kserve.canary_writes import CanaryWrites
from kfp_bert_components.kserve.gateway import has_canaries, is_installed, route_of, share_of, was_followed
from kfp_bert_components.kserve.modes import CANARY, Mode, check_same, mode_of
from kfp_bert_components.kserve.objects import check_runs, has, has_spec, is_stopped, is_version, kept
from kfp_bert_components.kserve.paths import deployment
from kfp_bert_components.kserve.room import Room
from kfp_bert_components.kserve.services import Services
from kfp_bert_components.kserve.standard import Standard
from kfp_bert_components.kserve.witnesses import Seen
from kfp_bert_components.kubernetes_api import ForbiddenError

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Journal

_FURTHER = {"transformer", "explainer"}  # KServe would send the canary's share of the requests past them


class Canary(Standard):
    """A version is first served by a canary of the InferenceService, which gets the test's requests only.

    Then the canary gets the requests in steps. When it has all, the InferenceService gets the version, and Kubernetes
    replaces its pods. When all of these are new, they get the requests, and the canary is removed. To promote it by its
    name would change the name of the Service under the clients.

    The canary loses its share before it is removed, and the gateway is waited for in between: KServe deletes the
    canary's Service first, and changes the HTTPRoute then. It gets its pods before it gets requests, and so does the
    InferenceService at the end: while a canary is ready, KServe lets the autoscaler take as many pods away from it.

    Where the HTTPRoute does not name a canary that is ready, as with KServe 0.20.0, there are no steps.

    Facts: `splits`, whether the HTTPRoute shares the requests; `pods`, the numbers of pods that the InferenceService
    has while it has the canary, `pods_after`, those of the settings, and `needed`, the pods for all requests; those of
    `Room`, of `CanaryWrites` and of `Standard`.
    """

    name = CANARY

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._canaries, self._writes = Canaries(services.cluster), CanaryWrites(services)
        self._room, self._told = Room(services), ""

    def fits(self, found: dict[str, Any]) -> bool:
        """Whether a gateway can share the requests to an InferenceService in the mode Standard; why not is told."""
        if not is_installed(self.services.cluster):
            return False
        why = self._why_no_shares(found)
        if why and why != self._told:
            self.services.report(f"{self.services.name} gets the version without shares of the requests: {why}")
        self._told = why
        return not why

    def _why_no_shares(self, found: dict[str, Any]) -> str:
        cluster, name = self.services.cluster, self.services.name
        if further := _FURTHER & found["spec"].keys():
            return f"KServe would send them past its {min(further)}"
        try:
            cluster.find(deployment(cluster.namespace, f"{name}-predictor"))  # the status does not tell of a canary
            route = route_of(cluster, found)
        except ForbiddenError as error:
            return str(error)
        if route is None:
            return "KServe has made no HTTPRoute for it"
        if not was_followed(route):
            return f"no gateway has taken over the HTTPRoute {name}"
        return "" if has_canaries(cluster) else "the cluster's KServe is older than 0.20, and has no spec.canary"

    def admit(self, found: dict[str, Any] | None, *, begun: bool = False) -> None:
        """RolloutError where somebody else moves the requests."""
        self.check_canaries(found, begun=begun)

    def plan(self, version: int) -> str:
        """The steps."""
        steps = ", ".join(str(one) for one in self.steps())
        return (
            f"would test version {version} in a canary that gets no requests, give it {steps} % of them, and so "
            "change this:"
        )

    def prepare(self, journal: Journal) -> None:
        """Remove a second InferenceService, whose Deployment has the name of the canary's, and an old autoscaler."""
        self.services.remove(journal, self.services.next)
        self.services.wait_until_gone(journal, self.services.next)
        self._writes.remove_rest(journal)

    def introduce(self, journal: Journal) -> None:
        """Start the version in a canary without requests, and wait until it serves."""
        self._start(journal)

    def test(self, journal: Journal) -> None:
        """Ask the canary, which a run that could not write its record may have removed."""
        seen = self._start(journal)
        self.services.ask(journal, seen.url, replace(self.services.smoke, bake_seconds=0.0))

    def _start(self, journal: Journal) -> Seen:
        self.services.look_again(journal, partial(self._writes.begin, journal, self._canary(journal.version)))
        seen = self._wait_for_canary(journal, 0)
        if "splits" not in journal.facts:
            journal.note(splits=self._splits(journal, seen.service or {}))
        return seen

    def _splits(self, journal: Journal, found: dict[str, Any]) -> bool:
        """Whether the HTTPRoute names the canary. KServe changes it before it says that the canary is ready.

        While the predictor is not ready, KServe leaves the HTTPRoute as it is.
        """
        services, name = self.services, self.services.name
        if not says_ready(found):
            why = f"{name} is not ready, so KServe leaves its HTTPRoute as it is"
            self._writes.comes(journal, self._is_shared, why, services.pace.stuck_seconds)
            if not says_ready(services.find(name) or {}):
                services.report(f"{why}: its pods are replaced after the test, without shares of the requests")
                return False
        if self._is_shared():
            return True
        if services.settings.traffic_steps or services.settings.step_seconds:
            raise RolloutError(
                f"the HTTPRoute {name} gives its canary, which is ready, no share of the requests, and traffic_steps "
                "or step_seconds are given: install a KServe that writes the shares into it, or leave them out."
            )
        services.report(
            f"the HTTPRoute {name} gives its canary, which is ready, no share of the requests: the pods are replaced "
            "after the test"
        )
        return False

    def _is_shared(self) -> bool:
        found = self.services.find(self.services.name)
        if not found or not says_ready(found):
            return False
        return share_of(route_of(self.services.cluster, found), component(self.services.name)) is not None

    def shift(self, journal: Journal) -> None:
        """Raise the share of the canary in steps, let the InferenceService get the version, and ask it.

        The canary is asked for `bake_seconds` before it has all requests: until then the old pods have some.
        """
        services, canary = self.services, self._canary(journal.version)
        now = self._writes.check(journal, services.find(services.name), journal.facts.get("shares"))
        if now is None or not has(now, canary):
            self.test(journal)
            now = {"trafficPercent": 0}
        smoke = services.smoke
        if journal.facts["splits"]:
            wait = partial(self._wait_for_canary, journal)
            smoke = self.raise_share(journal, now["trafficPercent"], partial(self._give, journal), wait)
        found = services.find(services.name)
        self._writes.check(journal, found, journal.facts["shares"])
        room = self._with_room(journal, found or {})
        if found and not is_version(found, journal.version, journal.facts["fingerprint"]):
            found = self._room.before(journal, found)
        self.change(journal, without_canaries(found or {}), room, smoke)

    def _give(self, journal: Journal, share: int, percent: int) -> bool:
        """Give the canary a larger share of the requests; False where the predictor is broken, which ends the steps."""
        services = self.services
        try:
            self._give_pods_and_share(journal, share, percent)
        except RolloutError as error:
            found = services.find(services.name)
            if not found or says_ready(found) or is_stopped(found):
                raise
            services.report(f"{services.name} is not ready, so its pods are replaced at once ({error})")
            return False
        return True

    def _give_pods_and_share(self, journal: Journal, share: int, percent: int) -> None:
        self.services.look_again(journal, partial(self._room.hold, journal))
        found, canary = self.services.find(self.services.name), self._canary(journal.version)
        pods = math.ceil(pods_of_spec(found)[0] * percent / 100) if found else 1
        for percents in ([share], [share, percent]) if pods > 1 else ([share, percent],):
            self.services.look_again(journal, partial(self._writes.give, journal, canary, percents, pods))
            self._wait_for_canary(journal, percents[-1], pods)

    def _with_room(self, journal: Journal, found: dict[str, Any]) -> dict[str, Any]:
        """The InferenceService with the canary's pods, and so many more as KServe takes away from it for them."""
        wanted = self.wanted(journal.version)
        taken = int((find_canary(found) or {"predictor": {}})["predictor"].get("minReplicas", 0))
        after = pods_of_spec(wanted)
        needed = max(after[0], taken)
        least = needed + taken if needed > 1 else 1
        pods = [least, max(least, after[1])]
        journal.note(pods=pods, pods_after=after, needed=needed)
        return with_pods(wanted, *pods)

    def look(self, journal: Journal, wanted: dict[str, Any], revision: str) -> Seen:
        """Look whether the InferenceService serves the version beside its canary, with all the pods that it needs."""
        least = journal.facts.get("needed", self.services.settings.min_replicas)
        fingerprint = journal.facts["fingerprint"]
        seen = self.witnesses.look(wanted, fingerprint, revision, with_canaries=True, least=least)
        return self._checked(journal, seen, journal.facts["shares"])

    def finish(self, journal: Journal) -> None:
        """Remove the canary and what it needed, and wait while pods that were asked for are starting."""
        self._writes.take_away(journal)
        self.services.look_again(journal, partial(self._take_room, journal))
        self.before.forget(journal)
        self.settle(journal)

    def _take_room(self, journal: Journal) -> None:
        """Write the numbers of pods of the settings, where nobody changed them meanwhile."""
        services, facts = self.services, journal.facts
        found = services.find(services.name)
        if not found or not is_version(found, journal.version, facts["fingerprint"]):
            return
        if pods_of_spec(found) == facts["pods"] != facts["pods_after"]:
            # Other settings than those of the run that wrote it are for the next rollout.
            wanted = with_pods(self.wanted(journal.version), *facts["pods"])
            whole = wanted if has_spec(found, wanted) else kept(found)
            services.apply(journal, with_pods(whole, *facts["pods_after"]), found)

    def after(self, journal: Journal, found: dict[str, Any] | None) -> dict[str, Any] | None:
        """Without the canary, and with the numbers of pods that it will have."""
        if not found:
            return None
        left = self._writes.without_ours(journal, found)
        if journal.state != FINISHING:
            return super().after(journal, self._room.before(journal, left))
        facts = journal.facts
        return with_pods(left, *facts["pods_after"]) if pods_of_spec(left) == facts["pods"] else left

    def revert(self, journal: Journal) -> None:
        """Give the requests back, remove the canary, and take back what was written into the InferenceService."""
        self._give_room_back(journal)
        try:
            self._writes.take_away(journal)
            self.services.look_again(journal, partial(self._room.release, journal))
        except ForeignOwnerError as error:
            self.services.report(f"{self.services.name} is left alone: {error}")
        finally:
            Mode.revert(self, journal)

    def _give_room_back(self, journal: Journal) -> None:
        """The requests go back also where this can't be done."""
        try:
            if journal.facts.get("canaries"):
                self._room.give_back(journal)
        except LeaseLostError:
            raise
        except (TransientError, UserError) as error:
            self.services.report(f"{self.services.name} may have too few pods for all requests: {error}")

    # The canary

    def _canary(self, version: int) -> dict[str, Any]:
        return canary_of(self.wanted(version))

    def _wait_for_canary(self, journal: Journal, percent: int, pods: int = 1) -> Seen:
        """Wait until the canary serves, and has its share of the requests."""
        canary = self._canary(journal.version)
        return self.services.wait(
            journal,
            of_canary(self.services.name, canary),
            partial(self._look_at_canary, journal, canary, percent, pods),
            failure=journal.facts["failure"],
        )

    def _look_at_canary(self, journal: Journal, canary: dict[str, Any], percent: int, pods: int) -> Seen:
        share = percent if journal.facts.get("splits") else None
        fingerprint = journal.facts["fingerprint"]
        seen = self._canaries.look(self.services.name, canary, fingerprint, pods=pods, percent=share)
        self._checked(journal, seen, [percent])
        return seen if seen.serves else replace(seen, service=as_its_canary(seen.service or {}))

    def _checked(self, journal: Journal, seen: Seen, shares: list[int]) -> Seen:
        """What was seen; RolloutError where somebody changed the canary, or stopped the InferenceService."""
        self._writes.check(journal, seen.service, shares)
        if seen.service and not seen.serves:
            check_same(self.services.name, mode_of(seen.service), self.of_kserve)
            check_runs(seen.service)
        return seen
