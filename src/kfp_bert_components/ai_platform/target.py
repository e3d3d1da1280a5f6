"""An endpoint of AI Platform as a rollout target."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1
from google.protobuf import json_format

from kfp_bert_components.ai_platform.client import AiPlatformClient
from kfp_bert_components.ai_platform.endpoint import Endpoint, deployed_ids, known_models
from kfp_bert_components.ai_platform.models import UploadedModels
from kfp_bert_components.ai_platform.settings import AiPlatformSettings
from kfp_bert_components.deployment import (
    Answer,
    LeaseLostError,
    RolloutError,
    SmokeSettings,
    Target,
    TrafficSplit,
    beside_others,
    smoke_test,
    split_with,
)
from kfp_bert_components.deployment.smoke_test import NO_ROWS
from kfp_bert_components.deployment.states import IDLE, PREPARING
from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Journal, SmokeRequests
    from kfp_bert_components.registry import Registry


@dataclass(frozen=True)
class Beginning:
    """From what a version is introduced.

    Attributes:
        number: The id under which the same version is deployed on the same machines already; "" if it is not.
        before: The shares of our models.
        others: The shares of others' models.
        known: The ids of our models, also of those without a share.
    """

    number: str
    before: TrafficSplit
    others: TrafficSplit
    known: set[str]


class AiPlatformTarget(Target):
    """An endpoint as a rollout target.

    Facts: `endpoint` and `model` (full names), `deployed` (the id of the deployed model, which we choose), `before` and
    `others` (the shares of our models and of those of others when the rollout began), `ours` (the ids of our models),
    and `shape` (`AiPlatformSettings.deployment_hash`). Memory: `models` (the ids of our deployed models), and the full
    names of the last `endpoint` and `parent_model`.

    A deployed model that the record does not know is not ours: it is never undeployed, and keeps its share.

    Args:
        client: The API.
        registry: The registry whose version is rolled out.
        target: Name of the deployment record.
        settings: Where and how to deploy.
        smoke: When a version passes its test.
        requests: Gives the requests of the test for a version of the registry.
        report: Called with each line about what is going on.

    Attributes:
        endpoint: The endpoint.
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
        self.endpoint = Endpoint(client, settings, target, registry)
        self._models = UploadedModels(client, registry, settings)

    def place(self) -> dict[str, str]:
        """Project, location and the endpoint's id. At most two calls, where the settings give a label."""
        return {"kind": "AI Platform endpoint", **self.endpoint.identity()}

    def is_named_by(self, facts: Mapping[str, Any]) -> bool:
        """Whether the endpoint of the facts is the one of the settings."""
        return self.endpoint.is_called(facts.get("endpoint", ""))

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the deployed model of the facts has all traffic that goes to our models. One call, and one read.

        With `take_over` it has to have all traffic, at an endpoint that has our labels.
        """
        if facts.get("shape") != self._settings.deployment_hash():
            return False
        seen = self._seen_live(version, facts)
        if seen is None or not self._settings.take_over:
            return seen is not None
        others = {number for number, share in seen.traffic_split.items() if share} - {facts["deployed"]}
        return not others and self.endpoint.is_labelled(seen)

    def serves(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the deployed model of the facts has all traffic of ours, whatever the settings are now."""
        return self._seen_live(version, facts) is not None

    def _seen_live(self, version: int, facts: Mapping[str, Any]) -> Any | None:
        """The endpoint, where the deployed model of the facts is all that gets traffic of ours; else None."""
        name = facts.get("endpoint", "")
        if not name or not self._is_of(version, facts):
            return None
        try:
            seen = self.endpoint.get(name)
        except NotFoundError:
            return None
        ours = facts.get("ours", list(seen.traffic_split))  # format 1 of the record took all for ours
        sharing = {number for number in _with_traffic(seen) if number in ours}
        return seen if sharing == {facts.get("deployed")} and sharing <= deployed_ids(seen) else None

    def what_serves(self, journal: Journal) -> dict[str, Any]:
        """The version of this registry that gets all traffic that goes to our models. A few calls that only read.

        Raises:
            UserError: Several of them share it.
        """
        live: Mapping[str, Any] = journal.live.get("facts", {})
        seen = self.endpoint.find_again(journal.facts.get("endpoint") or live.get("endpoint", ""))
        if seen is None:
            return {}
        known = known_models(journal) | set(live.get("ours", seen.traffic_split))  # format 1 took all for ours
        serving = {number: self._version_of(seen, number) for number in _with_traffic(seen) if number in known}
        if live.get("deployed") in serving and self._is_of(journal.live["version"], live):
            serving[live["deployed"]] = journal.live["version"]  # the upload may be older than its labels
        ours = {number: version for number, version in serving.items() if version}
        if len(ours) > 1:
            shown = " and ".join(f"version {version} ({number})" for number, version in sorted(ours.items()))
            raise UserError(f"{seen.name} gives its traffic to {shown}")
        if live.get("deployed") in ours:
            return journal.live
        return next((self._as_live(seen, number, version) for number, version in ours.items()), {})

    def _as_live(self, seen: Any, number: str, version: int) -> dict[str, Any]:
        """As `Journal.live`, of a version that the record does not call live."""
        names = {"endpoint": seen.name, "model": _upload(seen, number), "deployed": number, "served": number}
        return {"version": version, "facts": {**names, "ours": [number], "fingerprint": self._fingerprint(version)}}

    def _version_of(self, seen: Any, number: str) -> int:
        """The registry's version that a deployed model is of; 0 where it is none of this registry."""
        upload = _upload(seen, number)
        return self._models.version_of(upload) if upload else 0

    def admit(self, journal: Journal) -> None:
        """Look at the labels of the endpoint and of the parent model, and at what a rollout needs that begins now.

        A rollout that is only taken back or finished needs the endpoint alone, and that only if it is still there.
        """
        version = self._registry.require_champion().version
        ends = journal.only_ends(version)
        if journal.state in (*IDLE, PREPARING) and not ends:
            self.admit_new(journal, version, self.endpoint.find())
            return
        if found := self.endpoint.find_again(journal.facts.get("endpoint", "")):
            self.endpoint.admit(found, journal)
        if not ends:
            self._models.admit(journal)

    def admit_new(self, journal: Journal, version: int, found: Any | None) -> None:
        """As `admit`, for a rollout that begins now.

        Args:
            journal: The record, whatever it says of another rollout.
            version: The registry's version.
            found: The endpoint; None where it has to be created.

        Raises:
            RolloutError: Endpoint or parent model belong to others; the version can't be uploaded; it can't be tested;
                or others leave it no traffic.
        """
        if found:
            self.endpoint.admit(found, journal)
        self._models.admit(journal)
        try:
            uploaded = self._models.check(version)
            if not self._requests(version).rows:
                raise UserError(NO_ROWS)
            self.beginning(journal, found, uploaded[0] if uploaded else "")
        except (LeaseLostError, RolloutError):
            raise
        except UserError as error:
            raise RolloutError(str(error)) from error

    def prepare(self, journal: Journal) -> None:
        """Create the endpoint if there is none, and upload the version to the Model Registry."""
        self._resume(journal)
        self.endpoint.ensure(journal)
        journal.remember(endpoint=self.endpoint.name)
        journal.note(
            endpoint=self.endpoint.name,
            shape=self._settings.deployment_hash(),
            fingerprint=self._fingerprint(journal.version),
        )
        self._models.admit(journal)
        model = self._models.ensure(journal)
        journal.remember(parent_model=model.partition("@")[0])
        journal.note(model=model)

    def introduce(self, journal: Journal) -> None:
        """Deploy the version beside the old one, and give it the canary's share of the traffic."""
        facts = self._resume(journal)
        if "deployed" not in facts:
            self._choose(journal)
        number, before = journal.facts["deployed"], journal.facts["before"]
        shown = f"kfp-bert {self._target} v{journal.version} {self._settings.deployment_hash()}"
        self.endpoint.deploy(journal, number, facts["model"], shown)
        self.endpoint.set_traffic(journal, self.introduced(before, number))

    def _choose(self, journal: Journal) -> None:
        """Note the id of the deployed model, and how the traffic is shared before it comes."""
        begun = self.beginning(journal, self.endpoint.get(), journal.facts["model"])
        number = begun.number or self._new_id(journal)
        ours = sorted({*begun.known, number})
        journal.remember(models=ours)
        journal.note(deployed=number, served=number, before=begun.before, others=begun.others, ours=ours)

    def beginning(self, journal: Journal, endpoint: Any | None, model: str) -> Beginning:
        """From what a version is introduced.

        Args:
            journal: The record, which knows our deployed models.
            endpoint: The endpoint as it is; None where it has to be created.
            model: Full name of the version's upload; "" where there is none.

        Raises:
            UserError: Others have so much traffic that too little is left.
        """
        split = {number: share for number, share in endpoint.traffic_split.items() if share} if endpoint else {}
        known = known_models(journal) | (set(split) if self._settings.take_over else set())
        before = {number: share for number, share in split.items() if number in known}
        others = {number: share for number, share in split.items() if number not in known}
        number = self._find_deployed(endpoint, model, known) if endpoint and model else ""
        beside_others(split, self.introduced(before, number or "new"), known)  # is there room?
        return Beginning(number, before, others, known)

    def introduced(self, before: TrafficSplit, number: str) -> TrafficSplit:
        """How our models share the traffic when a version has the canary's share.

        One that serves already, beside others that are to be replaced, keeps what it has.
        """
        return split_with(before, number, max(self._settings.canary_percent, before.get(number, 0)))

    def test(self, journal: Journal) -> None:
        """Send texts of the test split until the version has answered enough of them."""
        facts = self._resume(journal)
        if not self._share(facts["deployed"], known_models(journal)):
            self.introduce(journal)  # a run that could not write its record may have reverted
        requests = self._requests(journal.version)
        predictions = self._client.predictions(self.endpoint.get().dedicated_endpoint_dns)

        def ask(instance: dict[str, str]) -> Answer:
            request = v1.PredictRequest(endpoint=self.endpoint.name)
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
        now = self._share(facts["deployed"], known_models(journal))
        if not now:
            self.test(journal)
            now = self._share(facts["deployed"], known_models(journal))
        for percent in self._settings.traffic_steps:
            if percent > now:
                self.endpoint.set_traffic(journal, split_with(facts["before"], facts["deployed"], percent))
                self._report(f"version {journal.version} gets {percent} % of the traffic")
                self._pause(journal, self._settings.step_seconds if percent < 100 else 0.0)
        self.endpoint.set_traffic(journal, {facts["deployed"]: 100})

    def finish(self, journal: Journal) -> None:
        """Move the alias `champion` to the version, and undeploy the models that are not needed any more.

        What others changed meanwhile stays: an endpoint that is gone, a model that they gave traffic to.
        """
        facts = self._resume(journal)
        number, seen = facts["deployed"], self.endpoint.find_again(self.endpoint.name)
        if seen is None:
            return
        self._models.make_champion(journal, facts["model"])
        self._models.remove_copies(journal, facts["model"])
        known, idle = known_models(journal), {one for one in deployed_ids(seen) if not seen.traffic_split.get(one)}
        warm = {one for one in facts["before"] if self._settings.keep_warm}
        unneeded = sorted(idle & known - warm - {number})
        if unneeded:
            self._pause(journal, self._settings.drain_seconds)
        for one in unneeded:
            self.endpoint.remove(journal, one)
        journal.remember(models=sorted(known - set(unneeded)))  # one that is not there may still come, late

    def revert(self, journal: Journal) -> None:
        """Restore the traffic first, then undeploy the version.

        What others changed meanwhile does not keep it from ending: where nothing is left to go back to, it says so.
        """
        facts = self._resume(journal)
        if "deployed" not in facts:
            return
        number, before, name = facts["deployed"], facts["before"], self.endpoint.name
        try:
            restored = self.endpoint.restore_traffic(journal, before, number)
        except NotFoundError:
            self._tell(journal, f"the endpoint {name} was deleted meanwhile, so there was nothing to take back")
            return
        if not restored:
            self._tell(
                journal, f"no model that served {name} before is deployed any more, so the traffic stays as it is"
            )
        elif number not in before:
            self.endpoint.operations(journal).cancel()
            self.endpoint.remove(journal, number)

    def _tell(self, journal: Journal, sentence: str) -> None:
        """Report it, and let the record's reason say it."""
        self._report(f"version {journal.version}: {sentence}")
        if sentence not in journal.reason:  # an earlier try may have said it
            journal.reason = f"{journal.reason}; {sentence}"

    def _resume(self, journal: Journal) -> dict[str, Any]:
        """The facts. The endpoint's name is taken from them, as another process may have run the step before.

        From here on no call is made without the lease.
        """
        self._client.before_call = journal.check
        self.endpoint.name = journal.facts.get("endpoint", "")
        return journal.facts

    def _is_of(self, version: int, facts: Mapping[str, Any]) -> bool:
        """Whether facts are of a rollout of the registry's version as it is now; those of older records may be."""
        return facts.get("fingerprint") in (None, self._fingerprint(version))

    def _fingerprint(self, version: int) -> str:
        return self._registry.version(version).bundle_fingerprint

    def _share(self, number: str, known: set[str]) -> float:
        """The share of a deployed model in the traffic that goes to our models, in percent."""
        split = self.endpoint.get().traffic_split
        return 100 * split.get(number, 0) / (sum(split.get(one, 0) for one in known) or 1)

    def _find_deployed(self, endpoint: Any, model: str, known: set[str]) -> str:
        """The id under which we deployed the same version on the same machines already; "" if we did not."""
        base, _, version = model.partition("@")
        for one in endpoint.deployed_models:
            same = one.model.partition("@")[0] == base and one.model_version_id == version
            if one.id in known and same and one.display_name.endswith(f" {self._settings.deployment_hash()}"):
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


def _with_traffic(endpoint: Any) -> list[str]:
    return [number for number, share in endpoint.traffic_split.items() if share]


def _upload(endpoint: Any, number: str) -> str:
    """Full name of the upload that a deployed model is of; "" where there is no such deployed model."""
    deployed = [one for one in endpoint.deployed_models if one.id == number]
    found = [f"{one.model.partition('@')[0]}@{one.model_version_id}" for one in deployed]
    return found[0] if found else ""
