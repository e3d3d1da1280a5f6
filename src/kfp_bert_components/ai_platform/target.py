"""An endpoint of AI Platform as a place to roll out to."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1
from google.protobuf import json_format

from kfp_bert_components.ai_platform.client import AiPlatform
from kfp_bert_components.ai_platform.endpoint import Endpoint, deployed, strays
from kfp_bert_components.ai_platform.models import Models
from kfp_bert_components.ai_platform.settings import AiPlatformSettings
from kfp_bert_components.deployment.smoke import Answer, SmokeSettings, smoke_test
from kfp_bert_components.deployment.traffic import shared
from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.deployment.examples import Examples
    from kfp_bert_components.deployment.journal import Journal
    from kfp_bert_components.registry import Registry


class AiPlatformTarget:
    """What each step of a rollout does at an endpoint.

    The facts in the journal: `endpoint` and `model` (full names), `deployed` (the id that we chose), `before`
    (the traffic split when the rollout began) and `shape` (of the machines).
    """

    def __init__(
        self,
        cloud: AiPlatform,
        registry: Registry,
        target: str,
        settings: AiPlatformSettings,
        smoke: SmokeSettings,
        examples: Callable[[int], Examples],
        report: Callable[[str], None] = say,
    ) -> None:
        self._cloud, self._target, self._settings, self._smoke = cloud, target, settings, smoke
        self._registry, self._examples, self._report = registry, examples, report
        self._endpoint = Endpoint(cloud, settings, target)
        self._models = Models(cloud, registry, settings)

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether all traffic is at what the facts name. One call."""
        wanted = self._settings.endpoint
        name = facts.get("endpoint", "")
        if not name or facts.get("shape") != self._settings.shape():
            return False
        by_id = wanted and not wanted.startswith("label:")
        if by_id and name.rsplit("/", 1)[-1] != wanted.rsplit("/", 1)[-1]:
            return False
        try:
            seen = self._endpoint.look(name)
        except NotFoundError:
            return False
        return dict(seen.traffic_split) == {facts["deployed"]: 100} and facts["deployed"] in deployed(seen)

    def prepare(self, journal: Journal) -> None:
        """Have an endpoint, and the version in the Model Registry."""
        self._endpoint.ensure(journal)
        journal.note(endpoint=self._endpoint.name, shape=self._settings.shape())
        journal.note(model=self._models.ensure(journal))

    def introduce(self, journal: Journal) -> None:
        """Deploy the version beside the old one, and give it its first share."""
        facts = self._resume(journal)
        if "deployed" not in facts:
            seen = self._endpoint.look()
            before = {number: share for number, share in seen.traffic_split.items() if share}
            journal.note(deployed=self._warm(seen, facts["model"]) or self._new_id(journal), before=before)
        number, before = journal.facts["deployed"], journal.facts["before"]
        shown = f"kfp-bert {self._target} v{journal.version} {self._settings.shape()}"
        self._endpoint.deploy(journal, number, facts["model"], shown)
        self._endpoint.give(journal, shared(before, number, self._settings.canary_percent))

    def test(self, journal: Journal) -> None:
        """Ask for texts of the test split until the version has answered enough of them."""
        self._resume(journal)
        examples = self._examples(journal.version)
        client = self._cloud.predictions(self._endpoint.look().dedicated_endpoint_dns)

        def ask(instance: dict[str, str]) -> Answer:
            request = v1.PredictRequest(endpoint=self._endpoint.name)
            json_format.ParseDict({"instances": [instance]}, v1.PredictRequest.pb(request))
            started = time.monotonic()
            answer = self._cloud.call(client.predict, request)
            seconds = time.monotonic() - started
            plain = json_format.MessageToDict(v1.PredictResponse.pb(answer))
            return Answer(answer.deployed_model_id, plain["predictions"][0], seconds)

        number = journal.facts["deployed"]
        seen = smoke_test(ask, number, examples.rows, examples.labels, self._smoke, journal.check)
        self._report(f"version {journal.version}: {seen}")

    def shift(self, journal: Journal) -> None:
        """Give it more and more, up to everything."""
        facts = self._resume(journal)
        now = self._endpoint.look().traffic_split.get(facts["deployed"], 0)
        for percent in self._settings.traffic_steps:
            if percent > now:
                self._endpoint.give(journal, shared(facts["before"], facts["deployed"], percent))
                self._report(f"version {journal.version} gets {percent} % of the traffic")
                self._pause(journal, self._settings.step_seconds if percent < 100 else 0.0)
        self._endpoint.give(journal, {facts["deployed"]: 100})

    def finish(self, journal: Journal) -> None:
        """Move the alias, and undeploy what is not needed any more."""
        facts = self._resume(journal)
        number = facts["deployed"]
        self._models.make_champion(facts["model"])
        self._models.remove_copies(journal, facts["model"])
        seen = self._endpoint.look()
        old = [one for one in facts["before"] if one != number and one in deployed(seen)]
        warm = set(old) if self._settings.keep_warm else set()
        unneeded = [one for one in old if one not in warm]
        unneeded += [one for one in strays(seen, self._target, {number, *warm}) if one not in unneeded]
        if unneeded:
            self._pause(journal, self._settings.drain_seconds)
        for one in unneeded:
            self._endpoint.remove(journal, one)

    def revert(self, journal: Journal) -> None:
        """Give the traffic back first, then take the version away."""
        facts = self._resume(journal)
        if "deployed" not in facts:
            return
        number, before = facts["deployed"], facts["before"]
        self._endpoint.give_back(before, number)
        if number not in before:
            self._endpoint.stop_deploying(journal)
            self._endpoint.remove(journal, number)

    def _resume(self, journal: Journal) -> dict[str, Any]:
        self._endpoint.name = journal.facts.get("endpoint", "")
        return journal.facts

    def _warm(self, endpoint: Any, model: str) -> str:
        """The id of the same version on the same machines, if it is still deployed."""
        base, _, version = model.partition("@")
        for one in endpoint.deployed_models:
            same = one.model.partition("@")[0] == base and one.model_version_id == version
            if same and one.display_name.endswith(f" {self._settings.shape()}"):
                return one.id
        return ""

    def _new_id(self, journal: Journal) -> str:
        """Ten digits that another attempt, version, target or machine does not get."""
        parts = (self._registry.uri, self._target, journal.version, journal.facts)
        number = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
        return str(10**9 + number % (9 * 10**9))

    def _pause(self, journal: Journal, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            journal.check()
            time.sleep(min(left, 1.0))
