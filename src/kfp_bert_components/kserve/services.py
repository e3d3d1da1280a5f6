"""The InferenceServices of a rollout: found, written, waited for, asked and removed, in whichever mode."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kfp_bert_components.deployment import ForeignOwnerError, LeaseLostError, RolloutError, SmokeSettings, smoke_test
from kfp_bert_components.deployment.labels import REGISTRY_LABEL, TARGET_LABEL, slug
from kfp_bert_components.deployment.model_server import ModelServer
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.kserve.objects import is_same, service
from kfp_bert_components.kserve.paths import inference_service
from kfp_bert_components.kserve.reasons import why
from kfp_bert_components.kserve.settings import NEXT, KServeSettings
from kfp_bert_components.kserve.witnesses import Seen
from kfp_bert_components.kubernetes_api import MANAGER, NOT_THERE, ChangedError, Cluster, ControllerDownError

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Answer, Journal, SmokeRequests
    from kfp_bert_components.registry import Registry

_MOST_UNREAD = 5  # looks in a row that fail
_MOST_CHANGES = 20  # in a row that somebody else was faster; KServe writes the status some times in a second


@dataclass(frozen=True)
class Pace:
    """How often, and for how long, something is waited for.

    Attributes:
        poll_seconds: Pause between two looks.
        stuck_seconds: Seconds after which a wait ends for a reason that does not heal.
        report_seconds: Time between two printed lines.
    """

    poll_seconds: float
    stuck_seconds: float
    report_seconds: float


class Services:
    """The InferenceServices that belong to a target of a registry.

    Args:
        cluster: The API.
        registry: The registry whose version is rolled out.
        target: Name of the deployment record.
        settings: Where and how to deploy.
        smoke: When a version passes its test.
        requests: Gives the requests of the test for a version of the registry.
        fingerprint: Gives the fingerprint of a version's bundle.
        report: Called with each line about what is going on.
        pace: Of waiting.

    Attributes:
        name: Name of the InferenceService that serves.
        next: Name of the second one, in which a version can be tested.
        copy: Name of the one that keeps what the first one was before.
    """

    def __init__(
        self,
        cluster: Cluster,
        registry: Registry,
        target: str,
        settings: KServeSettings,
        smoke: SmokeSettings,
        requests: Callable[[int], SmokeRequests],
        fingerprint: Callable[[int], str],
        report: Callable[[str], None],
        pace: Pace,
    ) -> None:
        self.cluster, self.registry, self.settings, self.smoke = cluster, registry, settings, smoke
        self.fingerprint, self.report, self.pace = fingerprint, report, pace
        self._target, self._requests = target, requests
        self.name, self.next, self.copy = settings.name, f"{settings.name}{NEXT}", f"{settings.name}-before"

    def main(self, version: int) -> dict[str, Any]:
        """The InferenceService that serves a version."""
        return self._made(self.name, version, (self.settings.min_replicas, self.settings.max_replicas))

    def second(self, version: int) -> dict[str, Any]:
        """The one in which a version is tested."""
        return self._made(self.next, version, (1, 1))

    def _made(self, name: str, version: int, replicas: tuple[int, int]) -> dict[str, Any]:
        fingerprint = self.fingerprint(version)
        return service(self.settings, name, version, self.registry.uri, fingerprint, self.owner, replicas)

    @property
    def owner(self) -> dict[str, str]:
        """The labels of an InferenceService that is ours."""
        return {REGISTRY_LABEL: self.registry.id(create=False), TARGET_LABEL: slug(self._target, 63)}

    def find(self, name: str) -> dict[str, Any] | None:
        """The InferenceService of a name, as it is."""
        return self.cluster.find(inference_service(self.cluster.namespace, name))

    def can_read(self) -> bool:
        """Whether the InferenceService can be read now, be it there or not."""
        try:
            self.find(self.name)
        except LeaseLostError:
            raise
        except (TransientError, UserError):
            return False
        return True

    def is_ours(self, found: dict[str, Any]) -> bool:
        """Whether an InferenceService belongs to this target of this registry."""
        labels = found["metadata"].get("labels", {})
        return all(labels.get(key) == value for key, value in self.owner.items())

    def check_owner(self, found: dict[str, Any]) -> None:
        """ForeignOwnerError where an InferenceService belongs to others; only the first one can be taken over."""
        labels, name = found["metadata"].get("labels", {}), found["metadata"]["name"]
        if self.is_ours(found) or (self.settings.take_over and name == self.name):
            return
        registry, target = labels.get(REGISTRY_LABEL), labels.get(TARGET_LABEL)
        whose = f"belongs to the target {target!r} of the registry with the id {registry}"
        if not registry:
            whose = f"has no label {REGISTRY_LABEL}, so it is not this package's"
        advice = "give a name of its own, or take_over=True to take this one over"
        if name != self.name:
            advice = f"give another name, as a rollout of {self.name} would delete it"
        raise ForeignOwnerError(f"The InferenceService {self.cluster.namespace}/{name} {whose}: {advice}.")

    def write(self, journal: Journal, wanted: dict[str, Any]) -> None:
        """Make an InferenceService what is wanted, unless it is."""
        found = self.wait_until_gone(journal, wanted["metadata"]["name"])
        if not found or not is_same(found, wanted):
            self.apply(journal, wanted, found)

    def apply(
        self,
        journal: Journal,
        wanted: dict[str, Any],
        found: dict[str, Any] | None,
        *,
        dry_run: bool = False,
        manager: str = MANAGER,
    ) -> dict[str, Any]:
        """Write an InferenceService; the controller is waited for where it is down.

        Args:
            journal: The rollout under way.
            wanted: The InferenceService.
            found: As it was seen, and must still be; None: there was none, and must still be none.
            dry_run: Whether the API only says what it would be.
            manager: Whose fields are written.

        Raises:
            ForeignOwnerError: It belongs to others.
            ChangedError: It is not as it was seen.
        """
        name = wanted["metadata"]["name"]
        if found:
            self.check_owner(found)
        wanted = {**wanted, "metadata": {**wanted["metadata"], **_as_seen(found)}}
        path = inference_service(self.cluster.namespace, name)
        end, told = time.monotonic() + self.settings.ready_seconds, False
        while True:
            try:
                return self.cluster.apply(path, wanted, dry_run=dry_run, manager=manager)
            except ControllerDownError as error:
                if time.monotonic() > end:
                    raise RolloutError(f"{name} can't be written: {error}") from error
                if not told:
                    self.report(f"{error}: waiting for it")
                    told = True
            self.pause(journal)

    def force(self, wanted: dict[str, Any], uid: str, manager: str = MANAGER) -> None:
        """Write the first InferenceService at once, however it is: for where it can be written and not be read.

        Args:
            wanted: The InferenceService.
            uid: Of the one that was there before; another one is not written.
            manager: Whose fields are written.
        """
        wanted = {**wanted, "metadata": {**wanted["metadata"], **({"uid": uid} if uid else {})}}
        self.cluster.apply(inference_service(self.cluster.namespace, self.name), wanted, manager=manager)

    def look_again(self, journal: Journal, step: Callable[[], None]) -> None:
        """Take a step that looks and writes, and take it again where somebody else wrote in between."""
        for _ in range(_MOST_CHANGES):
            try:
                return step()
            except ChangedError:
                self.pause(journal)
        return step()

    def remove(self, journal: Journal, name: str) -> None:
        """Delete an InferenceService, if there is one that is not being deleted already."""
        if found := self._to_delete(journal, name):
            self.check_owner(found)
            self.cluster.delete(found, inference_service(self.cluster.namespace, name))

    def remove_ours(self, journal: Journal, name: str) -> None:
        """As `remove`; one of others is left alone, whatever `take_over` says."""
        found = self._to_delete(journal, name)
        if found and not self.is_ours(found):
            self.report(f"the InferenceService {name} is not this package's: it is left alone")
        elif found:
            self.cluster.delete(found, inference_service(self.cluster.namespace, name))

    def _to_delete(self, journal: Journal, name: str) -> dict[str, Any] | None:
        journal.check()
        found = self.find(name)
        return None if found and found["metadata"].get("deletionTimestamp") else found

    def wait_until_gone(self, journal: Journal, name: str) -> dict[str, Any] | None:
        """An InferenceService; one that is being deleted is waited for: what is written to it would go with it."""
        end, told = time.monotonic() + self.settings.ready_seconds, False
        while (found := self.find(name)) and found["metadata"].get("deletionTimestamp"):
            if time.monotonic() > end:
                raise RolloutError(
                    f"The InferenceService {name} is being deleted, and has not gone for "
                    f"{self.settings.ready_seconds:g} s: is KServe's controller running?"
                )
            if not told:
                self.report(f"{name} is being deleted: waiting until it is gone")
                told = True
            self.pause(journal)
        return found

    def wait(
        self,
        journal: Journal,
        wanted: dict[str, Any],
        look: Callable[[], Seen],
        *,
        failure: dict[str, Any] | None = None,
    ) -> Seen:
        """Wait until an InferenceService serves.

        Args:
            journal: The rollout under way.
            wanted: The InferenceService as it was written.
            look: Looks at it.
            failure: What its status said of an earlier roll.

        Raises:
            RolloutError: It does not serve in time, or can't: the sentence says why.
        """
        name, started = wanted["metadata"]["name"], time.monotonic()
        stuck_since, report_at, told, unread = 0.0, started + self.pace.report_seconds, "", 0
        while True:
            try:
                seen = look()
            except TransientError:
                unread += 1
                if unread == _MOST_UNREAD:
                    raise
                self.pause(journal)
                continue
            if seen.serves:
                return seen
            unread = 0
            reason, now = why(self.cluster, seen, wanted, failure or {}), time.monotonic()
            stuck_since = stuck_since or now
            if (not reason.heals and now - stuck_since > self.pace.stuck_seconds) or (
                now - started > self.settings.ready_seconds
            ):
                raise RolloutError(
                    f"the InferenceService {name} does not serve after {now - started:.0f} s: {reason.text}"
                )
            stuck_since = 0.0 if reason.heals else stuck_since
            if now > report_at or (not reason.heals and reason.text != told):
                self.report(f"{name}, {now - started:.0f} s: {reason.text}")
                report_at, told = now + self.pace.report_seconds, reason.text
            self.pause(journal)

    def ask(self, journal: Journal, url: str, smoke: SmokeSettings, name: str = "") -> None:
        """Ask a server for texts of the test split.

        Args:
            journal: The rollout under way.
            url: Address of the server.
            smoke: When the version passes.
            name: Of the InferenceService, which its model has; "": the first one.

        Raises:
            RolloutError: It answers wrongly or too slowly.
        """
        name = name or self.name
        if not url:
            raise TransientError(f"The InferenceService {name} has no address yet")
        server = ModelServer(f"{url}/v1/models/{name}", min(30.0, journal.call_seconds))
        seen = smoke_test(partial(_answer, server), "0", self._requests(journal.version), smoke, journal.check)
        self.report(f"version {journal.version}, asked at {url}: {seen}")

    def pause(self, journal: Journal, seconds: float | None = None) -> None:
        """Wait, by default until the next look, and check the lease every second."""
        end = time.monotonic() + (self.pace.poll_seconds if seconds is None else seconds)
        journal.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 1.0))
            journal.check()


def _as_seen(found: dict[str, Any] | None) -> dict[str, str]:
    """The condition of a write: that an InferenceService is as it was seen, or that there is still none."""
    if not found:
        return {"resourceVersion": NOT_THERE}
    return {name: found["metadata"][name] for name in ("resourceVersion", "uid")}


def _answer(server: ModelServer, instance: dict[str, str]) -> Answer:
    try:
        return server.ask(0, instance)
    except (KeyError, IndexError, TypeError) as error:
        raise RolloutError(f"its answer has no predictions: {error!r}") from error
