"""What cluster.yaml says: what the steps of a pipeline need where they run."""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from kfp_bert_components.components._images import image_place
from kfp_bert_components.errors import UserError, reason_of
from kfp_bert_components.validation import Format1, SettingsMap, load_yaml, sentence

Kind = Literal["light", "training", "evaluation", "deployment"]


def _text(pattern: str, what: str) -> BeforeValidator:
    """The rule that a text, or a number as it was written, has a form; `what` ends the sentence about others."""

    def check(value: Any) -> str:
        text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not re.fullmatch(pattern, text, re.ASCII):
            raise PydanticCustomError("form", "must be {what}", {"what": what})
        return text

    return BeforeValidator(check)


def _quoted(value: Any) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("quoted", "must be a text: put it in quotes")
    return value


def _path(value: str) -> str:
    path = posixpath.normpath(value)
    if not re.fullmatch(r"(/[^/:\x00-\x1f\x7f\ud800-\udfff]+)+", path) or ".." in value.split("/"):
        raise PydanticCustomError("path", "must be a folder in the container, such as /data")
    for taken in _TAKEN:
        if f"{path}/".startswith(f"{taken}/"):
            raise PydanticCustomError(
                "path", "must be another folder: Kubeflow or the system has {taken} for itself", {"taken": taken}
            )
    return path


def _free_volume(name: str) -> str:
    if name in _VOLUMES_OF_OTHERS or name.startswith("kube-api-access-"):
        raise PydanticCustomError(
            "volume", "must have another name: Kubeflow or Argo gives each pod a volume of its own that is called so"
        )
    return name


def _free(name: str) -> str:
    if name in _SET_BY_OTHERS or name.startswith(("ARGO_", "CLOUD_ML_", "KFP_POD_")):
        raise PydanticCustomError("variable", "must be another name: the platform or the image sets this one itself")
    return name


# Kubeflow's launcher and Argo have folders of their own in each container; /var/run is a link to /run.
_TAKEN = (
    *("/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config", "/kfp-launcher", "/kfp-workspace"),
    *("/var/run/argo", "/run/argo", "/proc", "/sys"),
    *("/var/run/secrets/kubernetes.io/serviceaccount", "/run/secrets/kubernetes.io/serviceaccount"),
)
_VOLUMES_OF_OTHERS = (
    *("kfp-launcher", "kfp-driver-outputs", "kfp-workspace", "ca-bundle", "gcs-scratch", "s3-scratch", "minio-scratch"),
    *("dot-local-scratch", "dot-cache-scratch", "dot-config-scratch"),
    *("var-run-argo", "tmp-dir-argo", "input-artifacts", "argo-staging"),
)
# With one of these or of Argo's, a step would not start, or would record a run that is not its own.
_SET_BY_OTHERS = (
    *("PATH", "TRACEPARENT", "TRACESTATE", "_KFP_RUNTIME"),
    *("METADATA_GRPC_SERVICE_HOST", "METADATA_GRPC_SERVICE_PORT"),
)
# Bounds that nobody needs to pass, and that fit the integers of Kubernetes.
_YEAR_IN_MINUTES = 365 * 24 * 60
_PART = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_LABEL = rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_PART}"

_LARGEST = 1_000_000  # bytes of a file

