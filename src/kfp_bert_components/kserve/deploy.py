"""Makes an InferenceService of KServe serve the registry's champion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kfp_bert_components.deployment import (
    Journal,
    SmokeSettings,
    champion_to_deploy,
    check_lease,
    load_smoke_requests,
    roll_out,
)
from kfp_bert_components.deployment.smoke_requests import read_stored_bundle
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.kserve.settings import KServeSettings
from kfp_bert_components.kserve.target import STUCK_SECONDS, KServeTarget
from kfp_bert_components.kubernetes_api import Cluster
from kfp_bert_components.origin import Origin
from kfp_bert_components.progress import say
from kfp_bert_components.registry import Registry


@dataclass(frozen=True)
class ServedVersion:
    """What serves now.

    Attributes:
        url: Address of the InferenceService in the cluster; "" where a dry run would create it.
        revision: Name of the ReplicaSet whose pods answer, or of the revision in Knative; "" where a dry run would make
            it.
        version: The registry's version.
    """

    url: str
    revision: str
    version: int


def deploy_to_kserve(
    registry: str,
    settings: KServeSettings,
    target: str = "production",
    smoke: SmokeSettings | None = None,
    *,
    api_endpoint: str = "",
    dry_run: bool = False,
    lease_seconds: float = 60.0,
    pause_seconds: float = 1.0,
    poll_seconds: float = 1.0,
    stuck_seconds: float = STUCK_SECONDS,
    report: Callable[[str], None] = say,
    origin: Origin | None = None,
) -> ServedVersion:
    """Make an InferenceService serve the registry's champion: test it, roll it out, test it again; or revert.

    Args:
        registry: Address of the registry: gs://, s3:// or a folder.
        settings: Where and how to deploy.
        target: Name of the deployment record in the registry.
        smoke: When the version passes its test. Default: `SmokeSettings()`.
        api_endpoint: Another address of Kubernetes' API; http:// only on this machine, for tests.
        dry_run: Only say how the InferenceService would change; nothing is written.
        lease_seconds: Another run's rollout is taken over when its record did not change for this time.
        pause_seconds: First pause before a step that failed is tried again; each following one is twice as long.
        poll_seconds: Pause between two requests while the step waits.
        stuck_seconds: Seconds after which a wait ends if its cause does not go away by itself.
        report: Called with each line about what is going on.
        origin: Where this is done, for the deployment record; by default what the environment tells.

    Returns:
        Where the champion is served, and its version.

    Raises:
        RolloutError: The version was not rolled out; what served before serves, and the record says why.
        NoChampionError: Nothing was promoted yet.
        UserError: There is no registry, `lease_seconds` is 0 or less, or Kubernetes refuses a call or can't be reached.
    """
    check_lease(lease_seconds)
    opened, smoke = Registry(registry, origin=origin), smoke or SmokeSettings()
    # A call that is under way when the lease ends would be one too many.
    cluster = Cluster(settings.namespace, api_endpoint, call_seconds=min(30.0, lease_seconds / 2))
    place = KServeTarget(
        cluster,
        opened,
        target,
        settings,
        smoke,
        partial(load_smoke_requests, opened),
        lambda version: read_stored_bundle(opened, version).fingerprint,
        report,
        poll_seconds=poll_seconds,
        stuck_seconds=stuck_seconds,
    )
    try:
        if dry_run:
            return _plan(opened, target, place, lease_seconds, report)
        live = roll_out(opened, target, place, lease_seconds=lease_seconds, pause_seconds=pause_seconds, report=report)
    except TransientError as error:
        raise UserError(f"Kubernetes can't be reached: {error}. Try again later.") from error
    return ServedVersion(live["facts"]["url"], live["facts"]["served"], live["version"])


def _plan(
    registry: Registry, target: str, place: KServeTarget, lease_seconds: float, report: Callable[[str], None]
) -> ServedVersion:
    """Say how the InferenceService would change. The one write is a dry run of the API."""
    champion = champion_to_deploy(registry)
    record = Journal(registry, target, lease_seconds, place=place.place(), is_named_by=place.is_named_by)
    if (record.state, record.version) == ("live", champion.version) and place.is_live(champion.version, record.facts):
        report(f"version {champion.version} is live already: nothing to do")
        return ServedVersion(record.facts["url"], record.facts["served"], champion.version)
    place.admit(record)
    if first := record.unfinished(champion.version):
        report(first)
    for line in place.plan(record, champion.version):
        report(line)
    return ServedVersion("", "", champion.version)
