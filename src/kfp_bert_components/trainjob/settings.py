"""The settings of a training job on the cluster."""

from __future__ import annotations

from dataclasses import field
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field

from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.remote_jobs import check_abandoned_minutes
from kfp_bert_components.storage import parse_address
from kfp_bert_components.validation import Count, CountFrom1, JobHours, checked_dataclass


@checked_dataclass
class TrainJobSettings:
    """Where a TrainJob runs, and on which nodes.

    Attributes:
        staging: Folder for the job's data and outputs: a bucket's, or one below a folder of `volumes`.
        image: Container that trains: the image of finetune_bert, at an address that the cluster can pull from.
        namespace: The job's namespace; "": that of this pod.
        runtime: Name of a TrainingRuntime in it, or ClusterTrainingRuntime/NAME; "": `kfp-bert`, which is made where
            there is none.
        replicas: Number of pods that train together.
        resources: What each pod asks for, and its limits, such as {"cpu": "4", "memory": "8Gi"}.
        accelerator_type: The resource's name, such as "nvidia.com/gpu"; "" for none.
        accelerator_count: Accelerators in each pod.
        service_account: The service account of the pods; "" for the runtime's, or else the default one.
        volumes: PersistentVolumeClaims that the pods mount: the folder of each, by its name.
        labels: Labels of the job.
        max_hours: Longest time that the job may run, or wait for a node.
        abandoned_minutes: Minutes without anybody who waits for the job, after which it writes a checkpoint and ends;
            0: never.
        run: The run that the job belongs to; "" where that is not known. It is a label of the job.
        api_endpoint: Another address of the API, for tests.
        poll_seconds: Pause between two looks at the job.
        stuck_seconds: Time after which a job ends whose pods can't start, as where an image can't be pulled.

    Raises:
        UserError: A value is not allowed, or does not fit the others.
    """

    staging: str
    image: str
    namespace: str = ""
    runtime: str = ""
    replicas: CountFrom1 = 1
    resources: dict[str, str] = field(default_factory=dict)
    accelerator_type: str = ""
    accelerator_count: Count = 0
    service_account: str = ""
    volumes: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    max_hours: JobHours = 24.0
    abandoned_minutes: Annotated[float, Field(ge=0)] = 15.0
    run: str = ""
    api_endpoint: str = ""
    poll_seconds: Annotated[float, Field(ge=0)] = 10.0
    stuck_seconds: Annotated[float, Field(gt=0)] = 120.0

    def __post_init__(self) -> None:
        if not self.image:
            raise UserError("A TrainJob needs the image that it runs with: set job_image.")
        if bool(self.accelerator_type) != bool(self.accelerator_count):
            raise UserError("job_accelerator_type and job_accelerator_count belong together: give both or none.")
        kind, _, name = self.runtime.rpartition("/")
        if kind not in ("", "TrainingRuntime", "ClusterTrainingRuntime") or (self.runtime and not name):
            raise UserError(
                f"job_runtime is {self.runtime!r}: expected the name of a TrainingRuntime, or "
                "ClusterTrainingRuntime/NAME."
            )
        check_abandoned_minutes(self.abandoned_minutes, self.poll_seconds)
        self._check_staging()

    def _check_staging(self) -> None:
        """A local folder is seen by step and job only where it lies on a volume that both mount."""
        for claim, folder in self.volumes.items():
            if not PurePosixPath(folder).is_absolute():
                raise UserError(f"job_volumes has {folder!r} for the claim {claim}: expected a whole path, /...")
        address = parse_address(self.staging, "job_staging")
        if address.is_local and not any(address.path.is_relative_to(folder) for folder in self.volumes.values()):
            raise UserError(
                f"job_staging is {self.staging!r}: expected a folder in a bucket, such as gs://bucket/staging, or one "
                "below a folder of job_volumes, which this step and the job mount at the same place."
            )
