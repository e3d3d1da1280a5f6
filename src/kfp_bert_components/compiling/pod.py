"""A step's part of the platform specification for Kubernetes, written by the kfp-kubernetes library."""

from collections.abc import Callable
from posixpath import normpath
from types import SimpleNamespace
from typing import Any

from kfp_bert_components.compiling.settings import StepSettings
from kfp_bert_components.errors import UserError

_PARTS = (
    "image_pull_secrets",
    "node_selector",
    "tolerations",
    "volumes",
    "secrets",
    "shared_memory",
    "time_limit_minutes",
)
_SHARED_MEMORY = "shared-memory"  # the name of its volume
# What mounts something, and where it has the volume's name.
_MOUNTS = {
    "pvcMount": "constant",
    "secretAsVolume": "secretName",
    "configMapAsVolume": "configMapName",
    "emptyDirMounts": "volumeName",
    "genericEphemeralVolume": "volumeName",
}


def pod_settings(step: str, before: dict[str, Any], settings: StepSettings) -> dict[str, Any]:
    """What the platform specification says of a step, with what the settings add to it.

    Args:
        step: The step's name, for errors.
        before: What it says now; {} for nothing.
        settings: What the step needs.

    Raises:
        UserError: Two volumes have one name, or are mounted at one place: no pod can have that. Or Kubeflow would not
            look at a setting.
    """
    if not any(getattr(settings, part) for part in _PARTS):
        return before
    from kfp import kubernetes

    # All that the library's functions want of a task is this attribute, and they leave their message in it.
    task: Any = SimpleNamespace(platform_config={"kubernetes": _without_what_is_said_anew(before, settings)})
    if settings.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, settings.image_pull_secrets)
    if settings.node_selector and "nodeSelectorJson" in before.get("nodeSelector", {}):
        raise UserError(
            f"Step {step} gets its node_selector from the pipeline as JSON, and Kubeflow looks at nothing else then: "
            "leave one out."
        )
    for label, value in settings.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for one in settings.tolerations:
        kubernetes.add_toleration(
            task, one.key or None, one.operator, one.value or None, one.effect or None, one.seconds
        )
    for claim, path in settings.volumes.items():
        kubernetes.mount_pvc(task, claim, path)
    for name, secret in settings.secrets.items():
        if secret.path:
            kubernetes.use_secret_as_volume(task, name, secret.path)
        for variable, key in secret.variables.items():
            kubernetes.use_secret_as_env(task, name, {key: variable})
    if settings.shared_memory:
        kubernetes.empty_dir_mount(task, _SHARED_MEMORY, "/dev/shm", "Memory", settings.shared_memory)
    if settings.time_limit_minutes:
        kubernetes.set_timeout(task, settings.time_limit_minutes * 60)
    made = {name: _once(value) for name, value in task.platform_config["kubernetes"].items()}
    _check_volumes(step, made)
    return made


def _without_what_is_said_anew(before: dict[str, Any], settings: StepSettings) -> dict[str, Any]:
    """What it says now without that which the settings say in another way: a pipeline may be compiled again."""
    tolerated = {one.key for one in settings.tolerations}
    folders = {name for name, secret in settings.secrets.items() if secret.path}
    anew: dict[str, Callable[[dict[str, Any]], object]] = {
        "emptyDirMounts": lambda one: settings.shared_memory and one.get("volumeName") == _SHARED_MEMORY,
        "pvcMount": lambda one: one.get("constant") in settings.volumes,
        "secretAsVolume": lambda one: one.get("secretName") in folders,
        "tolerations": lambda one: "tolerationJson" not in one and one.get("key", "") in tolerated,
    }
    kept = {
        name: [one for one in value if not anew[name](one)] if name in anew else value for name, value in before.items()
    }
    if "secretAsEnv" in kept:
        kept["secretAsEnv"] = [_without_variables(one, settings) for one in kept["secretAsEnv"]]
        kept["secretAsEnv"] = [one for one in kept["secretAsEnv"] if one["keyToEnv"]]
    return {name: value for name, value in kept.items() if value or name not in (*anew, "secretAsEnv")}


def _without_variables(given: dict[str, Any], settings: StepSettings) -> dict[str, Any]:
    """The variables from a secret, without those that the settings take from the same one."""
    secret = settings.secrets.get(given.get("secretName", ""))
    taken = secret.variables if secret else {}
    return {**given, "keyToEnv": [one for one in given["keyToEnv"] if one["envVar"] not in taken]}


def _once(value: Any) -> Any:
    """A list without repeated items: a pipeline that is compiled again with the same settings stays as it is."""
    return [one for i, one in enumerate(value) if one not in value[:i]] if isinstance(value, list) else value


def _check_volumes(step: str, made: dict[str, Any]) -> None:
    mounts = [
        (one.get(name), normpath(one.get("mountPath", "")))
        for kind, name in _MOUNTS.items()
        for one in made.get(kind, [])
    ]
    for what, values in (("volume", [name for name, _ in mounts if name]), ("folder", [path for _, path in mounts])):
        if twice := [value for i, value in enumerate(values) if value in values[:i]]:
            raise UserError(
                f"Step {step} would have the {what} {twice[0]!r} twice, counting what the pipeline says itself: a pod "
                "can mount a claim or a secret only once, and one in each folder."
            )
