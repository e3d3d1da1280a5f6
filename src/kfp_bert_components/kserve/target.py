"""An InferenceService as a rollout target, in the mode of KServe that it is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kfp_bert_components.deployment import SmokeSettings, Target
from kfp_bert_components.deployment.states import (
    FINISHING,
    IDLE,
    INTRODUCING,
    PREPARING,
    REVERTING,
    SHIFTING,
    TESTING,
)
from kfp_bert_components.errors import NotFoundError, TransientError, UserError
from kfp_bert_components.kserve.canaries import canaries_of, without_canaries
from kfp_bert_components.kserve.canary import Canary
from kfp_bert_components.kserve.checks import check_surroundings
from kfp_bert_components.kserve.knative import Knative
from kfp_bert_components.kserve.modes import (
    CANARY,
    KNATIVE,
    STANDARD,
    Mode,
    asked_mode,
    check_asked,
    check_known,
    check_same,
    mode_of,
)
from kfp_bert_components.kserve.objects import (
    check_component,
    check_form,
    check_runs,
    difference,
    is_version,
    model_address,
    version_of,
)
from kfp_bert_components.kserve.paths import inference_service
from kfp_bert_components.kserve.reasons import failure_of
from kfp_bert_components.kserve.revisions import ready_revision
from kfp_bert_components.kserve.services import Pace, Services
from kfp_bert_components.kserve.settings import KServeSettings
from kfp_bert_components.kserve.standard import Standard
from kfp_bert_components.kserve.witnesses import revision_of
from kfp_bert_components.kubernetes_api import Cluster, ForbiddenError
from kfp_bert_components.progress import say

if TYPE_CHECKING:
    from kfp_bert_components.deployment import Journal, SmokeRequests
    from kfp_bert_components.registry import Registry

# Seconds after which a wait ends for a reason that does not heal.
STUCK_SECONDS = 45.0
_SHIFTED = "would give version {} all requests, and so change this:"  # what is left after the test


class KServeTarget(Target):
    """An InferenceService as a rollout target.

    How a version is introduced, gets requests and is taken back depends on KServe's mode, and on what is there beside
    it. It is chosen when a rollout begins: `Standard`, `Canary` or `Knative`.

    Facts: `mode`, `failure` (what the status said before it was changed), `fingerprint` (of the bundle), `shape`
    (`KServeSettings.shape`), `witnesses` (who says that it serves), `url` (its address in the cluster), `served` (what
    KServe calls the pods), those of `Before` and those of the mode.

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
        FINISHING: "removing what only the rollout needed",
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
        pace = Pace(poll_seconds, stuck_seconds, report_seconds)
        services = Services(cluster, registry, target, settings, smoke, requests, fingerprint, report, pace)
        self._cluster, self._registry, self._settings, self._services = cluster, registry, settings, services
        self._modes: dict[str, Mode] = {one.name: one(services) for one in (Standard, Knative)}
        self._canary = Canary(services)
        self._identity: dict[str, str] = {}

    def place(self) -> dict[str, str]:
        """Cluster, namespace and name. The cluster is known by the namespace's uid, or by the API's address.

        One call, once.
        """
        if not self._identity:
            namespace, name = self._cluster.namespace, self._settings.name
            try:
                cluster = self._cluster.get(f"/api/v1/namespaces/{namespace}")["metadata"]["uid"]
            except ForbiddenError:
                cluster = self._cluster.host
            except NotFoundError:
                raise UserError(f"There is no namespace {namespace} on the cluster: create it.") from None
            self._identity = {"kind": "KServe", "cluster": cluster, "namespace": namespace, "name": name}
        return self._identity

    def is_live(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether the InferenceService serves the version with these settings. At most two calls, and one to it."""
        if facts.get("shape") != self._settings.shape() or not self._is_of(version, facts):
            return False
        return self._mode(facts).is_live(version, facts)

    def serves(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether it serves the version, with whatever settings it was written."""
        return self._is_of(version, facts) and self._mode(facts).serves(version, facts)

    def _is_of(self, version: int, facts: dict[str, Any]) -> bool:
        """Whether facts are of a rollout that let a version serve, with the content that it has now."""
        return "served" in facts and facts.get("fingerprint", "") == self._services.fingerprint(version)

    def what_serves(self, journal: Journal) -> dict[str, Any]:
        """The version that the InferenceService was written to serve, if it is one of this registry's.

        Raises:
            TransientError: It does not serve now, or not alone: it may have no pod for a moment, and Knative may give
                the requests to another revision. Its pods need its files all the same.
        """
        name, live = self._services.name, journal.live
        found = self._services.find(name)
        version = version_of(found) if found and not found["metadata"].get("deletionTimestamp") else 0
        of_record = version == live.get("version")
        if not found or not version or not (of_record or self._services.is_ours(found)):
            return {}
        fingerprint = self._services.fingerprint(version)
        if not is_version(found, version, fingerprint):
            return {}
        seen = dict(live) if of_record else self._as_live(found, version, fingerprint)
        if not self.serves(version, seen["facts"]):
            raise TransientError(f"{name} was written to serve version {version}, and does not now")
        return seen

    def _as_live(self, found: dict[str, Any], version: int, fingerprint: str) -> dict[str, Any]:
        """As `Journal.live`, of a version that the record does not call live."""
        mode = self._given_mode(found)
        served = ready_revision(found) if mode == KNATIVE else revision_of(found.get("status", {}))
        facts = {"mode": mode, "fingerprint": fingerprint, "served": served or self._services.name}
        return {"version": version, "facts": facts}

    def admit(self, journal: Journal) -> None:
        """Look at whose the InferenceServices are, at what the pods need, and at the mode."""
        services = self._services
        main, *others = (services.find(name) for name in (services.name, services.next, services.copy))
        for found in filter(None, (main, *others)):
            services.check_owner(found)
        if main:
            check_component(main)
            check_runs(main)
        began = self._began(journal)
        if began:
            check_same(services.name, mode_of(main) if main else "", began.of_kserve)
        version = self._registry.require_champion().version
        if not journal.only_ends(version):
            self._check_settings(main, version, began)

    def _check_settings(self, main: dict[str, Any] | None, version: int, began: Mode | None) -> None:
        """RolloutError where a version can't be served with these settings, in the mode in which its rollout began."""
        services = self._services
        check_surroundings(self._cluster, self._settings, model_address(self._settings, self._registry.uri, version))
        if main:
            check_form(main, services.main(version))
        mode = self._said_mode(main)
        if began:
            check_same(services.name, mode, began.of_kserve)
            began.admit(main, begun=True)
        elif mode:
            self._mode_for(mode, main).admit(main)

    def plan(self, journal: Journal, version: int) -> list[str]:
        """What a rollout would do, and the InferenceService's diff; asked of the API, which writes nothing.

        Args:
            journal: The deployment record, after `admit`.
            version: The registry's version.

        Returns:
            The lines. There are none where the rollout under way only has to be finished.

        Raises:
            RolloutError: The run would refuse the version once the rollout under way has ended; or a mode that nobody
                asked for, KServe's default, is not allowed.
        """
        found, began = self._services.find(self._services.name), self._began(journal)
        if journal.only_ends(version):
            same = journal.version == version and journal.facts.get("shape") == self._settings.shape()
            if journal.state == FINISHING and same:
                return []
            found, began = began.after(journal, found) if began else found, None
            self._check_settings(found, version, None)
        said = self._said_mode(found)
        mode = began or self._mode_for(said or self._given_mode(self._dry_run(version)), found)
        if not said:
            mode.admit(found, begun=bool(began))
        made = self._cluster.apply(
            inference_service(self._cluster.namespace, self._services.name), mode.wanted(version), dry_run=True
        )
        lines = difference(found, made if found and canaries_of(found) else without_canaries(made))
        first = _SHIFTED.format(version) if began and journal.state == SHIFTING else mode.plan(version)
        return [first, *(lines or ["nothing: the InferenceService is already as it should be"])]

    def prepare(self, journal: Journal) -> None:
        """Choose the mode, note what serves now, and remove what an earlier rollout left."""
        self._resume(journal)
        self._registry.id()
        if "before" not in journal.facts:
            found = self._services.wait_until_gone(journal, self._services.name)
            mode = self._choose(journal, found)
            mode.before.note(
                journal,
                found,
                mode=mode.name,
                failure=failure_of(found),
                fingerprint=self._services.fingerprint(journal.version),
                **mode.facts(found, journal.version),
            )
        self._mode(journal.facts).prepare(journal)

    def introduce(self, journal: Journal) -> None:
        """Start the version where it gets no requests, and wait until it serves."""
        self._resume(journal).introduce(journal)

    def test(self, journal: Journal) -> None:
        """Ask it for texts of the test split."""
        self._resume(journal).test(journal)

    def shift(self, journal: Journal) -> None:
        """Let it get all requests, look whether it does, and ask it again."""
        mode = self._resume(journal)
        journal.note(shape=self._settings.shape())
        mode.shift(journal)
        facts = journal.facts
        self._services.report(
            f"version {journal.version} serves at {facts['url']}, as {' and '.join(facts['witnesses'])} say"
        )

    def finish(self, journal: Journal) -> None:
        """Remove what only the rollout needed."""
        self._resume(journal).finish(journal)

    def revert(self, journal: Journal) -> None:
        """Let what served before get all requests, and take back what was written."""
        mode = self._resume(journal)
        if "before" in journal.facts:
            mode.revert(journal)

    # The mode

    def _mode(self, facts: Mapping[str, Any]) -> Mode:
        """The one in which a rollout began; records of older versions do not say it."""
        name = facts.get("mode", STANDARD)
        return self._canary if name == CANARY else self._modes[name]

    def _began(self, journal: Journal) -> Mode | None:
        """The one of the rollout under way; None where none is, or where it has not noted what was there before."""
        return self._mode(journal.facts) if "before" in journal.facts and journal.state not in IDLE else None

    def _mode_for(self, mode: str, found: dict[str, Any] | None) -> Mode:
        """What is done in a mode of KServe, by what is there."""
        return self._canary if mode == STANDARD and found and self._canary.fits(found) else self._modes[mode]

    def _resume(self, journal: Journal) -> Mode:
        """The mode. From here on no call is made without the lease."""
        self._cluster.before_call = journal.check
        return self._mode(journal.facts)

    def _said_mode(self, found: dict[str, Any] | None) -> str:
        """The mode of an InferenceService, or the one that the settings ask for; "" where neither says it."""
        name, asked = self._services.name, asked_mode(self._settings.annotations)
        mode = mode_of(found) if found else ""
        check_known(name, mode or asked)
        check_asked(name, mode, asked)
        return mode or asked

    def _given_mode(self, made: dict[str, Any]) -> str:
        """The mode of an InferenceService that the API says it would make; KServe writes down all but Knative."""
        mode = mode_of(made) or KNATIVE
        check_known(self._services.name, mode)
        return mode

    def _choose(self, journal: Journal, found: dict[str, Any] | None) -> Mode:
        mode = self._said_mode(found)
        if not mode:
            made = self._services.apply(journal, self._services.main(journal.version), found, dry_run=True)
            mode = self._given_mode(made)
        chosen = self._mode_for(mode, found)
        chosen.admit(found)
        return chosen

    def _dry_run(self, version: int) -> dict[str, Any]:
        path = inference_service(self._cluster.namespace, self._services.name)
        return self._cluster.apply(path, self._services.main(version), dry_run=True)
