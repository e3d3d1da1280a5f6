"""The settings of a deployment to AI Platform, and of a custom job."""

import hashlib
import json
import re
from dataclasses import field
from typing import Annotated

from pydantic import Field

from kfp_bert_components.deployment.traffic import check_traffic_steps
from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.remote_jobs import check_abandoned_minutes
from kfp_bert_components.storage import parse_address
from kfp_bert_components.validation import Count, CountFrom1, JobHours, checked_dataclass

# The newest prebuilt TensorFlow container; it loads our SavedModels, which have no custom ops.
PREBUILT_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"

Seconds = Annotated[float, Field(ge=0)]


@checked_dataclass
class AiPlatformSettings:
    """Where to deploy, on which machines, and in which steps traffic moves to the new version.

    Attributes:
        project: Project id.
        location: Region, such as "europe-west4".
        endpoint: Id or full name of the endpoint, which is in this project and location, or `label:key=value`. "":
            the one with the id `kfp-bert-TARGET`, or, where the deployment record knows others here but not that one,
            the one that it was about last. It is created if there is none.
        dedicated: Whether an endpoint that is created gets an address of its own.
        model_id: Id of the parent model in the Model Registry; it is created if there is none.
        image: Serving container; "" for the prebuilt TensorFlow one. If its name contains `kfp-bert-components/`, it
            is started as `kfp-bert serve`.
        staging: gs:// folder for the SavedModel, needed only if the registry is not on gs://.
        machine_type: Machine type of a replica.
        accelerator_type: Such as "NVIDIA_TESLA_T4"; "" for none.
        accelerator_count: Accelerators in each replica.
        min_replicas: Smallest number of replicas.
        max_replicas: Largest number of replicas.
        service_account: E-mail of the account that the container runs as; "" for the default one.
        labels: Labels of the endpoint and the model if they are created.
        encryption_key: Full name of a customer-managed key; "" for none.
        request_log_table: `bq://project.dataset.table` for requests and answers; "" for no logging.
        request_log_rate: Share of the requests that is logged, 0 to 1; 0 with a table means all.
        canary_percent: Share of the traffic of the new version while it is tested, 1 to 99.
        traffic_steps: Shares after the test in percent, in ascending order; the last one is 100.
        step_seconds: Pause after each of them but the last, in seconds.
        drain_seconds: Pause between the last request to the old version and its removal.
        keep_warm: Whether the old version stays deployed, without traffic, for a quick rollback.
        operation_seconds: Longest time for one long-running operation.
        take_over: Whether endpoint and parent model are taken from another owner, with the models that serve there.

    Raises:
        UserError: A value is not allowed, or does not fit the others.
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
    accelerator_count: Count = 0
    min_replicas: CountFrom1 = 1
    max_replicas: Count = 1
    service_account: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    encryption_key: str = ""
    request_log_table: str = ""
    request_log_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    canary_percent: Annotated[int, Field(ge=1, le=99)] = 10
    traffic_steps: tuple[int, ...] = (50, 100)
    step_seconds: Seconds = 0.0
    drain_seconds: Seconds = 30.0
    keep_warm: bool = False
    operation_seconds: Seconds = 3600.0
    take_over: bool = False

    def __post_init__(self) -> None:
        check_traffic_steps(self.traffic_steps)
        if self.max_replicas < self.min_replicas:
            raise UserError(
                f"max_replicas is {self.max_replicas}: expected min_replicas ({self.min_replicas}) or more."
            )
        check_region(self.project, self.location)
        check_endpoint(self.endpoint, self.project, self.location)
        _check_labels(self.labels)
        if self.staging:
            parse_address(self.staging, "staging", schemes=["gs"])
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,62}", self.model_id):
            raise UserError(f"model_id is {self.model_id!r}: expected lower-case letters, digits, '_' and '-'.")
        _check_accelerator(self.accelerator_type, self.accelerator_count)

    def deployment_hash(self) -> str:
        """Six characters, equal for settings that deploy a version in the same container on the same machines."""
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


@checked_dataclass
class JobSettings:
    """Where a custom job runs, and on which machines.

    Attributes:
        project: Project id.
        location: Region, such as "europe-west4".
        staging: gs:// folder for the job's data and outputs.
        image: Container that trains: the image of finetune_bert, at an address that AI Platform can pull from.
        machine_type: Machine type of each replica.
        accelerator_type: Such as "NVIDIA_TESLA_T4"; "" for none.
        accelerator_count: Accelerators in each replica.
        replicas: Number of machines. The first one is the chief, and all get TF_CONFIG.
        spot: Whether to use spot machines. They are cheaper, but can be taken away; the job then continues from its
            last checkpoint.
        service_account: E-mail of the account that the job runs as; "" for the default one.
        labels: Labels of the job.
        max_hours: Longest time that the job may run.
        abandoned_minutes: Minutes without anybody who waits for the job, after which it writes a checkpoint and ends;
            0: never.
        run: The run that the job belongs to; "" where that is not known. It is a label of the job.
        api_endpoint: Another address of the API, for tests.
        poll_seconds: Pause between two requests for the job's state.

    Raises:
        UserError: A value is not allowed, or does not fit the others.
    """

    project: str
    location: str
    staging: str
    image: str
    machine_type: str = "n1-standard-8"
    accelerator_type: str = ""
    accelerator_count: Count = 0
    replicas: CountFrom1 = 1
    spot: bool = False
    service_account: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    max_hours: JobHours = 24.0
    abandoned_minutes: Annotated[float, Field(ge=0)] = 15.0
    run: str = ""
    api_endpoint: str = ""
    poll_seconds: Seconds = 10.0

    def __post_init__(self) -> None:
        for name in ("project", "location", "image"):
            if not getattr(self, name):
                raise UserError(f"A custom job needs the {name} that it runs with: set job_{name}.")
        check_region(self.project, self.location, "job_")
        check_abandoned_minutes(self.abandoned_minutes, self.poll_seconds)
        parse_address(self.staging, "job_staging", schemes=["gs"])
        _check_labels(self.labels)
        _check_accelerator(self.accelerator_type, self.accelerator_count)


@checked_dataclass
class BatchJobSettings:
    """Where a batch prediction job runs, and on which machines.

    Attributes:
        project: Project id.
        location: Region, such as "europe-west4".
        staging: gs:// folder for the job's model, texts and answers.
        image: Serving container; "" for the prebuilt TensorFlow one; see `AiPlatformSettings`.
        machine_type: Machine type of each replica.
        accelerator_type: Such as "NVIDIA_TESLA_T4"; "" for none.
        accelerator_count: Accelerators in each replica.
        replicas: Number of machines.
        service_account: E-mail of the account that the job runs as; "" for the default one.
        labels: Labels of the job.
        run: The run that the job belongs to; "" where that is not known. It is a label of the job.
        api_endpoint: Another address of the API, for tests.
        poll_seconds: Pause between two requests for the job's state.

    Raises:
        UserError: A value is not allowed, or does not fit the others.
    """

    project: str
    location: str
    staging: str
    image: str = ""
    machine_type: str = "n1-standard-8"
    accelerator_type: str = ""
    accelerator_count: Count = 0
    replicas: CountFrom1 = 1
    service_account: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    run: str = ""
    api_endpoint: str = ""
    poll_seconds: Seconds = 10.0

    def __post_init__(self) -> None:
        for name in ("project", "location"):
            if not getattr(self, name):
                raise UserError(f"A batch prediction job needs the {name} that it runs in: set job_{name}.")
        check_region(self.project, self.location, "job_")
        parse_address(self.staging, "job_staging", schemes=["gs"])
        _check_labels(self.labels)
        _check_accelerator(self.accelerator_type, self.accelerator_count)


def _check_accelerator(kind: str, count: int) -> None:
    if bool(kind) != bool(count):
        raise UserError("accelerator_type and accelerator_count belong together: give both or none.")
    if kind:
        from google.cloud import aiplatform_v1

        if kind not in aiplatform_v1.AcceleratorType.__members__:
            raise UserError(f"AI Platform knows no accelerator {kind!r}: give a name such as NVIDIA_TESLA_T4.")


def _check_labels(labels: dict[str, str]) -> None:
    for name, value in labels.items():
        if rule := _broken_rule(name, value):
            raise UserError(f"labels has {name!r} with the value {value!r}: expected {rule}.")


def _broken_rule(name: str, value: str) -> str:
    """What a label of Google Cloud would have, and this one does not; "" where it can be one."""
    if not (re.fullmatch(r"[^\W\d_][\w-]{0,62}", name) and re.fullmatch(r"[\w-]{0,63}", value)):
        return "up to 63 letters, digits, '_' and '-', and a letter first in the name"
    return "no capital letters" if (name + value).lower() != name + value else ""


def check_region(project: str, location: str, prefix: str = "") -> None:
    """UserError where a project or a location is none, or is written in another form.

    Args:
        project: Id or number of a project.
        location: Name of a region.
        prefix: What the names of the two parameters begin with.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.:-]*[a-z0-9])?", project):
        raise UserError(
            f"{prefix}project is {project!r}: expected the id of a project alone, such as my-project, without "
            "'projects/' or white space."
        )
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", location):
        raise UserError(
            f"{prefix}location is {location!r}: expected the name of a region alone, such as europe-west4, without "
            "'locations/' or white space."
        )


def check_endpoint(endpoint: str, project: str, location: str) -> None:
    """UserError where an id or a full name is none, a name is of another project, or no resource can have a label."""
    if label := re.fullmatch(r"label:([^=]+)=(.+)", endpoint):
        if rule := _broken_rule(*label.groups()):
            raise UserError(f"endpoint is {endpoint!r}: expected in its label {rule}.")
        return
    if re.fullmatch(r"[a-z0-9-]*", endpoint):
        return
    parts = re.fullmatch(r"projects/([^/]+)/locations/([^/]+)/endpoints/([a-z0-9-]+)", endpoint)
    if not parts:
        raise UserError(
            f"endpoint is {endpoint!r}: expected an id, projects/PROJECT/locations/LOCATION/endpoints/ID, or "
            "label:key=value, without capital letters or white space in an id or a label."
        )
    if not may_be_same(parts[1], project) or parts[2] != location:
        raise UserError(
            f"endpoint is {endpoint!r}, and project and location are {project!r} and {location!r}: give those of the "
            "endpoint."
        )


def may_be_same(project: str, other: str) -> bool:
    """Whether two names can mean one project: they are equal, or one is a project's id and the other a number."""
    return project == other or project.isdigit() != other.isdigit()
