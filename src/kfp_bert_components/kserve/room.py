"""Room for all requests: as many pods as they had, in the canary and, on the way back, in the predictor."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from kfp_bert_components.kserve.canaries import REPLICAS, find_canary, only_pods, pods_of_spec
from kfp_bert_components.kserve.objects import is_stopped, is_version
from kfp_bert_components.kserve.paths import deployment
from kfp_bert_components.kserve.services import Services
from kfp_bert_components.kubernetes_api import MANAGER

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Journal

_MANAGER = f"{MANAGER}-pods"  # whose fields the numbers of pods are while they are others than the settings give


class Room:
    """Raises `minReplicas` of the predictor for a while, where its autoscaler had started more pods.

    KServe allows a canary no more pods than that, and lets the autoscaler take as many away from the predictor.

    Fact: `held`, the numbers of pods that the predictor had, and each that was written in their place.

    Args:
        services: The InferenceServices.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def hold(self, journal: Journal) -> None:
        """Let predictor and canary together have at least as many pods as the predictor has now."""
        found = self._services.find(self._services.name)
        there = int(self._deployment().get("spec", {}).get("replicas", 1))
        if found and there > pods_of_spec(found)[0]:
            self._write(journal, found, there)

    def give_back(self, journal: Journal) -> None:
        """Let the predictor have its pods again before it gets all requests. They are waited for `stuck_seconds`."""
        services = self._services
        found = services.find(services.name)
        canary = find_canary(found)
        if not found or is_stopped(found) or not canary or not canary["trafficPercent"]:
            return
        if is_version(found, journal.version, journal.facts["fingerprint"]):
            return  # its pods were waited for before
        least, taken = pods_of_spec(found)[0], int(canary["predictor"].get("minReplicas", 0))
        if taken and least > 1 and not self._has(least):  # KServe never takes the last one
            services.report(f"{services.name} gets its {least} pods back before the requests")
            services.look_again(journal, partial(self._widen, journal, least + taken))
            end = time.monotonic() + services.pace.stuck_seconds
            while not self._has(least) and time.monotonic() < end:
                services.pause(journal)

    def release(self, journal: Journal) -> None:
        """Write the numbers that the predictor had, where nobody changed them meanwhile."""
        found = self._services.find(self._services.name)
        before = self.before(journal, found)
        if found and before != found:
            self._services.apply(journal, only_pods(found, _numbers(before)), found, manager=_MANAGER)

    def before(self, journal: Journal, found: Any) -> Any:
        """An InferenceService with the numbers that it had, where they are those that were written in their place."""
        was, *written = journal.facts.get("held") or [{}]
        if not found or _numbers(found) not in written:
            return found
        others = {key: value for key, value in found["spec"]["predictor"].items() if key not in REPLICAS}
        return {**found, "spec": {**found["spec"], "predictor": {**others, **was}}}

    def _widen(self, journal: Journal, least: int) -> None:
        if found := self._services.find(self._services.name):
            self._write(journal, found, least)

    def _write(self, journal: Journal, found: dict[str, Any], least: int) -> None:
        written = (journal.facts.get("held") or [{}])[1:]
        now = {"minReplicas": least, "maxReplicas": max(least, pods_of_spec(found)[1])}
        journal.note(held=[_numbers(self.before(journal, found)), *written, now])
        self._services.apply(journal, only_pods(found, now), found, manager=_MANAGER)

    def _has(self, pods: int) -> bool:
        return int(self._deployment().get("status", {}).get("availableReplicas", 0)) >= pods

    def _deployment(self) -> dict[str, Any]:
        cluster = self._services.cluster
        return cluster.find(deployment(cluster.namespace, f"{self._services.name}-predictor")) or {}


def _numbers(found: dict[str, Any]) -> dict[str, int]:
    return {key: value for key, value in found["spec"]["predictor"].items() if key in REPLICAS}
