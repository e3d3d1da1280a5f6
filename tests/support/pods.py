"""The pods that Kubeflow Pipelines makes of a compiled pipeline, as its driver and compiler build them.

After `initPodSpecPatch` and `extendPodSpecPatch` (backend/src/v2/driver) and `getTaskRetryStrategyFromInput`
(backend/src/v2/compiler/argocompiler/container.go) of Kubeflow Pipelines at 7b70c7b: the fields that cluster.yaml sets,
for names that are constants. Both documents are read by KFP's own strict parsers.
"""

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from kubernetes.utils import parse_quantity


def read_compiled(text):
    """The pipeline and the settings of its pods by executor, as messages; an unknown field is an error."""
    from kfp.kubernetes import kubernetes_executor_config_pb2

    documents = list(yaml.safe_load_all(text))
    spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    platforms = json_format.ParseDict(documents[1] if documents[1:] else {}, pipeline_spec_pb2.PlatformSpec())
    executors = platforms.platforms["kubernetes"].deployment_spec.executors if documents[1:] else {}
    config = kubernetes_executor_config_pb2.KubernetesExecutorConfig
    pods = {label: json_format.ParseDict(json_format.MessageToDict(one), config()) for label, one in executors.items()}
    return spec, pods


def pods_of(text):
    """The specification of each container step's pod, by the executor's name without "exec-"."""
    spec, configs = read_compiled(text)
    deployment = json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec), pipeline_spec_pb2.PipelineDeploymentConfig()
    )
    pods = {}
    for label, executor in deployment.executors.items():
        if executor.HasField("container"):
            pods[label.removeprefix("exec-")] = checked(_pod(executor.container, configs.get(label)))
    return pods


def _pod(container, config):
    resources = {"limits": {}, "requests": {}}
    for name in ("cpu", "memory"):
        for bound in ("limit", "request"):
            if text := getattr(container.resources, f"resource_{name}_{bound}"):
                resources[f"{bound}s"][name] = text
    accelerator = container.resources.accelerator
    if accelerator.resource_type and accelerator.resource_count:
        resources["limits"][accelerator.resource_type] = accelerator.resource_count
    env = [{"name": one.name, "value": one.value} for one in container.env]
    main = {"name": "main", "image": container.image, "env": env, "resources": resources, "volumeMounts": []}
    pod = {"containers": [main], "volumes": []}
    if config is not None:
        _extend(pod, main, config)
    return pod


def _extend(pod, main, config):
    def mount(name, path, volume):
        pod["volumes"].append({"name": name, **volume})
        main["volumeMounts"].append({"name": name, "mountPath": path})

    for one in config.pvc_mount:
        claim = one.pvc_name_parameter.runtime_value.constant.string_value
        mount(claim, one.mount_path, {"persistentVolumeClaim": {"claimName": claim}})
    for one in config.secret_as_volume:
        name = one.secret_name_parameter.runtime_value.constant.string_value
        mount(name, one.mount_path, {"secret": {"secretName": name, "optional": one.optional}})
    for one in config.empty_dir_mounts:
        mount(one.volume_name, one.mount_path, {"emptyDir": {"medium": one.medium, "sizeLimit": one.size_limit}})
    for one in config.secret_as_env:
        name = one.secret_name_parameter.runtime_value.constant.string_value
        for key in one.key_to_env:
            reference = {"secretKeyRef": {"name": name, "key": key.secret_key}}
            main["env"].append({"name": key.env_var, "valueFrom": reference})
    if config.node_selector.labels:
        pod["nodeSelector"] = dict(config.node_selector.labels)
    for one in config.tolerations:
        toleration = {"key": one.key, "operator": one.operator, "value": one.value, "effect": one.effect}
        if one.HasField("toleration_seconds"):
            toleration["tolerationSeconds"] = one.toleration_seconds
        pod.setdefault("tolerations", []).append({name: value for name, value in toleration.items() if value})
    if names := [one.secret_name_parameter.runtime_value.constant.string_value for one in config.image_pull_secret]:
        pod["imagePullSecrets"] = [{"name": name} for name in names]
    if config.active_deadline_seconds:
        pod["activeDeadlineSeconds"] = config.active_deadline_seconds


def checked(pod):
    """The pod, if the API server would take it: quantities, and names and folders that may be there only once."""
    (main,) = pod["containers"]
    limits, requests = main["resources"]["limits"], main["resources"]["requests"]
    for name, value in [*limits.items(), *requests.items()]:
        if "{{$" not in value:  # which a run fills in
            assert 0 < parse_quantity(value) <= parse_quantity(limits.get(name, value)), name
    for things in (pod["volumes"], main["env"]):
        names = [one["name"] for one in things]
        assert len({*names}) == len(names), names
    paths = [one["mountPath"] for one in main["volumeMounts"]]
    assert len({*paths}) == len(paths), paths
    return pod
