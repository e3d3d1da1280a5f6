"""A compiled pipeline changed for a cluster: its containers, its tasks, and its part for Kubernetes."""

import math
import re
from collections.abc import Iterator
from typing import Any, get_args

from kfp_bert_components.compiling.pod import pod_settings
from kfp_bert_components.compiling.settings import Cluster, Kind, StepSettings
from kfp_bert_components.components._images import component_of, move_images
from kfp_bert_components.errors import UserError
from kfp_bert_components.progress import say

_KINDS: dict[str, Kind] = {
    "finetune_bert": "training",
    "evaluate_model": "evaluation",
    "evaluate_champion": "evaluation",
    "batch_predict": "evaluation",
}
# Requests where nobody says anything. A pod without any is the first that a node evicts when its memory runs short.
# They are above what the steps took on small data, with networks up to BERT-base; docs/cluster.md has the figures.
_REQUESTS: dict[Kind | None, dict[str, str]] = {
    "light": {"cpu_request": "250m", "memory_request": "1Gi"},
    "training": {"cpu_request": "2", "memory_request": "8Gi"},
    "evaluation": {"cpu_request": "1", "memory_request": "4Gi"},
    "deployment": {"cpu_request": "250m", "memory_request": "2Gi"},
}
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "m": 1e-3, "": 1}
# What a component can hand on, by the name that KFP has for it.
_HANDED_ON = {
    **dict.fromkeys(("cpu_request", "cpu_limit", "memory_request", "memory_limit", "accelerator"), "RESOURCES"),
    "env": "ENV",
    "tolerations": "KUBERNETES_TOLERATIONS",
    "node_selector": "KUBERNETES_NODE_SELECTOR",
    "volumes": "KUBERNETES_VOLUMES",
}
# What KFP runs no container for.
_NO_CONTAINER = ("argostub/createpvc", "argostub/deletepvc")


def rewrite(name: str, documents: list[dict[str, Any]], cluster: Cluster) -> list[dict[str, Any]]:
    """The documents of a compiled pipeline, changed for a cluster.

    Args:
        name: The pipeline's name, for errors.
        documents: Its specification and, where there is one, that of its platforms. They are changed in place.
        cluster: What the steps need.

    Raises:
        UserError: The settings don't fit the pipeline.
    """
    spec, platforms = documents[0], (documents[1] if len(documents) > 1 else {"platforms": {}})
    kubernetes = platforms["platforms"].get("kubernetes", {})
    pods = kubernetes.get("deploymentSpec", {}).get("executors", {})
    if (pods or "pipelineConfig" in kubernetes) and cluster.platform == "vertex":
        what = f"settings of pods ({', '.join(sorted(pods))})" if pods else "a PipelineConfig, such as a workspace"
        raise UserError(
            f"{name} has {what}, which does not apply on Vertex. A compiled file keeps it: leave it out in the Python "
            "code of the pipeline, and compile that (as the example on_kubernetes.py with PLATFORM=vertex)."
        )
    moves = []
    unused = {kind for kind in get_args(Kind) if getattr(cluster, kind).model_fields_set}
    for label, container in _containers(spec):
        kind = _kind(container)
        unused.discard(kind)
        settings = cluster.settings(kind)
        step = label.removeprefix("exec-")
        _check_handed_on(spec, label, step, settings)
        if settings.images:
            moves.append((container, settings.images))
        if cluster.platform == "vertex" and (left_out := _drop_requests(container)):
            say(f"Step {step} requests {left_out}, which does not apply on Vertex: left out.")
        _set_resources(step, container, settings, _REQUESTS.get(kind, {}) if cluster.platform == "kubernetes" else {})
        _set_variables(container, settings)
        if pod := pod_settings(step, pods.get(label, {}), settings):
            pods[label] = pod
            _check_variables(step, container, pod, settings)
        for task in _tasks(spec, label):
            _set_task(task, settings, 7 * 24 * 60 if cluster.platform == "kubernetes" else 60)
    for kind in sorted(unused):
        say(f"{name} has no step of this package that is of the kind {kind}: what the cluster says of it is not used.")
    if moves:
        move_images(name, moves)
    if pods:
        platforms["platforms"].setdefault("kubernetes", {}).setdefault("deploymentSpec", {})["executors"] = pods
    return [spec, platforms] if platforms["platforms"] else [spec]


