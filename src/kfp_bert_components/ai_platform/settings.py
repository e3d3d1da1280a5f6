"""What a deployment to AI Platform can be told."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field

from kfp_bert_components.errors import UserError

# The newest prebuilt TensorFlow container; it loads our SavedModels, which have no custom ops.
PREBUILT_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


@dataclass(frozen=True)
class AiPlatformSettings:
    """Where to deploy, on what, and how carefully.

    Attributes:
        project: Project id.
        location: Region.
        endpoint: Id or full name of the endpoint, or `label:key=value`. "": the one labelled with the target,
            made if there is none.
        dedicated: Whether an endpoint that is made gets an address of its own.
        model_id: Id of the parent model in the Model Registry; made if there is none.
        image: Serving container; "" for the prebuilt TensorFlow one. A name with `kfp-bert-components/` in it
            is started as `kfp-bert serve`.
        staging: gs:// folder for the SavedModel, needed only where the registry is not on gs://.
        machine_type: Machine of a replica.
        accelerator_type: Such as "NVIDIA_TESLA_T4"; "" for none.
        accelerator_count: Accelerators in each replica.
        min_replicas: Fewest replicas.
        max_replicas: Most replicas.
        service_account: E-mail of the account that the container runs as; "" for the default one.
        labels: Labels of what is made.
        encryption_key: Full name of a customer-managed key; "" for none.
        request_log_table: `bq://project.dataset.table` for requests and answers; "" for no logging.
        request_log_rate: Share of requests that is logged, 0 to 1.
        canary_percent: Share of traffic of the new version while it is tested, 1 to 99.
        traffic_steps: Shares that follow, in percent; the last one is 100.
        step_seconds: Pause after each of them.
        drain_seconds: Pause between the last request to the old version and its end.
        keep_warm: Whether the old version stays deployed, without traffic, for a quick way back.
        operation_seconds: Longest time for one long-running operation.
    """

    project: str
    location: str
    endpoint: str = ""
    dedicated: bool = False
    model_id: str = "kfp-bert"
    image: str = ""
    staging: str = ""
    machine_type: str = "n1-standard-4"
    accelerator_type: str = ""
    accelerator_count: int = 0
    min_replicas: int = 1
    max_replicas: int = 1
    service_account: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    encryption_key: str = ""
    request_log_table: str = ""
    request_log_rate: float = 0.0
    canary_percent: int = 10
    traffic_steps: tuple[int, ...] = (50, 100)
    step_seconds: float = 0.0
    drain_seconds: float = 30.0
    keep_warm: bool = False
    operation_seconds: float = 3600.0

    def __post_init__(self) -> None:
        if not 1 <= self.canary_percent <= 99:
            raise UserError(f"canary_percent is {self.canary_percent}: expected 1 to 99.")
        steps = self.traffic_steps
        if not steps or steps[-1] != 100 or list(steps) != sorted(set(steps)) or steps[0] < 1:
            raise UserError(f"traffic_steps are {list(steps)}: expected percentages that ascend to 100.")
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise UserError(
                f"min_replicas is {self.min_replicas}, max_replicas {self.max_replicas}: give 1 or more, "
                "and max_replicas no fewer than min_replicas."
            )
        if bool(self.accelerator_type) != bool(self.accelerator_count):
            raise UserError("accelerator_type and accelerator_count belong together: give both or none.")
        if self.staging and not self.staging.startswith("gs://"):
            raise UserError(f"The staging folder {self.staging} is not on gs://: AI Platform reads it there.")
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,62}", self.model_id):
            raise UserError(f"model_id {self.model_id!r} must be lower-case letters, digits, '_' and '-'.")

    def shape(self) -> str:
        """Six characters that differ when the same version must be deployed anew."""
        parts = [
            self.image,
            self.machine_type,
            self.accelerator_type,
            self.accelerator_count,
            self.min_replicas,
            self.max_replicas,
            self.service_account,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:6]


def slug(text: str) -> str:
    """`text` as a label's value or part of an id: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:40] or "x"
