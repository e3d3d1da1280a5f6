"""The canary of a rollout: written, given shares of the requests, and removed. Other fields are not written."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment import RolloutError
from kfp_bert_components.kserve.before import rollout_of
from kfp_bert_components.kserve.canaries import (
    canaries_of,
    component,
    find_canary,
    only_canaries,
    with_share,
    without_canaries,
)
from kfp_bert_components.kserve.gateway import is_followed, is_owned, route_of, share_of
from kfp_bert_components.kserve.objects import check_runs, has, is_stopped
from kfp_bert_components.kserve.paths import autoscaler, deployment
from kfp_bert_components.kserve.services import Services
from kfp_bert_components.kubernetes_api import MANAGER, ForbiddenError

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Journal

_MANAGER = f"{MANAGER}-canary"  # whose field spec.canary is; all other fields keep their managers
_SETTLING = 5  # looks, in which the proxies of a gateway follow what it has taken over


class CanaryWrites:
    """Writes `spec.canary`. Facts: `canaries`, each that the rollout wrote, and `shares`, the last percentages.

    Args:
        services: The InferenceServices.
    """

    def __init__(self, services: Services) -> None:
        self._services, self._cluster = services, services.cluster
        self._done: tuple[Any, ...] = ()  # the rollout in which this run has written one

    def check(
        self, journal: Journal, found: dict[str, Any] | None, shares: list[int] | None = None
    ) -> dict[str, Any] | None:
        """The canary as the rollout left it; None where it has written none, or another run has taken it back.

        Args:
            journal: The rollout under way.
            found: The InferenceService.
            shares: The shares that the canary may have; None: any.

        Raises:
            RolloutError: Somebody changed it, or stopped the InferenceService.
        """
        name, again = self._services.name, "during the rollout: run again"
        if found is None or found["metadata"].get("deletionTimestamp"):
            raise RolloutError(f"somebody deleted the InferenceService {name} {again}")
        check_runs(found)
        there = canaries_of(found)
        if not there:
            if self._done == rollout_of(journal):
                raise RolloutError(f"somebody removed spec.canary of the InferenceService {name} {again}")
            return None
        if len(there) > 1 or not self._is_ours(journal, there[0]):
            raise RolloutError(f"somebody changed spec.canary of the InferenceService {name} {again}")
        percent = there[0]["trafficPercent"]
        if shares is not None and percent not in shares:
            raise RolloutError(
                f"somebody set trafficPercent in spec.canary of the InferenceService {name} to {percent} during the "
                f"rollout, which gave version {journal.version} {' or '.join(map(str, shares))} %: run again to give "
                "it the requests"
            )
        return there[0]

    def _is_ours(self, journal: Journal, one: dict[str, Any]) -> bool:
        return any(has(one, written) for written in journal.facts.get("canaries", ()))

    def begin(self, journal: Journal, canary: dict[str, Any]) -> None:
        """Write a canary without requests, unless it is there.

        One with other settings keeps its pods as long as requests come to it: nobody tested the new ones.
        """
        found = self._services.wait_until_gone(journal, self._services.name)
        now = self.check(journal, found)
        if found and now and not has(now, canary) and self._may_get_requests(journal, found):
            journal.note(shares=[now["trafficPercent"], 0])
            self._take_share(journal, "changed")
            found = self._services.find(self._services.name)
            now = self.check(journal, found)
        if found and (now is None or not has(now, canary)):
            self._write(journal, found, canary, [now["trafficPercent"], 0] if now else [0], 0)

    def give(self, journal: Journal, canary: dict[str, Any], percents: list[int], pods: int) -> None:
        """Give the canary the last one of these shares, and a number of pods, where it has the first one."""
        found = self._services.find(self._services.name)
        now = self.check(journal, found, percents)
        if found and now != with_share(now or canary, percents[-1], pods):
            self._write(journal, found, canary, percents, pods)

    def _write(
        self, journal: Journal, found: dict[str, Any], canary: dict[str, Any], percents: list[int], pods: int
    ) -> None:
        written = [one for one in journal.facts.get("canaries", ()) if one != canary]
        journal.note(canaries=[*written, canary], shares=percents)
        wanted = only_canaries(found, [with_share(canary, percents[-1], pods)])
        self._services.apply(journal, wanted, found, manager=_MANAGER)
        self._done = rollout_of(journal)

    # The way back, and the end

    def without_ours(self, journal: Journal, found: dict[str, Any]) -> dict[str, Any]:
        """An InferenceService with the canaries of others alone."""
        left = [one for one in canaries_of(found) if not self._is_ours(journal, one)]
        bare = without_canaries(found)
        return {**bare, "spec": {**bare["spec"], "canary": left}} if left else bare

    def take_away(self, journal: Journal) -> None:
        """Let the canary get no requests, wait until the gateway follows, and remove it with its autoscaler.

        Raises:
            RolloutError: The gateway does not follow: requests would still be sent to the canary.
        """
        services = self._services
        if not journal.facts.get("canaries"):
            return
        if any(journal.facts["shares"]):
            self._let_go_unseen(journal)
        if self._may_get_requests(journal, services.find(services.name)):
            self._take_share(journal, "removed")
        services.look_again(journal, partial(self._remove, journal))
        if find_canary(services.find(services.name)) is None:
            self.remove_rest(journal)

    def _may_get_requests(self, journal: Journal, found: dict[str, Any] | None) -> bool:
        """Whether the canary has a share of the requests, from us or from somebody else."""
        canary = find_canary(found)
        if found is None or canary is None:
            return False
        if any(journal.facts["shares"]) or canary["trafficPercent"]:
            return True
        return bool(share_of(route_of(self._cluster, found), component(self._services.name)))

    def _take_share(self, journal: Journal, what: str) -> None:
        """Let the canary get no requests, and wait until the gateway follows: then it can be changed, or removed."""
        services = self._services
        services.look_again(journal, partial(self._let_go, journal))
        self._wait_for_gateway(journal, what)
        services.pause(journal, _SETTLING * services.pace.poll_seconds)

    def _let_go_unseen(self, journal: Journal) -> None:
        """The first step of the way back, which is right whatever is there, where it can't be read."""
        services, facts = self._services, journal.facts
        if not services.can_read():
            metadata = {"name": services.name, "namespace": self._cluster.namespace}
            wanted = only_canaries({"metadata": metadata}, [with_share(facts["canaries"][-1], 0)])
            services.force(wanted, facts.get("uid", ""), _MANAGER)

    def _let_go(self, journal: Journal) -> None:
        found = self._services.find(self._services.name)
        canary = find_canary(found)
        if found and canary and canary["trafficPercent"]:
            left = [{**one, "trafficPercent": 0} if one == canary else one for one in canaries_of(found)]
            self._services.apply(journal, only_canaries(found, left), found, manager=_MANAGER)

    def _remove(self, journal: Journal) -> None:
        services = self._services
        found = services.find(services.name)
        if found is None or "canary" not in found["spec"]:
            return
        there, left = canaries_of(found), canaries_of(self.without_ours(journal, found))
        if find_canary({"spec": {"canary": left}}):
            services.report(f"{services.name} keeps a canary at trafficPercent: 0: look at what somebody changed in it")
        if left and left == there:
            return
        made = services.apply(journal, only_canaries(found, left or None), found, manager=_MANAGER)
        if len(canaries_of(made)) > len(left):  # it is somebody else's field, too
            made = services.apply(journal, only_canaries(found, left), made, manager=_MANAGER)
            services.apply(journal, only_canaries(found, left or None), made, manager=_MANAGER)

    def _has_no_share(self) -> bool:
        """Whether the gateway sends it nothing. Else its successor, which has its name, would get requests untested."""
        found = self._services.find(self._services.name)
        if found is None or is_stopped(found):  # KServe changes no HTTPRoute of one that has no pods
            return True
        route = route_of(self._cluster, found)
        return route is None or (not share_of(route, component(self._services.name)) and is_followed(route))

    def _wait_for_gateway(self, journal: Journal, what: str) -> None:
        name = self._services.name
        if self.comes(journal, self._has_no_share, f"the gateway sends requests to {component(name)}"):
            return
        raise RolloutError(
            f"the HTTPRoute {name} gives requests to {component(name)}, whose canary has trafficPercent: 0, so it is "
            f"not {what} yet. Do KServe's controller and the gateway run, and is the predictor ready, without which "
            "KServe does not change it? Run again then"
        )

    # Its Deployment and its autoscaler

    def remove_rest(self, journal: Journal) -> None:
        """Wait until KServe has deleted the canary's Deployment, and delete its autoscaler, which KServe leaves."""
        services, name = self._services, component(self._services.name)
        if not self.comes(journal, self._has_no_deployment, f"KServe has not deleted the Deployment {name}"):
            raise RolloutError(
                f"KServe has not deleted the Deployment {name}, which the canary or {services.next} had, for "
                f"{services.settings.ready_seconds:g} s: does its controller run? Run again then"
            )
        path = autoscaler(self._cluster.namespace, name)
        found = services.find(services.name)
        try:
            there = self._cluster.find(path)
            if there and found and is_owned(there, found["metadata"]["uid"]):
                self._cluster.delete(there, path)
        except ForbiddenError as error:
            services.report(f"the autoscaler {name} stays, which does nothing without its Deployment: {error}")

    def _has_no_deployment(self) -> bool:
        """RolloutError where there is one of others, which KServe would not delete."""
        name = component(self._services.name)
        try:
            found = self._cluster.find(deployment(self._cluster.namespace, name))
        except ForbiddenError:
            return True
        owners = [one["name"] for one in (found or {"metadata": {}})["metadata"].get("ownerReferences") or ()]
        if found and not {self._services.name, self._services.next} & set(owners):
            raise RolloutError(
                f"there is a Deployment {name}, which would be the one of the canary, and it is not KServe's: delete "
                "it, or give another name"
            )
        return found is None

    def comes(self, journal: Journal, is_so: Callable[[], bool], while_not: str, seconds: float = 0.0) -> bool:
        """Whether something comes to be so in time, by default `ready_seconds`; what is so until then is told."""
        services, started = self._services, time.monotonic()
        seconds = seconds or services.settings.ready_seconds
        report_at = started + services.pace.report_seconds
        while not is_so():
            now = time.monotonic()
            if now - started > seconds:
                return False
            if now > report_at:
                services.report(f"{services.name}, {now - started:.0f} s: {while_not}")
                report_at = now + services.pace.report_seconds
            services.pause(journal)
        return True