def _containers(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for label, executor in spec["deploymentSpec"].get("executors", {}).items():
        if "container" in executor and executor["container"]["image"] not in _NO_CONTAINER:
            yield label, executor["container"]


def _tasks(spec: dict[str, Any], label: str) -> Iterator[dict[str, Any]]:
    """The tasks that run an executor, wherever they stand: in loops, conditions, exit handlers, nested pipelines."""
    components = spec.get("components", {})
    for component in (spec["root"], *components.values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            if components[task["componentRef"]["name"]].get("executorLabel") == label:
                yield task


def _check_handed_on(spec: dict[str, Any], label: str, step: str, settings: StepSettings) -> None:
    """UserError where a component hands its settings on to a job that it starts, and does not know one of ours."""
    components = [one for one in spec.get("components", {}).values() if one.get("executorLabel") == label]
    handed = {one["field"] for component in components for one in component.get("taskConfigPassthroughs", [])}
    for name, field in _HANDED_ON.items() if handed else ():
        if getattr(settings, name) and field not in handed:
            raise UserError(
                f"Step {step} hands on what its pod would need to a job that it starts (dsl.TaskConfig), but not "
                f"{field}, so {name} would have no effect: say it for the kinds of steps that need it, and not for all."
            )


def _kind(container: dict[str, Any]) -> Kind | None:
    """What a step of this package is, also in another image; None for all others."""
    name = component_of(container)
    if not name:
        return None
    return "deployment" if name.startswith("deploy_to_") else _KINDS.get(name, "light")


def _drop_requests(container: dict[str, Any]) -> str:
    """Take out what a step requests, as one compiled for Kubernetes does; gives the names of it."""
    resources = container.get("resources", {})
    found = [what for what in ("cpu", "memory") if _get(resources, f"{what}_request")]
    for what in found:
        resources.pop(f"resource{what.capitalize()}Request", None)
        resources.pop(f"{what}Request", None)
    if found and not resources:
        del container["resources"]
    return " and ".join(found)


def _set_resources(step: str, container: dict[str, Any], settings: StepSettings, requests: dict[str, str]) -> None:
    resources = container.get("resources", {})
    for name in ("cpu_request", "cpu_limit", "memory_request", "memory_limit"):
        if value := getattr(settings, name):
            _put(resources, name, value)
    for name, value in requests.items():
        # Where there is a limit only, Kubernetes takes it for the request too.
        if not _get(resources, name) and not _get(resources, name.replace("request", "limit")):
            _put(resources, name, value)
    for what in ("cpu", "memory"):
        request, limit = _get(resources, f"{what}_request"), _get(resources, f"{what}_limit")
        if request and limit and _amount(request) > _amount(limit):
            raise UserError(f"Step {step} has {what}_request {request}, which is above its {what}_limit {limit}.")
    if settings.accelerator:
        kind, count = settings.accelerator.type, str(settings.accelerator.count)
        resources["accelerator"] = {"type": kind, "count": count, "resourceType": kind, "resourceCount": count}
    if resources:
        container["resources"] = resources


def _put(resources: dict[str, Any], name: str, value: str) -> None:
    """Set a resource as KFP's compiler does: the text, and for older backends a number of CPUs or gigabytes."""
    what, bound = name.split("_")
    resources[f"resource{what.capitalize()}{bound.capitalize()}"] = value
    resources[f"{what}{bound.capitalize()}"] = _amount(value) / (1 if what == "cpu" else 1e9)


def _get(resources: dict[str, Any], name: str) -> str:
    what, bound = name.split("_")
    text = resources.get(f"resource{what.capitalize()}{bound.capitalize()}")
    number = resources.get(f"{what}{bound.capitalize()}")
    return text or (f"{number}{'' if what == 'cpu' else 'G'}" if number else "")


def _amount(quantity: str) -> float:
    """A quantity of Kubernetes as a number; NaN, which no limit is below, for one that a run will know first."""
    found = re.fullmatch(r"([\d.]+)([A-Za-z]*)", quantity)
    return float(found[1]) * _UNITS[found[2]] if found else math.nan


def _set_variables(container: dict[str, Any], settings: StepSettings) -> None:
    variables = {one["name"]: one.get("value", "") for one in container.get("env", [])} | settings.env
    if variables:
        container["env"] = [{"name": name, "value": value} for name, value in variables.items()]


def _check_variables(step: str, container: dict[str, Any], pod: dict[str, Any], settings: StepSettings) -> None:
    """UserError where a variable that the settings name would have two values, with what the pipeline says itself."""
    named = settings.env.keys() | {name for secret in settings.secrets.values() for name in secret.variables}
    sources = {one["name"]: "env" for one in container.get("env", [])}
    for name, source in _variables_of_others(pod):
        if sources.setdefault(name, source) != source and name in named:
            raise UserError(
                f"Step {step} would get the variable {name} from {sources[name]} and from {source}, counting what "
                "the pipeline says itself: leave one out."
            )


def _variables_of_others(pod: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The variables that a step gets from elsewhere, each with its source in words."""
    for secret in pod.get("secretAsEnv", []):
        for one in secret["keyToEnv"]:
            yield one["envVar"], f"the secret {secret.get('secretName', 'of the run')} (key {one['secretKey']})"
    for settings in pod.get("configMapAsEnv", []):
        for one in settings["keyToEnv"]:
            name = settings.get("configMapName", "of the run")
            yield one["envVar"], f"the config map {name} (key {one['configMapKey']})"
    for one in pod.get("fieldPathAsEnv", []):
        yield one["name"], f"the pod's field {one['fieldPath']}"


def _set_task(task: dict[str, Any], settings: StepSettings, give_up_after_minutes: int) -> None:
    if retries := settings.retries:
        minutes = retries.give_up_after_minutes or give_up_after_minutes
        task["retryPolicy"] = {
            "maxRetryCount": retries.count,
            "backoffDuration": f"{retries.backoff_seconds}s",
            "backoffFactor": retries.backoff_factor,
            "backoffMaxDuration": f"{minutes * 60}s",
        }
    if not settings.caching:
        task["cachingOptions"] = {}
