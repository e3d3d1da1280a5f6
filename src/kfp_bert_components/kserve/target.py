"""An InferenceService as a rollout target, in KServe's Standard mode."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from kfp_bert_components.deployment import (
    ForeignOwnerError,
    LeaseLostError,
    RolloutError,
    SmokeSettings,
    Target,
    smoke_test,
)
from kfp_bert_components.deployment.labels import REGISTRY_LABEL, TARGET_LABEL, slug
from kfp_bert_components.deployment.model_server import ModelServer
from kfp_bert_components.deployment.states import FINISHING, INTRODUCING, PREPARING, REVERTING, SHIFTING, TESTING
from kfp_bert_components.errors import NotFoundError, TransientError, UserError
from kfp_bert_components.kserve.checks import check_surroundings
from kfp_bert_components.kserve.objects import check_form, difference, kept, model_address, service
from kfp_bert_components.kserve.paths import inference_service
from kfp_bert_components.kserve.reasons import failure_of, why
from kfp_bert_components.kserve.settings import NEXT, KServeSettings
from kfp_bert_components.kserve.witnesses import Seen, Witnesses, is_written, revision_of
from kfp_bert_components.kubernetes_api import Cluster, ControllerDownError, ForbiddenError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Answer, Journal, SmokeRequests
    from kfp_bert_components.registry import Registry

# Seconds after which a wait ends for a reason that does not heal.
STUCK_SECONDS = 45.0
_MOST_UNREAD = 5  # looks in a row that fail
_MODE = "serving.kserve.io/deploymentMode"
_STANDARD = ("Standard", "RawDeployment")  # the second is its older name


class KServeTarget(Target):
    """An InferenceService as a rollout target.

    A version is first served by a second InferenceService beside it, which gets no requests but those of the test. Then
    the first one is changed, and Kubernetes rolls its pods: a new one begins to answer before an old one ends.

    Facts: `before` (what is written to go back; None where there was none), `failure` and `revision` (what the status
    said before it was changed), `fingerprint` (of the bundle), `shape` (`KServeSettings.shape`), `witnesses` (who says
    that it serves), `url` (its address in the cluster), and `served` (the ReplicaSet of its pods).

    Args:
        cluster: The API.
        registry: The registry whose version is rolled out.
        target: Name of the deployment record.
        settings: Where and how to deploy.
        smoke: When a version passes its test.
        requests: Gives the requests of the test for a version of the registry.
        fingerprint: Gives the fingerprint of a version's bundle.
        report: Called with each line about what is going on.
        poll_seconds: Pause between two looks at what is waited for.
        stuck_seconds: Seconds after which a wait ends for a reason that does not heal.
        report_seconds: Time between two printed lines about what is waited for.
    """

    words: ClassVar[Mapping[str, str]] = {
        PREPARING: "checking what it needs on the cluster",
        INTRODUCING: "starting it beside the one that serves",
        TESTING: "asking it for texts of the test split",
        SHIFTING: "changing the InferenceService that serves",
        FINISHING: "removing the second InferenceService",
        REVERTING: "making the InferenceService what it was before",
    }

    def __init__(
        self,
        cluster: Cluster,
        registry: Registry,
        target: str,
        settings: KServeSettings,
        smoke: SmokeSettings,
        requests: Callable[[int], SmokeRequests],
        fingerprint: Callable[[int], str],
        report: Callable[[str], None] = say,
        *,
        poll_seconds: float = 1.0,
        stuck_seconds: float = STUCK_SECONDS,
        report_seconds: float = 15.0,
    ) -> None:
        self._cluster, self._registry, self._target = cluster, registry, target
        self._settings, self._smoke, self._requests = settings, smoke, requests
        self._fingerprint, self._report = fingerprint, report
        self._poll_seconds, self._stuck_seconds = poll_seconds, stuck_seconds
        self._report_seconds = report_seconds
        self._witnesses = Witnesses(cluster)
        self._name, self._next = settings.name, f"{settings.name}{NEXT}"
        self._identity: dict[str, str] = {}

    def place(self) -> dict[str, str]:
        """Cluster, namespace and name. The cluster is known by the namespace's uid, or by the API's address.

        One call, once.
        """
        if not self._identity:
            namespace = self._cluster.namespace
            try:
                cluster = self._cluster.get(f"/api/v1/namespaces/{namespace}")["metadata"]["uid"]
            except ForbiddenError:
                cluster = self._cluster.host
            except NotFoundError:
                raise UserError(f"There is no namespace {namespace} on the cluster: create it.") from None
            self._identity = {"kind": "KServe", "cluster": cluster, "namespace": namespace, "name": self._name}
        return self._identity

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the InferenceService serves the version with these settings. At most two calls, and one to it."""
        if facts.get("shape") != self._settings.shape() or "served" not in facts:
            return False
        fingerprint = self._fingerprint(version)
        if facts.get("fingerprint", "") != fingerprint:
            return False
        return self._witnesses.look(self._main(version), fingerprint, facts.get("revision", ""), brief=True).serves

    def admit(self, journal: Journal) -> None:
        """Look at whose the two InferenceServices are, and at what the pods need."""
        main, second = self._find(self._name), self._find(self._next)
        for found in filter(None, (main, second)):
            self._check_owner(found)
        version = self._registry.require_champion().version
        check_surroundings(self._cluster, self._settings, model_address(self._settings, self._registry.uri, version))
        if main:
            check_form(main, self._main(version))
            _check_mode(main)

    def plan(self, version: int) -> list[str]:
        """How the InferenceService would change, as a diff; asked of the API, which writes nothing."""
        path = inference_service(self._cluster.namespace, self._name)
        return difference(self._find(self._name), self._cluster.apply(path, self._main(version), dry_run=True))

    def prepare(self, journal: Journal) -> None:
        """Note what serves now, and remove what an earlier rollout left."""
        self._resume(journal)
        self._registry.id()
        if "before" not in journal.facts:
            found = self._find(self._name)
            rolls = found and not _is_same(found, _of_pods(self._main(journal.version)))
            journal.note(
                before=kept(found) if found else None,
                failure=failure_of(found),
                revision=revision_of(found.get("status", {})) if found and rolls else "",
                fingerprint=self._fingerprint(journal.version),
            )
        wanted, found = self._second(journal.version), self._find(self._next)
        if found and not _is_same(found, wanted):
            self._remove(journal, self._next)
        self._wait_until_gone(journal, self._next)

    def introduce(self, journal: Journal) -> None:
        """Start the version in the second InferenceService, and wait until it serves."""
        self._resume(journal)
        wanted = self._second(journal.version)
        self._write(journal, self._next, wanted)
        self._wait(journal, wanted)

    def test(self, journal: Journal) -> None:
        """Ask the second InferenceService for texts of the test split."""
        self._resume(journal)
        wanted = self._second(journal.version)
        self._write(journal, self._next, wanted)  # a run that could not write its record may have reverted
        seen = self._wait(journal, wanted)
        self._ask(journal, self._next, seen.url, replace(self._smoke, bake_seconds=0.0))

    def shift(self, journal: Journal) -> None:
        """Change the InferenceService that serves, look until all its pods serve the version, and ask it again."""
        self._resume(journal)
        wanted = self._main(journal.version)
        journal.note(shape=self._settings.shape())
        self._write(journal, self._name, wanted)
        seen = self._wait(journal, wanted, failure=journal.facts["failure"], revision=journal.facts["revision"])
        self._ask(journal, self._name, seen.url, self._smoke)
        journal.note(served=seen.revision or self._name, url=seen.url, witnesses=list(seen.witnesses))
        self._report(f"version {journal.version} serves at {seen.url}, as {' and '.join(seen.witnesses)} say")

    def finish(self, journal: Journal) -> None:
        """Remove the second InferenceService, and wait while pods that were asked for are starting."""
        self._resume(journal)
        self._remove(journal, self._next)
        self._settle(journal)

    def revert(self, journal: Journal) -> None:
        """Make the InferenceService what it was before, and remove the second one."""
        self._resume(journal)
        if "before" not in journal.facts:
            return
        before = journal.facts["before"]
        if before is None:
            self._remove(journal, self._name)
        else:
            self._write_back(journal, before)
        self._remove(journal, self._next)

    # Objects

    def _main(self, version: int) -> dict[str, Any]:
        settings = self._settings
        replicas = (settings.min_replicas, settings.max_replicas)
        return self._service(settings, self._name, version, replicas)

    def _second(self, version: int) -> dict[str, Any]:
        return self._service(self._settings, self._next, version, (1, 1))

    def _service(self, settings: KServeSettings, name: str, version: int, replicas: tuple[int, int]) -> dict[str, Any]:
        fingerprint = self._fingerprint(version)
        return service(settings, name, version, self._registry.uri, fingerprint, self._owner(), replicas)

    def _owner(self) -> dict[str, str]:
        return {REGISTRY_LABEL: self._registry.id(create=False), TARGET_LABEL: slug(self._target, 63)}

    def _find(self, name: str) -> dict[str, Any] | None:
        return self._cluster.find(inference_service(self._cluster.namespace, name))

    def _check_owner(self, found: dict[str, Any]) -> None:
        """ForeignOwnerError where an InferenceService belongs to others, and is not to be taken over."""
        labels, name = found["metadata"].get("labels", {}), found["metadata"]["name"]
        registry, target = labels.get(REGISTRY_LABEL), labels.get(TARGET_LABEL)
        ours = (self._registry.id(create=False), slug(self._target, 63))
        if self._settings.take_over or (registry, target) == ours:
            return
        whose = f"belongs to the target {target!r} of the registry with the id {registry}"
        if not registry:
            whose = f"has no label {REGISTRY_LABEL}, so it is not this package's"
        raise ForeignOwnerError(
            f"The InferenceService {self._cluster.namespace}/{name} {whose}: give a name of its own, or take_over=True "
            "to take this one over."
        )

    def _write(self, journal: Journal, name: str, wanted: dict[str, Any]) -> None:
        """Make an InferenceService what is wanted, unless it is; the controller is waited for where it is down."""
        found = self._wait_until_gone(journal, name)
        if found and (_is_same(found, wanted) or kept(found) == wanted):
            return
        if found:
            version = found["metadata"]["resourceVersion"]
            wanted = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}}
        path = inference_service(self._cluster.namespace, name)
        end, told = time.monotonic() + self._settings.ready_seconds, False
        while True:
            try:
                self._cluster.apply(path, wanted)
                return
            except ControllerDownError as error:
                if time.monotonic() > end:
                    raise RolloutError(f"{name} can't be written: {error}") from error
                if not told:
                    self._report(f"{error}: waiting for it")
                    told = True
            self._pause(journal)

    def _write_back(self, journal: Journal, before: dict[str, Any]) -> None:
        """Make the InferenceService what it was before, also where it can be written and not be read."""
        try:
            found = self._find(self._name)
            if found and kept(found) == before:
                return
            self._write(journal, self._name, before)
        except LeaseLostError:
            raise
        except (TransientError, UserError):
            self._cluster.apply(inference_service(self._cluster.namespace, self._name), before)
        self._wait_for_old(journal, before)

    def _remove(self, journal: Journal, name: str) -> None:
        """Delete an InferenceService, if there is one that is not being deleted already."""
        journal.check()
        found = self._find(name)
        if found and not found["metadata"].get("deletionTimestamp"):
            self._check_owner(found)
            self._cluster.delete(found, inference_service(self._cluster.namespace, name))

    def _wait_until_gone(self, journal: Journal, name: str) -> dict[str, Any] | None:
        """An InferenceService; one that is being deleted is waited for: what is written to it would go with it."""
        end, told = time.monotonic() + self._settings.ready_seconds, False
        while (found := self._find(name)) and found["metadata"].get("deletionTimestamp"):
            if time.monotonic() > end:
                raise RolloutError(
                    f"The InferenceService {name} is being deleted, and has not gone for "
                    f"{self._settings.ready_seconds:g} s: is KServe's controller running?"
                )
            if not told:
                self._report(f"{name} is being deleted: waiting until it is gone")
                told = True
            self._pause(journal)
        return found

    # Waiting and asking

    def _wait(
        self, journal: Journal, wanted: dict[str, Any], *, failure: dict[str, Any] | None = None, revision: str = ""
    ) -> Seen:
        """Wait until an InferenceService serves.

        Args:
            journal: The rollout under way.
            wanted: The InferenceService as it was written.
            failure: What its status said of an earlier roll.
            revision: The ReplicaSet before it was written.

        Raises:
            RolloutError: It does not serve in time, or can't: the sentence says why.
        """
        name, started = wanted["metadata"]["name"], time.monotonic()
        stuck_since, report_at, told, unread = 0.0, started + self._report_seconds, "", 0
        while True:
            try:
                seen = self._witnesses.look(wanted, journal.facts["fingerprint"], revision)
            except TransientError:
                unread += 1
                if unread == _MOST_UNREAD:
                    raise
                self._pause(journal)
                continue
            if seen.serves:
                return seen
            unread = 0
            if seen.service:
                _check_mode(seen.service)
            reason, now = why(self._cluster, seen, wanted, failure or {}), time.monotonic()
            stuck_since = stuck_since or now
            if (not reason.heals and now - stuck_since > self._stuck_seconds) or (
                now - started > self._settings.ready_seconds
            ):
                raise RolloutError(
                    f"the InferenceService {name} does not serve after {now - started:.0f} s: {reason.text}"
                )
            stuck_since = 0.0 if reason.heals else stuck_since
            if now > report_at or (not reason.heals and reason.text != told):
                self._report(f"{name}, {now - started:.0f} s: {reason.text}")
                report_at, told = now + self._report_seconds, reason.text
            self._pause(journal)

    def _wait_for_old(self, journal: Journal, before: dict[str, Any]) -> None:
        """Wait until what was there before serves again; its pods were never ended where the new ones never served."""
        end = time.monotonic() + self._stuck_seconds
        while time.monotonic() < end:
            try:
                if self._witnesses.look(before, "").serves:
                    return
            except LeaseLostError:
                raise
            except (TransientError, UserError):
                pass
            self._pause(journal)
        self._report(f"{self._name} was written back, and does not serve from all its pods yet: look at them")

    def _settle(self, journal: Journal) -> None:
        """Wait for the pods of an InferenceService that was not changed by others.

        Where its status is the only witness, it says for a moment that it serves after more pods were asked for, and
        then that it does not, until they are there.
        """
        wanted, facts, told = self._main(journal.version), journal.facts, False
        end = time.monotonic() + self._settings.ready_seconds
        while time.monotonic() < end:
            seen = self._witnesses.look(wanted, facts["fingerprint"], facts.get("revision", ""), brief=True)
            if seen.serves or seen.service is None or not is_written(seen.service, wanted):
                return
            if not told:
                self._report(f"{self._name} was asked, and its status does not say yet that it serves: waiting for it")
                told = True
            self._pause(journal)

    def _ask(self, journal: Journal, name: str, url: str, smoke: SmokeSettings) -> None:
        if not url:
            raise TransientError(f"The InferenceService {name} has no address yet")
        server = ModelServer(f"{url}/v1/models/{name}", min(30.0, journal.call_seconds))
        seen = smoke_test(partial(_answer, server), "0", self._requests(journal.version), smoke, journal.check)
        self._report(f"version {journal.version}, asked at {url}: {seen}")

    def _resume(self, journal: Journal) -> None:
        """From here on no call is made without the lease."""
        self._cluster.before_call = journal.check

    def _pause(self, journal: Journal) -> None:
        journal.check()
        time.sleep(self._poll_seconds)


