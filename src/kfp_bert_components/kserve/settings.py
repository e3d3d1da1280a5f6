"""The settings of a deployment to KServe."""

import hashlib
import json
import re
from dataclasses import field
from typing import Annotated, Any

from pydantic import Field

from kfp_bert_components import __version__
from kfp_bert_components.deployment.traffic import check_traffic_steps
from kfp_bert_components.errors import UserError
from kfp_bert_components.validation import Count, CountFrom1, checked_dataclass

IMAGE = f"kfp-bert-components/serve:{__version__}"
_QUANTITY = re.compile(r"\d+(\.\d+)?([numkMGTPE]|[KMGTPE]i)?")
# Of the name, in the names that KServe makes of it.
_LABEL_LENGTH = 63
# Settings that make no other InferenceService.
_OF_THE_ROLLOUT = ("name", "namespace", "ready_seconds", "traffic_steps", "step_seconds", "take_over")
NEXT = "-next"  # the end of the name of the second InferenceService, in which a version is tested


@checked_dataclass
class KServeSettings:
    """Which InferenceService serves, and in what kind of pod.

    Attributes:
        name: Name of the InferenceService; it is created if there is none.
        namespace: Its namespace.
        storage: Address of the registry as the cluster reaches it: gs://, s3:// or pvc://CLAIM/FOLDER. "": that of the
            registry, which is then on gs://, s3:// or minio://.
        image: The serve image, where the cluster pulls it from; "": kfp-bert-components/serve of this version.
        runtime: Name of a ServingRuntime of the model format `kfp-bert`, which is used instead of `image`; "": none.
        service_account: The service account of the pods; "" for the default one.
        min_replicas: Smallest number of pods.
        max_replicas: Largest number of pods.
        cpu: CPUs that a pod asks for, such as "500m".
        memory: Memory that a pod asks for, such as "1Gi".
        cpu_limit: Most CPUs of a pod; "": what it asks for.
        memory_limit: Most memory of a pod; "": what it asks for.
        accelerator: The resource's name, such as "nvidia.com/gpu"; "" for none.
        accelerator_count: Accelerators in each pod.
        node_selector: Labels of the nodes that the pods may run on.
        tolerations: Of the pods, as Kubernetes writes them.
        labels: Labels of the InferenceService and its pods, beside those of the owner.
        annotations: Annotations of both.
        ready_seconds: Longest time until a version is ready.
        traffic_steps: In KServe's mode Knative, and in Standard with a gateway, the version's shares of the requests in
            percent, in ascending order; the last one is 100. (): 10, 50, 100. Else there are none.
        step_seconds: Pause after each of them but the last, likewise.
        take_over: Whether the InferenceService `name` is taken from another owner.

    Raises:
        UserError: A value is not allowed, or does not fit the others.
    """

    name: str
    namespace: str
    storage: str = ""
    image: str = ""
    runtime: str = ""
    service_account: str = ""
    min_replicas: CountFrom1 = 1
    max_replicas: Count = 1
    cpu: str = "1"
    memory: str = "1Gi"
    cpu_limit: str = ""
    memory_limit: str = ""
    accelerator: str = ""
    accelerator_count: Count = 0
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    ready_seconds: Annotated[float, Field(gt=0)] = 900.0
    traffic_steps: tuple[int, ...] = ()
    step_seconds: Annotated[float, Field(ge=0)] = 0.0
    take_over: bool = False

    def __post_init__(self) -> None:
        _check_names(self.name, self.namespace)
        if self.max_replicas < self.min_replicas:
            raise UserError(
                f"max_replicas is {self.max_replicas}: expected min_replicas ({self.min_replicas}) or more."
            )
        if bool(self.accelerator) != bool(self.accelerator_count):
            raise UserError("accelerator and accelerator_count belong together: give both or none.")
        for name in ("cpu", "memory", "cpu_limit", "memory_limit"):
            value = getattr(self, name)
            if not (_QUANTITY.fullmatch(value) or (not value and name.endswith("limit"))):
                raise UserError(f"{name} is {value!r}: expected a quantity of Kubernetes, such as 500m or 2Gi.")
        if self.image and self.runtime:
            raise UserError(
                "image and runtime are both given: a ServingRuntime has its own image, so give one of the two."
            )
        if self.traffic_steps:
            check_traffic_steps(self.traffic_steps)
        if "serving.kserve.io/stop" in self.annotations:
            raise UserError("The annotation serving.kserve.io/stop ends all pods: leave it out of annotations.")

    def shape(self) -> str:
        """Six characters, equal for settings that make the same InferenceService of a version."""
        return self._hash(*_OF_THE_ROLLOUT)

    def pod_shape(self) -> str:
        """Six characters, equal for settings that serve a version in the same kind of pods, however many."""
        return self._hash(*_OF_THE_ROLLOUT, "min_replicas", "max_replicas")

    def _hash(self, *without: str) -> str:
        # The default image has the version of this package: an upgrade makes other pods.
        used = {**vars(self), "image": self.image or ("" if self.runtime else IMAGE)}
        parts = {name: value for name, value in used.items() if name not in without}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:6]


def _check_names(name: str, namespace: str) -> None:
    for what, value in (("name", name), ("namespace", namespace)):
        if not re.fullmatch(
            r"[a-z]([a-z0-9-]*[a-z0-9])?" if what == "name" else r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", value
        ):
            raise UserError(
                f"{what} is {value!r}: expected lower-case letters, digits and dashes"
                + (", with a letter first." if what == "name" else ".")
            )
    # KServe makes names of 63 letters at most, and accepts longer ones without ever serving them.
    most = _LABEL_LENGTH - max(len(f"{NEXT}-predictor-{namespace}"), len(f"isvc.{NEXT}-predictor"))
    if len(name) > most:
        raise UserError(
            f"name is {name!r}, {len(name)} letters: KServe serves up to {most} in the namespace {namespace} "
            f"(NAME{NEXT}-predictor-{namespace} and isvc.NAME{NEXT}-predictor have 63 at most). Give a shorter name."
        )
