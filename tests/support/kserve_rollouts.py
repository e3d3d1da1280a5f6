"""A registry, a fake cluster with KServe, and rollouts between them that take a part of a second."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfp_bert_components.deployment import SmokeSettings, roll_out
from kfp_bert_components.kserve import KServeSettings, KServeTarget
from kfp_bert_components.kubernetes_api import Cluster
from kfp_bert_components.registry import Registry
from tests.support.cluster_dns import resolve_services
from tests.support.kubernetes_knative import LABEL, REVISIONS
from tests.support.kubernetes_predictors import Model, wrong
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import KubernetesServer
from tests.support.models import write_candidate
from tests.support.rollouts import FEW, REQUESTS, RUNS

NAME, NEXT, NAMESPACE = "films", "films-next", "default"
# The ordinary run tries most in one mode; KFP_BERT_ROUNDS=all tries it in all. Gateway is Standard with a gateway.
EVERY = ["Standard", "Knative", "Gateway"]
MODES = EVERY if os.environ.get("KFP_BERT_ROUNDS") == "all" else ["Standard"]
STANDARD = pytest.mark.parametrize("mode", ["Standard"])
QUICK = KServeSettings(NAME, NAMESPACE, cpu="100m", ready_seconds=10)
SERVICES, PODS = by_kind("InferenceService"), by_kind("Pod")
CANARY = f"{NEXT}-predictor"  # what KServe makes of one
OF_CANARY = [by_kind(one) for one in ("Deployment", "Service", "HorizontalPodAutoscaler")]


def fingerprint(version: int) -> str:
    """Of the bundle of a version that `KServeWorld.promote` made."""
    return f"model m{version}"


def container(service: dict[str, Any]) -> dict[str, Any]:
    """The container of an InferenceService."""
    found: dict[str, Any] = service["spec"]["predictor"]["containers"][0]
    return found


def change(world: KServeWorld, name: str, **content: Any) -> None:
    """Change an InferenceService as somebody else would: `metadata`, and fields of the predictor."""

    def write(one: dict[str, Any]) -> dict[str, Any]:
        one["metadata"] |= content.pop("metadata", {})
        one["spec"]["predictor"] |= content
        return one

    world.server.cluster.store.change(SERVICES, NAMESPACE, name, write)


def deploy_to(
    registry: str | Registry,
    url: str,
    lease_seconds: float = 5.0,
    report: Callable[[str], None] = print,
    smoke: SmokeSettings = FEW,
    stuck_seconds: float = 0.4,
    target: str = "production",
    poll_seconds: float = 0.01,
    **changes: Any,
) -> dict[str, Any]:
    """Roll the champion of a registry out to the fake at `url`."""
    settings = replace(QUICK, **changes)
    opened = Registry(registry) if isinstance(registry, str) else registry
    place = KServeTarget(
        Cluster(NAMESPACE, url, call_seconds=5),
        opened,
        target,
        settings,
        smoke,
        lambda version: REQUESTS,
        fingerprint,
        report,
        poll_seconds=poll_seconds,
        stuck_seconds=stuck_seconds,
        report_seconds=0.05,
    )
    return roll_out(opened, target, place, lease_seconds=lease_seconds, pause_seconds=0.005, report=report)


class KServeWorld:
    """One registry and one fake cluster. Its versions are called m1, m2, ...

    Args:
        registry_uri: Address of the registry.
        server: The cluster.
        mode: KServe's mode on it, where an InferenceService does not ask for one: Standard or Knative; or Gateway,
            which is Standard with the Gateway API.

    Attributes:
        wrong: Registry versions whose models answer wrongly.
        broken: Registry versions that can't be loaded, and why.
        first: The InferenceService that a second version is first written into.
        has_shares: Whether versions get shares of the requests.
    """

    def __init__(self, registry_uri: str, server: KubernetesServer, mode: str = "Standard") -> None:
        self.registry, self.server, self.mode = Registry(registry_uri), server, mode
        server.cluster.default_mode = "Standard" if mode == "Gateway" else mode
        server.cluster.knative, server.cluster.gateway_api = mode == "Knative", mode == "Gateway"
        server.cluster.dns = mode == "Gateway"
        self.wrong: set[int] = set()
        self.broken: dict[int, str] = {}
        self.first = NEXT if mode == "Standard" else NAME
        self.has_shares = mode != "Standard"
        server.cluster.find_model = self._find_model
        # A minute of the cluster, after which a revision has no pods, would be over before a busy test is.
        server.cluster.seconds |= {"download": 0.2, "pull": 0.2, "retire": 6000.0}
        server.cluster.ends_without_model = True
        server.cluster.add("Namespace", NAMESPACE)

    def _find_model(self, uri: str) -> Model | None:
        if "/versions/" not in uri:
            return None
        version = int(uri.split("/versions/")[1].split("/")[0])
        model = Model(fingerprint(version), registry_version=version, load_seconds=1.0)
        model.problem = self.broken.get(version, "")
        return replace(model, predict=wrong) if version in self.wrong else model

    def promote(self, name: str = "") -> int:
        """Make another model champion."""
        champion = self.registry.champion()
        name = name or f"m{max([one.version for one in self.registry.versions()] or [0]) + 1}"
        with tempfile.TemporaryDirectory() as scratch:
            folders = write_candidate(
                Path(scratch),
                name,
                champion_generation=champion.generation if champion else 0,
                champion_version=champion.version if champion else None,
            )
            return self.registry.promote(*folders)

    def deploy(
        self,
        lease_seconds: float = 5.0,
        report: Callable[[str], None] = lambda line: None,
        smoke: SmokeSettings = FEW,
        **changes: Any,
    ) -> dict[str, Any]:
        """Roll the champion out; further arguments as in `deploy_to`."""
        live = deploy_to(self.registry.uri, self.server.url, lease_seconds, report, smoke, **changes)
        self.wait_for_route()
        return live

    def wait_for_route(self) -> None:
        """Wait until requests come to what is deployed: the first HTTPRoute is made after the pods are ready."""
        end = time.monotonic() + 10
        while self.mode == "Gateway" and self.service() and not self.server.cluster.gateway.backends(NAMESPACE, NAME):
            assert time.monotonic() < end, "there is no HTTPRoute"
            time.sleep(0.001)

    def service(self, name: str = NAME) -> dict[str, Any] | None:
        """An InferenceService as it is now."""
        return self.server.cluster.store.find(SERVICES, NAMESPACE, name)

    def versions_serving(self) -> dict[int, int]:
        """Share of the requests by registry version: of the ready pods behind the InferenceService, or of revisions."""
        if self.mode == "Knative":
            return self._shares()
        if self.mode == "Gateway":
            return self._shares_of_services()
        pods = self.server.cluster.store.list(PODS, NAMESPACE, f"serving.kserve.io/inferenceservice={NAME}")
        ready = [_version(one) for one in pods if _is_ready(one)]
        return {version: round(100 * ready.count(version) / len(ready)) for version in ready}

    def _shares(self) -> dict[int, int]:
        """By the traffic of revisions, which must have pods that are ready."""
        shares: dict[int, int] = {}
        for name, percent in self.server.cluster.kserve_controller.weights(NAMESPACE, NAME):
            pods = self.server.cluster.store.list(PODS, NAMESPACE, f"{LABEL}={name}")
            if percent and any(_is_ready(one) for one in pods):
                version = _version(self.server.cluster.store.get(REVISIONS, NAMESPACE, name))
                shares[version] = shares.get(version, 0) + percent
        return shares

    def _shares_of_services(self) -> dict[int, int]:
        """By the weights that the gateway follows, of the ready pods behind each Service."""
        shares: dict[int, float] = {}
        for name, weight in self.server.cluster.kserve_controller.weights(NAMESPACE, NAME):
            pods = self.server.cluster.store.list(PODS, NAMESPACE, f"app=isvc.{name}")
            ready = [_version(one) for one in pods if _is_ready(one)]
            for version in ready if weight else ():
                shares[version] = shares.get(version, 0.0) + weight / len(ready)
        whole = sum(shares.values())
        return {version: round(100 * share / whole) for version, share in shares.items()}

    def state(self) -> dict[str, Any]:
        """What must be the same however a rollout went: what serves, what exists, what is recorded."""
        record = self.registry.deployment("production")
        there = self.server.cluster.store.list(SERVICES, NAMESPACE)
        names = [one["metadata"]["name"] for one in there if not one["metadata"].get("deletionTimestamp")]
        spec = (self.service() or {}).get("spec", {"predictor": {}})
        assert "canaryTrafficPercent" not in spec["predictor"] and "canary" not in spec
        if self.mode == "Gateway":
            self._check_canary_is_gone()
        return {"serving": self.versions_serving(), "services": names, "record": (record.state, record.version)}

    def _check_canary_is_gone(self) -> None:
        """Nothing of a canary is left; what an InferenceService `NAME-next` had goes a moment after it.

        An autoscaler that may not be deleted stays.
        """
        end = time.monotonic() + 10
        forbidden = {call.resource for call in self.server.forbidden}
        kinds = [one for one in OF_CANARY if one.plural not in forbidden or one.plural != "horizontalpodautoscalers"]
        while left := [one for kind in kinds if (one := self.server.cluster.store.find(kind, NAMESPACE, CANARY))]:
            owners = {owner["name"] for one in left for owner in one["metadata"]["ownerReferences"]}
            assert owners == {NEXT} and time.monotonic() < end, f"left: {left}"
            time.sleep(0.001)

    def changes(self) -> list[str]:
        """The calls that changed something."""
        return [f"{call} {call.name}" for call in self.server.changing_calls()]

    def check_share(self) -> None:
        """Somebody answers, once somebody did."""
        assert not self.registry.deployment("production").live_version or self.versions_serving()

    def check_shares(self, wrong: bool, where: str) -> None:
        """The InferenceService was never written with a wrong model that would get requests."""
        written = [call.body for call in self.server.changing_calls() if call.name == NAME and call.body]
        shown = [one for one in written if _share(one)]
        assert not wrong or not any("/versions/2/" in json.dumps(one) for one in shown), where

    def asker(self) -> Callable[[], str]:
        """Gives a function that sends one request on a new connection, as a client does, and returns the label."""
        address = f"{NAME} (gateway)" if self.has_shares else f"{NAME}-predictor"
        url = f"{self.server.cluster.addresses[NAMESPACE, address]}/v1/models/{NAME}:predict"
        data = json.dumps({"instances": [{"text": "HELLO"}]}).encode()

        def ask() -> str:
            with urllib.request.urlopen(url, data, timeout=5) as reply:
                return str(json.load(reply)["predictions"][0]["label"])

        return ask

    def deploy_elsewhere(self, lease_seconds: float = 0.3) -> Any:
        """Roll the champion out in a process of its own, which is returned started."""
        storage = os.environ.get("STORAGE_EMULATOR_HOST")
        run = RUNS.Process(target=_deploy, args=(self.registry.uri, self.server.url, storage, lease_seconds))
        run.start()
        return run


def _deploy(registry_uri: str, url: str, storage: str | None, lease_seconds: float) -> None:
    if storage:
        os.environ["STORAGE_EMULATOR_HOST"] = storage
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    with resolve_services():
        deploy_to(registry_uri, url, lease_seconds=lease_seconds)


def _share(written: dict[str, Any]) -> int:
    """The share of the requests that a write into the InferenceService gives what it has."""
    spec = written.get("spec", {})
    if "canary" in spec:
        return max([one["trafficPercent"] for one in spec["canary"]], default=0)
    percent: int = spec.get("predictor", {}).get("canaryTrafficPercent", 100)
    return percent


def _version(pod: dict[str, Any]) -> int:
    variables = pod["spec"]["containers"][0].get("env", [])
    stamp = next((one["value"] for one in variables if one["name"] == "KFP_BERT_ROLLOUT"), "0-foreign")
    return int(stamp.split("-")[0])


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    ready = any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")