def _answer(server: ModelServer, instance: dict[str, str]) -> Answer:
    try:
        return server.ask(0, instance)
    except (KeyError, IndexError, TypeError) as error:
        raise RolloutError(f"its answer has no predictions: {error!r}") from error


def _is_same(found: dict[str, Any], wanted: Any) -> bool:
    """Whether an object has all fields of another one with their values; what others added does not matter."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            key in found and _is_same(found[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_is_same(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)


def _of_pods(wanted: dict[str, Any]) -> dict[str, Any]:
    """The fields by which Kubernetes rolls pods: another number of them is no other ReplicaSet."""
    predictor = {
        key: value for key, value in wanted["spec"]["predictor"].items() if key not in ("minReplicas", "maxReplicas")
    }
    return {**wanted, "spec": {**wanted["spec"], "predictor": predictor}}


def _check_mode(found: dict[str, Any]) -> None:
    """RolloutError where an InferenceService is in another mode than Standard, or is stopped."""
    name, annotations = found["metadata"]["name"], found["metadata"].get("annotations", {})
    for mode in (annotations.get(_MODE), found.get("status", {}).get("deploymentMode")):
        if mode and mode not in _STANDARD:
            raise RolloutError(
                f"The InferenceService {name} is in KServe's mode {mode}: this package deploys in Standard. Give "
                f"annotations={{'{_MODE}': 'Standard'}} and a name that is new."
            )
    if annotations.get("serving.kserve.io/stop") == "true":
        raise RolloutError(
            f"The InferenceService {name} is stopped by its annotation serving.kserve.io/stop: remove the annotation."
        )
