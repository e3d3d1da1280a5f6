"""What a rollout to an endpoint would do, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kfp_bert_components.ai_platform.endpoint import deployed_ids, known_models
from kfp_bert_components.ai_platform.target import Beginning
from kfp_bert_components.deployment import beside_others, split_with
from kfp_bert_components.deployment.states import FINISHING, IDLE, INTRODUCING, PREPARING, TESTING

if TYPE_CHECKING:
    from kfp_bert_components.ai_platform.models import UploadedModels
    from kfp_bert_components.ai_platform.settings import AiPlatformSettings
    from kfp_bert_components.ai_platform.target import AiPlatformTarget
    from kfp_bert_components.deployment import Journal


class Plan:
    """What the next run would do. It is asked after `AiPlatformTarget.admit`, and makes at most two calls, to read.

    Args:
        place: The endpoint as a rollout target.
        models: The uploads of the registry's versions.
        settings: Where and how to deploy.
        journal: The deployment record.
        version: The champion.

    Attributes:
        endpoint: The endpoint; None if it has to be created.
    """

    def __init__(
        self,
        place: AiPlatformTarget,
        models: UploadedModels,
        settings: AiPlatformSettings,
        journal: Journal,
        version: int,
    ) -> None:
        self._place, self._models, self._settings = place, models, settings
        self._journal, self._version = journal, version
        self._ends = journal.only_ends(version)
        self._goes_on = journal.state not in (*IDLE, PREPARING) and not self._ends
        began = journal.facts.get("endpoint", "") if self._goes_on else ""
        self.endpoint = place.endpoint.find_again(began) if began else place.endpoint.find()
        self._is_gone = bool(began) and self.endpoint is None

    def lines(self) -> Iterator[str]:
        """One line for each thing, in order.

        Raises:
            UserError: What the run would refuse after the rollout under way has ended, or in going on with it.
        """
        if first := self._journal.unfinished(self._version):
            yield first
        if self._is_gone:
            yield "would end it as failed: its endpoint was deleted meanwhile, and another run has to create a new one"
            return
        if self._ends:
            yield from self._end()
            if self._journal.state == FINISHING and self._journal.version == self._version:
                return
            self._place.admit_new(self._journal, self._version, self.endpoint)
        found = self.endpoint
        yield f"would use endpoint {found.name}" if found else f"would create an endpoint in {self._settings.location}"
        yield from self._roll_out()

    def _end(self) -> Iterator[str]:
        """What ends the rollout under way; the endpoint is then as that leaves it."""
        found, facts = self.endpoint, self._journal.facts
        if not found or "deployed" not in facts:
            return
        number, before = facts["deployed"], facts["before"]
        if self._journal.state == FINISHING:
            known, warm = known_models(self._journal), set(before) if self._settings.keep_warm else set()
            idle = known - {one for one, share in found.traffic_split.items() if share}
            yield from self._clean_up(number, set(before), idle)
            gone = idle - warm - {number}
            found.deployed_models = [one for one in found.deployed_models if one.id not in gone]
            return
        split = self._place.endpoint.split_before(self._journal, found, before, number)
        if split is None:
            yield f"no model that served {found.name} before is deployed any more: would leave the traffic as it is"
            return
        found.traffic_split = split
        if number not in before:
            found.deployed_models = [one for one in found.deployed_models if one.id != number]

    def _roll_out(self) -> Iterator[str]:
        journal, settings, facts = self._journal, self._settings, self._journal.facts
        uploaded = [facts["model"]] if self._goes_on else self._models.find(self._version)
        yield f"would use model version {uploaded[0]}" if uploaded else f"would upload version {self._version}"
        if self._goes_on and "deployed" in facts:
            begun = Beginning(facts["deployed"], facts["before"], {}, known_models(journal))
        else:
            begun = self._place.beginning(journal, self.endpoint, uploaded[0] if uploaded else "")
        number, is_there = begun.number, self.endpoint and begun.number in deployed_ids(self.endpoint)
        machines = f"{settings.min_replicas} to {settings.max_replicas} x {settings.machine_type}"
        yield (
            f"would use deployed model {number}, which is there already"
            if is_there
            else f"would deploy it on {machines}"
        )
        yield from self._shift(begun, journal.state if self._goes_on else PREPARING)
        yield from self._clean_up(number, set(begun.before), begun.known)

    def _shift(self, begun: Beginning, state: str) -> Iterator[str]:
        """How the version gets its traffic."""
        split = dict(self.endpoint.traffic_split) if self.endpoint else {}
        new = begun.number or "new"
        now = 100 * split.get(new, 0) / (sum(split.get(one, 0) for one in begun.known) or 1)
        if state in (PREPARING, INTRODUCING) or not now:
            ours = self._place.introduced(begun.before, new)
            state, now = TESTING, ours[new]
            yield f"would set the traffic to {beside_others(split, ours, begun.known)}"
        if state == TESTING:
            yield "would test it with texts of the test split"
        for percent in self._settings.traffic_steps:
            if percent > now:
                ours = split_with(begun.before, new, percent)
                yield f"would set the traffic to {beside_others(split, ours, begun.known)}"

    def _clean_up(self, number: str, before: set[str], known: set[str]) -> Iterator[str]:
        """What becomes of our other models."""
        others = deployed_ids(self.endpoint) & known - {number} if self.endpoint else set[str]()
        warm = others & before if self._settings.keep_warm else set[str]()
        for what, numbers in (("keep", warm), ("undeploy", others - warm)):
            if numbers:
                yield f"would {what} {', '.join(sorted(numbers))}"
