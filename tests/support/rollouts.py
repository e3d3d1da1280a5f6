"""A registry, a fake AI Platform, and rollouts between them that take milliseconds."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kfp_bert_components.ai_platform import AiPlatformClient, AiPlatformSettings, AiPlatformTarget
from kfp_bert_components.deployment import LeaseLostError, SmokeRequest, SmokeRequests, SmokeSettings, roll_out
from kfp_bert_components.registry import Registry
from tests.support.ai_platform_cloud import shout
from tests.support.ai_platform_server import AiPlatformServer
from tests.support.examined import write_examined

RUNS = multiprocessing.get_context("forkserver")
RUNS.set_forkserver_preload(["tests.support.rollouts"])
ENDPOINT = "projects/p/locations/region-1/endpoints/kfp-bert-production"
REQUESTS = SmokeRequests(
    [SmokeRequest({"text": "HELLO"}, (0.1, 0.9)), SmokeRequest({"text": "hello"}, (0.9, 0.1))], ["calm", "shout"]
)
QUICK = AiPlatformSettings("p", "region-1", drain_seconds=0, operation_seconds=2, canary_percent=20)
FEW = SmokeSettings(answers=3, timeout_seconds=5, max_latency_seconds=60)  # other processes may be busy


def deploy_to(
    registry_uri: str | Registry,
    url: str,
    lease_seconds: float = 5.0,
    report: Callable[[str], None] = print,
    smoke: SmokeSettings = FEW,
    report_seconds: float = 15.0,
    target: str = "production",
    **changes: Any,
) -> dict[str, Any]:
    """Roll the champion of a registry, given by its URI or as it is, out to the fake at `url`."""
    settings = replace(QUICK, **changes)
    client = AiPlatformClient(
        settings.project, settings.location, url, poll_seconds=0.005, call_seconds=5, report_seconds=report_seconds
    )
    registry = Registry(registry_uri) if isinstance(registry_uri, str) else registry_uri
    place = AiPlatformTarget(client, registry, target, settings, smoke, lambda version: REQUESTS, report)
    return roll_out(registry, target, place, lease_seconds=lease_seconds, pause_seconds=0.005, report=report)


class World:
    """One registry and one fake AI Platform.

    Attributes:
        wrong: Registry versions whose models answer wrongly.
    """

    def __init__(self, registry_uri: str, server: AiPlatformServer) -> None:
        self.registry, self.server = Registry(registry_uri), server
        self.wrong: set[int] = set()
        server.cloud.predictor = self._predict

    def _predict(self, artifact_uri: str, instances: list[Any]) -> list[Any]:
        version = int(artifact_uri.split("/versions/")[1].split("/")[0])
        answers = shout(artifact_uri, instances)
        if version in self.wrong:
            for one in answers:
                one["probabilities"].reverse()
        return answers

    def promote(self, name: str = "m") -> int:
        """Make another model champion."""
        champion = self.registry.champion()
        with tempfile.TemporaryDirectory() as scratch:
            known = (champion.version, champion.generation) if champion else None
            return self.registry.promote(*write_examined(Path(scratch), name, champion=known, saved_model=False))

    def deploy(
        self,
        lease_seconds: float = 5.0,
        report: Callable[[str], None] = lambda line: None,
        smoke: SmokeSettings = FEW,
        **changes: Any,
    ) -> dict[str, Any]:
        """Roll the champion out; further arguments as in `deploy_to`."""
        return deploy_to(self.registry.uri, self.server.url, lease_seconds, report, smoke, **changes)

    def leave(self, words: str, **given: Any) -> None:
        """Let a run end where it says `words`; further arguments as in `deploy`."""

        def stop(line: str) -> None:
            if words in line:
                raise LeaseLostError("stopped")

        try:
            self.deploy(report=stop, **given)
        except LeaseLostError:
            return
        raise AssertionError(f"the run never said {words!r}")

    @property
    def endpoint(self) -> Any:
        """The endpoint as it is now."""
        return self.server.cloud.endpoints.get(ENDPOINT)

    def versions_serving(self) -> dict[int, int]:
        """Share of traffic by registry version."""
        found = {}
        for one in self.endpoint.deployed_models if self.endpoint else []:
            if share := self.endpoint.traffic_split.get(one.id, 0):
                found[int(one.display_name.split(" v")[1].split()[0])] = share
        return found

    def state(self) -> dict[str, Any]:
        """What must be the same however a rollout went: what serves, what exists, what is recorded."""
        record = self.registry.deployment("production")
        models = [model for versions in self.server.cloud.models.values() for model in versions]
        return {
            "serving": self.versions_serving(),
            "deployed": len(self.endpoint.deployed_models) if self.endpoint else 0,
            "models": sorted(model.display_name for model in models),
            "champion": [model.display_name for model in models if "champion" in model.version_aliases],
            "record": (record.state, record.version),
        }

    def changes(self) -> list[str]:
        """The calls that changed something."""
        return self.server.changing_calls()

    def check_share(self) -> None:
        """The traffic is split wholly."""
        assert sum(self.endpoint.traffic_split.values()) in (0, 100) if self.endpoint else True

    def check_shares(self, wrong: bool, where: str) -> None:
        """Every split there ever was is whole, and a wrong model never got more than the canary's share."""
        splits = self.server.cloud.splits[ENDPOINT]
        assert all(sum(split.values()) == 100 for split in splits), where
        first = next(iter(splits[0]))
        assert not wrong or max(100 - split.get(first, 0) for split in splits) <= 20, where

    def asker(self) -> Callable[[], str]:
        """Gives a function that sends one request, and returns who answered."""
        from google.cloud import aiplatform_v1 as v1
        from google.protobuf import json_format

        client = AiPlatformClient("p", "region-1", self.server.url).predictions()
        request = v1.PredictRequest(endpoint=ENDPOINT)
        json_format.ParseDict({"instances": [{"text": "HELLO"}]}, v1.PredictRequest.pb(request))
        return lambda: str(client.predict(request, timeout=5).deployed_model_id)

    def deploy_elsewhere(self, lease_seconds: float = 0.3, kill_at: tuple[str, int] | None = None) -> Any:
        """Roll the champion out in a process of its own, which is returned started.

        With `kill_at` it kills itself "before" or "after" it writes its record for the given time.
        """
        storage = os.environ.get("STORAGE_EMULATOR_HOST")
        arguments = (self.registry.uri, self.server.url, storage, lease_seconds, kill_at)
        run = RUNS.Process(target=_deploy, args=arguments)
        run.start()
        return run


def _deploy(
    registry_uri: str, url: str, storage: str | None, lease_seconds: float, kill_at: tuple[str, int] | None
) -> None:
    if storage:
        os.environ["STORAGE_EMULATOR_HOST"] = storage
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if kill_at:
        _kill_at_write(*kill_at)
    deploy_to(registry_uri, url, lease_seconds=lease_seconds)


def _kill_at_write(moment: str, position: int) -> None:
    real, calls = Registry.record_deployment, itertools.count(1)

    def record(self: Registry, *arguments: Any, **options: Any) -> Any:
        strikes = next(calls) == position
        if strikes and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(self, *arguments, **options)
        if strikes:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Registry.record_deployment = record  # type: ignore[method-assign]
