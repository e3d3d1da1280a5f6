"""The component that makes an endpoint of AI Platform serve the champion."""

from typing import Dict, List, NamedTuple

from kfp_bert_components.components._images import slim_component


@slim_component
def deploy_to_ai_platform(
    registry: str,
    project: str,
    location: str,
    deployment_target: str = "production",
    endpoint: str = "",
    dedicated_endpoint: bool = False,
    model_id: str = "kfp-bert",
    serving_image: str = "",
    staging: str = "",
    machine_type: str = "n1-standard-4",
    accelerator_type: str = "",
    accelerator_count: int = 0,
    min_replicas: int = 1,
    max_replicas: int = 1,
    service_account: str = "",
    labels: Dict[str, str] = {},
    encryption_key: str = "",
    request_log_table: str = "",
    request_log_rate: float = 0.0,
    canary_percent: int = 10,
    traffic_steps: List[int] = [50, 100],
    step_seconds: float = 0.0,
    drain_seconds: float = 30.0,
    keep_warm: bool = False,
    operation_seconds: float = 3600.0,
    smoke_answers: int = 20,
    smoke_tolerance: float = 0.01,
    max_error_rate: float = 0.05,
    max_latency_seconds: float = 2.0,
    bake_seconds: float = 0.0,
    take_over: bool = False,
    dry_run: bool = False,
    api_endpoint: str = "",
    run_id: str = "",
    run_name: str = "",
) -> NamedTuple("Outputs", [("endpoint", str), ("deployed_model_id", str)]):
    """Make an endpoint of AI Platform serve the registry's champion: canary, smoke test, shift, or revert.

    The new version is deployed beside the old one, and classifies texts of the test split. If its answers match those
    in its evaluation, it gets all traffic, and the old version is undeployed. If anything fails, the traffic is
    restored and the step fails. If the champion is live already, nothing is changed. Deployed models that this
    deployment did not make are never undeployed, and keep their share of the traffic.

    Args:
        registry: gs:// or s3:// URI, or folder, of the registry; on gs://, AI Platform reads the model from there.
        project: Id of the Google Cloud project.
        location: Region, such as europe-west4.
        deployment_target: Name of the deployment record in the registry, one for each endpoint.
        endpoint: Id or full name of the endpoint, or label:key=value. Empty: kfp-bert-TARGET. But if the deployment
            record names other endpoints in this project and location and not kfp-bert-TARGET, the last of these. The
            endpoint is created if it does not exist.
        dedicated_endpoint: Whether an endpoint that is created gets an address of its own.
        model_id: Id of the parent model in the Model Registry, created if it does not exist.
        serving_image: Container that serves. Empty: the prebuilt TensorFlow 2.15 container.
        staging: gs:// folder for the model; needed only where the registry is not on gs://.
        machine_type: Machine of a replica.
        accelerator_type: Accelerator of a replica, such as NVIDIA_TESLA_T4. Empty: none.
        accelerator_count: Accelerators in each replica.
        min_replicas: Smallest number of replicas.
        max_replicas: Largest number of replicas.
        service_account: E-mail of the account that the container runs as. Empty: the default account.
        labels: Labels of the endpoint and of the model.
        encryption_key: Full name of a customer-managed encryption key. Empty: Google's own key.
        request_log_table: bq://project.dataset.table for requests and answers. Empty: they are not logged.
        request_log_rate: Share of the requests that is logged, 0 to 1; 0 with a table means all.
        canary_percent: Share of the traffic in percent that the new version gets while it is tested.
        traffic_steps: Shares of the traffic in percent that the new version gets one after another after the test; the
            last share must be 100.
        step_seconds: Pause in seconds after each of these shares except the last.
        drain_seconds: Pause in seconds between the last request to the old version and its end.
        keep_warm: Whether the old version stays deployed, without traffic, for a quick rollback.
        operation_seconds: Longest time in seconds for one long-running operation, such as a deployment.
        smoke_answers: Number of answers of the new version that the test needs.
        smoke_tolerance: Largest allowed difference between a probability and the same probability in the version's
            evaluation.
        max_error_rate: Largest share of the test's requests that may fail.
        max_latency_seconds: Largest allowed 95th percentile of the new version's response times, in seconds.
        bake_seconds: Shortest duration of the test in seconds; during the test the new version keeps its first share.
        take_over: Whether to take over the endpoint and the parent model, with the models that get traffic there, if
            they belong to another registry or deployment target.
        dry_run: Only print what would be done; only calls that change nothing are made.
        api_endpoint: Another address of the API. http:// is allowed only on this machine, for tests.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER. Give it only if this step is never
            cached. Default: the run in the address of this step's outputs.
        run_name: Name of the run, for the records: dsl.PIPELINE_JOB_NAME_PLACEHOLDER. Give it only if this step is
            never cached.

    Returns:
        endpoint: Full name of the endpoint; empty if no model was promoted yet.
        deployed_model_id: Id of the deployed model that has all of the endpoint's traffic; empty in a dry run that
            would deploy, or if no model was promoted yet.
    """
    from collections import namedtuple

    from kfp_bert_components.ai_platform import AiPlatformSettings, deploy_to_ai_platform
    from kfp_bert_components.components._task import task_address
    from kfp_bert_components.deployment import SmokeSettings
    from kfp_bert_components.errors import NoChampionError
    from kfp_bert_components.origin import here

    settings = AiPlatformSettings(
        project=project,
        location=location,
        endpoint=endpoint,
        dedicated=dedicated_endpoint,
        model_id=model_id,
        image=serving_image,
        staging=staging,
        machine_type=machine_type,
        accelerator_type=accelerator_type,
        accelerator_count=accelerator_count,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        service_account=service_account,
        labels=labels,
        encryption_key=encryption_key,
        request_log_table=request_log_table,
        request_log_rate=request_log_rate,
        canary_percent=canary_percent,
        traffic_steps=tuple(int(step) for step in traffic_steps),
        step_seconds=step_seconds,
        drain_seconds=drain_seconds,
        keep_warm=keep_warm,
        operation_seconds=operation_seconds,
        take_over=take_over,
    )
    smoke = SmokeSettings(
        answers=smoke_answers,
        tolerance=smoke_tolerance,
        max_error_rate=max_error_rate,
        max_latency_seconds=max_latency_seconds,
        bake_seconds=bake_seconds,
    )
    outputs = namedtuple("Outputs", ["endpoint", "deployed_model_id"])
    try:
        deployed = deploy_to_ai_platform(
            registry,
            settings,
            deployment_target,
            smoke,
            api_endpoint=api_endpoint,
            dry_run=dry_run,
            origin=here(task_address(), run_id, run_name),
        )
    except NoChampionError as error:  # as where the first model was held back: the run did what it should
        print(error)
        return outputs("", "")
    return outputs(deployed.endpoint, deployed.deployed_model_id)
