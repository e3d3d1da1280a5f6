"""The component that makes an InferenceService of KServe serve the champion."""

from typing import Dict, List, NamedTuple

from kfp_bert_components.components._images import slim_component


@slim_component
def deploy_to_kserve(
    registry: str,
    name: str,
    namespace: str,
    deployment_target: str = "production",
    storage: str = "",
    image: str = "",
    runtime: str = "",
    service_account: str = "",
    min_replicas: int = 1,
    max_replicas: int = 1,
    cpu: str = "1",
    memory: str = "1Gi",
    cpu_limit: str = "",
    memory_limit: str = "",
    accelerator: str = "",
    accelerator_count: int = 0,
    node_selector: Dict[str, str] = {},
    tolerations: List[Dict] = [],
    labels: Dict[str, str] = {},
    annotations: Dict[str, str] = {},
    ready_seconds: float = 900.0,
    traffic_steps: List[int] = [],
    step_seconds: float = 0.0,
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
) -> NamedTuple("Outputs", [("url", str), ("revision", str)]):
    """Make an InferenceService of KServe serve the registry's champion: test it, then roll it out or take it back.

    The new version is started where it gets no requests from users, and classifies texts of the test split. If its
    answers match those in its evaluation, it gets all requests, and is tested again. If anything fails, the
    InferenceService gets its earlier state back, and the step fails. If the champion is live already, nothing is
    changed. In KServe's mode Standard, the version is tested in a second InferenceService; then Kubernetes replaces the
    pods of the first one. If spec.canary and the Gateway API can split the requests, the version is tested in a canary
    instead. In the mode Knative, it is tested in its own revision. A canary or a revision gets the requests in steps.

    Args:
        registry: Address of the registry: gs://, s3:// or a folder.
        name: Name of the InferenceService; it is created if it does not exist.
        namespace: Namespace of the InferenceService.
        deployment_target: Name of the deployment record in the registry, one for each InferenceService.
        storage: Address of the registry as KServe reaches it: gs://BUCKET/FOLDER, s3://BUCKET/FOLDER or
            pvc://CLAIM/FOLDER. Empty: the address of the registry, which must then be gs://, s3:// or minio://.
        image: Name of the serve image, as the cluster pulls it. Empty: kfp-bert-components/serve with the version of
            this component.
        runtime: Name of a ServingRuntime for the model format kfp-bert; it is used instead of the image. Empty: none.
        service_account: Service account of the pods that serve. Empty: the default account.
        min_replicas: Smallest number of pods.
        max_replicas: Largest number of pods.
        cpu: CPUs that a pod asks for, such as 500m.
        memory: Memory that a pod asks for, such as 1Gi.
        cpu_limit: CPU limit of a pod. Empty: the value of cpu.
        memory_limit: Memory limit of a pod. Empty: the value of memory.
        accelerator: Resource name of an accelerator, such as nvidia.com/gpu. Empty: none.
        accelerator_count: Accelerators in each pod.
        node_selector: Labels of the nodes that the pods may run on.
        tolerations: Tolerations of the pods, as Kubernetes writes them.
        labels: Labels of the InferenceService and its pods, in addition to the two labels that name its owner.
        annotations: Annotations of the InferenceService and its pods.
        ready_seconds: Longest time in seconds until a version is ready.
        traffic_steps: Shares of the requests in percent that the new version gets one after another after its test, in
            ascending order; the last is 100. They apply in the mode Knative, and in the mode Standard with a gateway.
            Empty: 10, 50, 100. In the mode Standard without a gateway it must be empty.
        step_seconds: Pause in seconds after each of these shares except the last. In the mode Standard without a
            gateway it must be 0.
        smoke_answers: Number of answers of the new version that a test needs.
        smoke_tolerance: Largest allowed difference between a probability and the same probability in the version's
            evaluation.
        max_error_rate: Largest share of a test's requests that may fail.
        max_latency_seconds: Largest allowed 95th percentile of the new version's response times, in seconds.
        bake_seconds: Shortest duration of the second test in seconds. In this test the new version has all requests; in
            the mode Knative, and with a gateway, it has the last share below 100 %.
        take_over: Whether to take over the InferenceService if it belongs to another registry or deployment target, or
            to nobody.
        dry_run: Only print how the InferenceService would change.
        api_endpoint: Another address of Kubernetes' API. http:// is allowed only on this machine, for tests. Empty: the
            cluster that the step runs in, or else the cluster of the kubeconfig.
        run_id: Id of the run, for the records: dsl.PIPELINE_JOB_ID_PLACEHOLDER. Give it only if this step is never
            cached. Default: the run in the address of this step's outputs.
        run_name: Name of the run, for the records: dsl.PIPELINE_JOB_NAME_PLACEHOLDER. Give it only if this step is
            never cached.

    Returns:
        url: Address of the InferenceService inside the cluster; empty in a dry run that would change it, or if no model
            was promoted yet.
        revision: Name of the ReplicaSet whose pods serve, or in the mode Knative of the revision that serves; empty in
            a dry run that would make a new one, or if no model was promoted yet.
    """
    from collections import namedtuple

    from kfp_bert_components.components._task import task_address
    from kfp_bert_components.deployment import SmokeSettings
    from kfp_bert_components.errors import NoChampionError
    from kfp_bert_components.kserve import KServeSettings, deploy_to_kserve
    from kfp_bert_components.origin import here

    settings = KServeSettings(
        name=name,
        namespace=namespace,
        storage=storage,
        image=image,
        runtime=runtime,
        service_account=service_account,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        cpu=cpu,
        memory=memory,
        cpu_limit=cpu_limit,
        memory_limit=memory_limit,
        accelerator=accelerator,
        accelerator_count=accelerator_count,
        node_selector=node_selector,
        tolerations=tolerations,
        labels=labels,
        annotations=annotations,
        ready_seconds=ready_seconds,
        traffic_steps=tuple(traffic_steps),
        step_seconds=step_seconds,
        take_over=take_over,
    )
    smoke = SmokeSettings(
        answers=smoke_answers,
        tolerance=smoke_tolerance,
        max_error_rate=max_error_rate,
        max_latency_seconds=max_latency_seconds,
        bake_seconds=bake_seconds,
    )
    outputs = namedtuple("Outputs", ["url", "revision"])
    try:
        served = deploy_to_kserve(
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
    return outputs(served.url, served.revision)
