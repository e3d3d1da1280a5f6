"""Makes an endpoint of AI Platform serve the registry's champion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from kfp_bert_components.ai_platform.client import AiPlatformClient
from kfp_bert_components.ai_platform.models import UploadedModels
from kfp_bert_components.ai_platform.plan import Plan
from kfp_bert_components.ai_platform.settings import AiPlatformSettings
from kfp_bert_components.ai_platform.target import AiPlatformTarget
from kfp_bert_components.deployment import (
    Journal,
    SmokeSettings,
    champion_to_deploy,
    check_lease,
    load_smoke_requests,
    roll_out,
)
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.origin import Origin
from kfp_bert_components.progress import say
from kfp_bert_components.registry import Registry


@dataclass(frozen=True)
class DeployedModel:
    """What serves now.

    Attributes:
        endpoint: Full name of the endpoint; "" if a dry run found none.
        deployed_model_id: Id of the deployed model in it; "" if a dry run would deploy one.
        version: The registry's version.
    """

    endpoint: str
    deployed_model_id: str
    version: int


def deploy_to_ai_platform(
    registry: str,
    settings: AiPlatformSettings,
    target: str = "production",
    smoke: SmokeSettings | None = None,
    *,
    api_endpoint: str = "",
    dry_run: bool = False,
    lease_seconds: float = 60.0,
    pause_seconds: float = 1.0,
    poll_seconds: float = 0.5,
    report: Callable[[str], None] = say,
    origin: Origin | None = None,
) -> DeployedModel:
    """Make an endpoint serve the registry's champion: deploy, canary, smoke test, shift; if one fails, revert.

    Args:
        registry: gs:// URI or folder of the registry; on gs://, AI Platform reads the model from there.
        settings: Where and how to deploy.
        target: Name of the deployment record in the registry.
        smoke: When the version passes its smoke test. Default: `SmokeSettings()`.
        api_endpoint: Another address of the API; http:// only on this machine, for tests.
        dry_run: Only say what would be done, from calls that change nothing.
        lease_seconds: Another run's rollout is taken over when its record did not change for this time.
        pause_seconds: First pause before a step that failed is tried again; each following one is twice as long.
        poll_seconds: First pause between two requests for the state of a long-running operation.
        report: Called with each line about what is going on.
        origin: Where this is done, for the deployment record and the labels; by default what the environment tells.

    Returns:
        The endpoint and the deployed model that has all of its traffic.

    Raises:
        RolloutError: The version failed; the traffic is as it was before, and the record says why.
        NoChampionError: Nothing was promoted yet.
        UserError: There is no registry, `lease_seconds` is 0 or less, or AI Platform refuses a call or can't be
            reached.
    """
    check_lease(lease_seconds)
    opened, smoke = Registry(registry, origin=origin), smoke or SmokeSettings()
    # A call that is under way when the lease ends would be one too many.
    limit = min(60.0, lease_seconds / 2)
    client = AiPlatformClient(
        settings.project, settings.location, api_endpoint, poll_seconds=poll_seconds, call_seconds=limit
    )
    requests = cache(partial(load_smoke_requests, opened))
    place = AiPlatformTarget(client, opened, target, settings, smoke, requests, report)
    try:
        if dry_run:
            models = UploadedModels(client, opened, settings)
            return _plan(opened, target, place, models, settings, lease_seconds, report)
        live = roll_out(opened, target, place, lease_seconds=lease_seconds, pause_seconds=pause_seconds, report=report)
    except TransientError as error:
        raise UserError(f"AI Platform can't be reached: {error}. Try again later.") from error
    return DeployedModel(live["facts"]["endpoint"], live["facts"]["deployed"], live["version"])


def _plan(
    registry: Registry,
    target: str,
    place: AiPlatformTarget,
    models: UploadedModels,
    settings: AiPlatformSettings,
    lease_seconds: float,
    report: Callable[[str], None],
) -> DeployedModel:
    """Say what a rollout would do. At most nine calls, none of which changes anything."""
    champion = champion_to_deploy(registry)
    record = Journal(registry, target, lease_seconds, place=place.place(), is_named_by=place.is_named_by)
    facts = record.facts
    recorded = (record.state, record.version) == ("live", champion.version)
    if recorded and place.is_live(champion.version, facts):
        report(f"version {champion.version} is live already: nothing to do")
        return DeployedModel(facts["endpoint"], facts["deployed"], champion.version)
    place.admit(record)
    plan = Plan(place, models, settings, record, champion.version)
    for line in plan.lines():
        report(line)
    return DeployedModel(plan.endpoint.name if plan.endpoint else "", "", champion.version)