Cpu = Annotated[str, _text(r"[1-9]\d{0,6}m?|(?=.*[1-9])\d{0,6}\.\d{1,9}", "a number of CPUs, such as 2, 0.5 or 500m")]
Size = Annotated[str, _text(r"[1-9]\d{0,9}([KMGT]i|[MGT])", "a size with its unit, such as 8Gi or 500Mi")]
MountPath = Annotated[str, AfterValidator(_path)]
# A volume is named like its claim or secret, and volumes may have no dot in their name.
VolumeName = Annotated[
    str,
    _text(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "a name of lower-case letters, digits and hyphens, at most 63"),
    AfterValidator(_free_volume),
]
ObjectName = Annotated[
    str, _text(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", "a name of lower-case letters, digits, hyphens and dots")
]
Variable = Annotated[
    str, _text(r"[A-Za-z_][A-Za-z0-9_]*", "a name of a variable, such as HF_TOKEN"), AfterValidator(_free)
]
Value = Annotated[
    str,
    _text(r"[^\0\ud800-\udfff]*", "a text of characters that can be written, without NUL"),
    BeforeValidator(_quoted),
]
SecretKey = Annotated[
    str, _text(r"(?!\.\.|\.$)[A-Za-z0-9._-]{1,253}", "a key of the secret: letters, digits, hyphens, dots, underscores")
]
Label = Annotated[str, _text(_LABEL, "a name of a label, such as pool or cloud.google.com/gke-accelerator")]
LabelOrEmpty = Annotated[str, _text(f"({_LABEL})?", "a key of a taint, such as nvidia.com/gpu")]
LabelValue = Annotated[
    str,
    _text(f"({_PART})?", "a value of a label: at most 63 letters, digits, hyphens, dots, underscores"),
    BeforeValidator(_quoted),
]


class Accelerator(SettingsMap):
    """GPUs or TPUs of one pod or machine."""

    type: str = Field(description="On Kubernetes a resource, such as nvidia.com/gpu; on Vertex such as NVIDIA_L4.")
    count: int = Field(default=1, ge=1, le=1000, description="How many.")


class Toleration(SettingsMap):
    """A taint of nodes that the pods tolerate. As in a pod's specification."""

    key: LabelOrEmpty = Field(default="", description="Key of the taint; empty with operator Exists: all taints.")
    operator: Literal["Equal", "Exists"] = Field(default="Equal", description="Exists: whatever the value is.")
    value: LabelValue = Field(default="", description="Value of the taint.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(default="", description="Empty: all.")
    seconds: int | None = Field(
        default=None, ge=0, le=_YEAR_IN_MINUTES * 60, description="With NoExecute: how long; by default for ever."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise PydanticCustomError("toleration", "must have no value where its operator is Exists")
        if self.operator == "Equal" and not self.key:
            raise PydanticCustomError("toleration", "must have a key, or the operator Exists")
        if self.seconds is not None and self.effect != "NoExecute":
            raise PydanticCustomError("toleration", "must have the effect NoExecute where it has seconds")
        return self


class Secret(SettingsMap):
    """How a step gets a secret of the cluster: as files, as variables, or both."""

    path: MountPath | None = Field(default=None, description="Folder in which each of its keys is a file.")
    variables: dict[Variable, SecretKey] = Field(default={}, description="Keys of the secret by the variable to set.")

    @model_validator(mode="after")
    def _used(self) -> Self:
        if not self.path and not self.variables:
            raise PydanticCustomError("secret", "must have a path, or variables")
        return self


class Retries(SettingsMap):
    """What happens after a step failed."""

    count: int = Field(ge=0, le=100, description="How often a step is tried again; 0: never.")
    backoff_seconds: int = Field(default=60, ge=0, le=86_400, description="Seconds before the first try again.")
    backoff_factor: int = Field(default=2, ge=1, le=10, description="By how much each wait is longer than the last.")
    give_up_after_minutes: int | None = Field(
        default=None,
        ge=1,
        le=_YEAR_IN_MINUTES,
        description="Minutes after the start of the first try, by default a week; a later try that still runs then is "
        "ended too. Not on Vertex, where there is no such limit.",
    )


class StepSettings(SettingsMap):
    """What steps need. What is absent stays as it is in the pipeline."""

    images: Annotated[str, AfterValidator(image_place)] | None = Field(
        default=None, description="Registry and path that this package's images are pulled from."
    )
    image_pull_secrets: list[ObjectName] = Field(default=[], description="Secrets with the registry's password.")
    cpu_request: Cpu | None = Field(default=None, description="CPUs that the node must have free, such as 500m.")
    cpu_limit: Cpu | None = Field(default=None, description="CPUs at most; on Vertex what the machine is chosen by.")
    memory_request: Size | None = Field(default=None, description="Memory that the node must have free, such as 4Gi.")
    memory_limit: Size | None = Field(
        default=None, description="Memory at most: a step that takes more is killed; on Vertex as for cpu_limit."
    )
    shared_memory: Size | None = Field(default=None, description="Size of /dev/shm. It counts as memory of the pod.")
    accelerator: Accelerator | None = Field(default=None, description="GPUs or TPUs.")
    node_selector: dict[Label, LabelValue] = Field(default={}, description="Labels that the node must have.")
    tolerations: list[Toleration] = Field(default=[], description="Taints of nodes that the pods tolerate.")
    volumes: dict[VolumeName, MountPath] = Field(default={}, description="Folder in the container, by volume claim.")
    secrets: dict[VolumeName, Secret] = Field(default={}, description="How each secret of the cluster is given.")
    env: dict[Variable, Value] = Field(
        default={}, description="Variables of the environment. No passwords: see secrets."
    )
    retries: Retries | None = Field(default=None, description="What happens after a step failed.")
    time_limit_minutes: int | None = Field(
        default=None, ge=1, le=_YEAR_IN_MINUTES, description="Minutes after which one try is ended."
    )
    caching: bool = Field(
        default=True, description="false: never take the result of an earlier run; true: as the pipeline says."
    )


class Cluster(SettingsMap):
    """The whole file."""

    format: Format1 = Field(default=1, description="Format of this file.")
    platform: Literal["kubernetes", "vertex"] = Field(
        default="kubernetes", description="kubernetes: Kubeflow Pipelines on any cluster; vertex: Vertex AI Pipelines."
    )
    service_account: str = Field(
        default="", pattern=r"^\S*$", description="Account to submit runs with: a note in the compiled file."
    )
    all: StepSettings = Field(default=StepSettings(), description="Every step, of this package or not.")
    light: StepSettings = Field(default=StepSettings(), description="Steps that need little: fetch, prepare, compare.")
    training: StepSettings = Field(default=StepSettings(), description="finetune_bert.")
    evaluation: StepSettings = Field(
        default=StepSettings(), description="evaluate_model, evaluate_champion and batch_predict."
    )
    deployment: StepSettings = Field(default=StepSettings(), description="Every deploy_to_... step.")

    def settings(self, kind: Kind | None) -> StepSettings:
        """What holds for steps of a kind: `all`, with what the kind says itself on top; None: `all`.

        Lists and mappings of the two are put together; of tolerations with one key those of the kind count.
        """
        own = getattr(self, kind) if kind else StepSettings()
        merged = {}
        for name in own.model_fields_set:
            common, value = getattr(self.all, name), getattr(own, name)
            if isinstance(value, dict):
                value = common | value
            elif isinstance(value, list):
                keys = {one.key for one in value if isinstance(one, Toleration)}
                others = [one for one in common if not (isinstance(one, Toleration) and one.key in keys)]
                value = others + [one for one in value if one not in others]
            merged[name] = value
        return self.all.model_copy(update=merged)

    @model_validator(mode="before")
    @classmethod
    def _in_its_section(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if key in StepSettings.model_fields:
                raise PydanticCustomError(
                    "unknown_key", "{key} must stand under a kind of steps, such as all.{key}", {"key": key}
                )
        return values

    @model_validator(mode="after")
    def _fits_the_platform(self) -> Self:
        for section in ("all", *get_args(Kind)):
            for name in sorted(getattr(self, section).model_fields_set):
                _check_platform(self.platform, f"{section}.{name}", name, getattr(getattr(self, section), name))
        return self


# What a step of Vertex can't have, and what there is instead.
_NOT_ON_VERTEX = {
    "image_pull_secrets": "images are pulled by Vertex's own service agent: let it read the registry",
    "cpu_request": "the machine is chosen by cpu_limit and memory_limit",
    "memory_request": "the machine is chosen by cpu_limit and memory_limit",
    "shared_memory": "a step has the /dev/shm of its machine",
    "node_selector": "the machine is chosen by cpu_limit, memory_limit and accelerator",
    "tolerations": "the machine is chosen by cpu_limit, memory_limit and accelerator",
    "volumes": "a step finds a bucket at /gcs/BUCKET, or takes gs://BUCKET",
    "secrets": "there are no secrets of Kubernetes; grant the run's service account what it needs",
    "time_limit_minutes": "a step has no limit of its own there",
}


def _check_platform(platform: str, place: str, name: str, value: Any) -> None:
    if platform == "vertex" and name in _NOT_ON_VERTEX:
        raise UserError(f"{place} does not apply on Vertex: leave it out; {_NOT_ON_VERTEX[name]}.")
    if platform == "vertex" and name == "retries" and value and value.give_up_after_minutes:
        raise UserError(
            f"{place}.give_up_after_minutes does not apply on Vertex: leave it out; a step is tried again as often as "
            "count says, after pauses of an hour at most."
        )
    if name == "accelerator":
        _check_accelerator(platform, place, value)


def _check_accelerator(platform: str, place: str, value: Accelerator) -> None:
    if platform == "vertex" and not re.fullmatch(r"[A-Z][A-Z0-9_]+", value.type):
        raise UserError(
            f"{place}.type is {value.type!r}, which is no accelerator of Vertex: give one such as NVIDIA_TESLA_T4 or "
            "NVIDIA_L4."
        )
    if platform == "kubernetes" and not re.fullmatch(r"[a-z0-9.-]+/[A-Za-z0-9_.-]+", value.type):
        raise UserError(
            f"{place}.type is {value.type!r}, which is no resource of Kubernetes: give one such as nvidia.com/gpu, and "
            "name the model in node_selector, such as cloud.google.com/gke-accelerator: nvidia-tesla-t4."
        )


def read_cluster(given: Cluster | Mapping[str, Any] | str | Path | None) -> Cluster:
    """The settings of a cluster.

    Args:
        given: Path of a cluster.yaml, or its content; None: nothing but the defaults.

    Raises:
        UserError: The file cannot be read, or a key or value is not in the schema, or does not apply on the platform.
    """
    if isinstance(given, Cluster):
        return given
    if not isinstance(given, str | Path):
        return _checked(given or {}, "")
    try:
        with Path(given).open("rb") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise UserError(f" is larger than {_LARGEST:,} bytes, and so no cluster.yaml: give another file.")
        values = load_yaml(text.decode())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{given} can't be read: check its name ({reason_of(error)}).") from None
    except UserError as error:
        raise UserError(f"{given}{error}") from None
    return _checked(values, f"{given}: ")


def _checked(values: Any, place: str) -> Cluster:
    if not isinstance(values, Mapping):
        raise UserError(f"{place}the settings must be a mapping of names to values, such as all: {{caching: false}}.")
    try:
        return Cluster.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(f"{place}{sentence(error)}") from None
    except UserError as error:
        raise UserError(f"{place}{error}") from None


def cluster_schema() -> dict[str, Any]:
    """The JSON schema of a cluster.yaml."""
    return Cluster.model_json_schema()
