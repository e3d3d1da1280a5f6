"""An endpoint of AI Platform as a rollout target."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1
from google.protobuf import json_format

from kfp_bert_components.ai_platform.client import AiPlatformClient
from kfp_bert_components.ai_platform.endpoint import Endpoint, deployed_ids, leftover_models
from kfp_bert_components.ai_platform.models import UploadedModels
from kfp_bert_components.ai_platform.settings import AiPlatformSettings
from kfp_bert_components.deployment import Answer, SmokeSettings, Target, smoke_test, split_with
from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Journal, SmokeRequests
    from kfp_bert_components.registry import Registry


class AiPlatformTarget(Target):
    """An endpoint as a rollout target.

    Facts: `endpoint` and `model` (full names), `deployed` (the id of the deployed model, which we choose), `before`
    (the traffic split when the rollout began) and `shape` (`AiPlatformSettings.deployment_hash`).

    Args:
        client: The API.
        registry: The registry whose version is rolled out.
        target: Name of the deployment record.
        settings: Where and how to deploy.
        smoke: When a version passes its test.
        requests: Gives the requests of the test for a version of the registry.
        report: Called with each line about what is going on.
    """

    def __init__(
        self,
        client: AiPlatformClient,
        registry: Registry,
        target: str,
        settings: AiPlatformSettings,
        smoke: SmokeSettings,
        requests: Callable[[int], SmokeRequests],
        report: Callable[[str], None] = say,
    ) -> None:
        self._client, self._target, self._settings, self._smoke = client, target, settings, smoke
        self._registry, self._requests, self._report = registry, requests, report
        self._endpoint = Endpoint(client, settings, target)
        self._models = UploadedModels(client, registry, settings)

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the deployed model of the facts has all traffic. One call."""
        wanted = self._settings.endpoint
        name = facts.get("endpoint", "")
        if not name or facts.get("shape") != self._settings.deployment_hash():
            return False
        by_id = wanted and not wanted.startswith("label:")
        if by_id and name.rsplit("/", 1)[-1] != wanted.rsplit("/", 1)[-1]:
            return False
        try:
            seen = self._endpoint.get(name)
        except NotFoundError:
            return False
        return dict(seen.traffic_split) == {facts["deployed"]: 100} and facts["deployed"] in deployed_ids(seen)

    def prepare(self, journal: Journal) -> None:
        """Create the endpoint if there is none, and upload the version to the Model Registry."""
        self._endpoint.ensure(journal)
        journal.note(endpoint=self._endpoint.name, shape=self._settings.deployment_hash())
        journal.note(model=self._models.ensure(journal))

    def introduce(self, journal: Journal) -> None:
        """Deploy the version beside the old one, and give it the canary's share of the traffic."""
        facts = self._resume(journal)
        if "deployed" not in facts:
            seen = self._endpoint.get()
            before = {number: share for number, share in seen.traffic_split.items() if share}
            journal.note(deployed=self._find_deployed(seen, facts["model"]) or self._new_id(journal), before=before)
        number, before = journal.facts["deployed"], journal.facts["before"]
        shown = f"kfp-bert {self._target} v{journal.version} {self._settings.deployment_hash()}"
        self._endpoint.deploy(journal, number, facts["model"], shown)
        self._endpoint.set_traffic(journal, split_with(before, number, self._settings.canary_percent))

    def test(self, journal: Journal) -> None:
        """Send texts of the test split until the version has answered enough of them."""
        self._resume(journal)
        requests = self._requests(journal.version)
        predictions = self._client.predictions(self._endpoint.get().dedicated_endpoint_dns)

        def ask(instance: dict[str, str]) -> Answer:
            request = v1.PredictRequest(endpoint=self._endpoint.name)
            json_format.ParseDict({"instances": [instance]}, v1.PredictRequest.pb(request))
            started = time.monotonic()
            answer = self._client.call(predictions.predict, request)
            seconds = time.monotonic() - started
            plain = json_format.MessageToDict(v1.PredictResponse.pb(answer))
            return Answer(answer.deployed_model_id, plain["predictions"][0], seconds)

        number = journal.facts["deployed"]
        seen = smoke_test(ask, number, requests, self._smoke, journal.check)
        self._report(f"version {journal.version}: {seen}")

    def shift(self, journal: Journal) -> None:
        """Raise the version's share of the traffic in the steps of the settings, up to 100 %."""
        facts = self._resume(journal)
        now = self._endpoint.get().traffic_split.get(facts["deployed"], 0)
        for percent in self._settings.traffic_steps:
            if percent > now:
                self._endpoint.set_traffic(journal, split_with(facts["before"], facts["deployed"], percent))
                self._report(f"version {journal.version} gets {percent} % of the traffic")
                self._pause(journal, self._settings.step_seconds if percent < 100 else 0.0)
        self._endpoint.set_traffic(journal, {facts["deployed"]: 100})

    def finish(self, journal: Journal) -> None:
        """Move the alias `champion` to the version, and undeploy the models that are not needed any more."""
        facts = self._resume(journal)
        number = facts["deployed"]
        self._models.make_champion(facts["model"])
        self._models.remove_copies(journal, facts["model"])
        seen = self._endpoint.get()
        old = [one for one in facts["before"] if one != number and one in deployed_ids(seen)]
        warm = set(old) if self._settings.keep_warm else set()
        unneeded = [one for one in old if one not in warm]
        unneeded += [one for one in leftover_models(seen, self._target, {number, *warm}) if one not in unneeded]
        if unneeded:
            self._pause(journal, self._settings.drain_seconds)
        for one in unneeded:
            self._endpoint.remove(journal, one)

    def revert(self, journal: Journal) -> None:
        """Restore the traffic first, then undeploy the version."""
        facts = self._resume(journal)
        if "deployed" not in facts:
            return
        number, before = facts["deployed"], facts["before"]
        self._endpoint.restore_traffic(before, number)
        if number not in before:
            self._endpoint.stop_deploying(journal)
            self._endpoint.remove(journal, number)

    def _resume(self, journal: Journal) -> dict[str, Any]:
        """The facts. The endpoint's name is taken from them, as another process may have run the step before."""
        self._endpoint.name = journal.facts.get("endpoint", "")
        return journal.facts

    def _find_deployed(self, endpoint: Any, model: str) -> str:
        """The id under which the same version is deployed on the same machines already; "" if it is not."""
        base, _, version = model.partition("@")
        for one in endpoint.deployed_models:
            same = one.model.partition("@")[0] == base and one.model_version_id == version
            if same and one.display_name.endswith(f" {self._settings.deployment_hash()}"):
                return one.id
        return ""

    def _new_id(self, journal: Journal) -> str:
        """An id of ten digits, different for each attempt, version, target and registry."""
        parts = (self._registry.uri, self._target, journal.version, journal.facts)
        number = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
        return str(10**9 + number % (9 * 10**9))

    def _pause(self, journal: Journal, seconds: float) -> None:
        """Wait, and check the lease every second."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            journal.check()
            time.sleep(min(left, 1.0))
