"""Fine-tuning as a custom job of AI Platform: same image, parameters and outputs as in this process."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.client import AiPlatform
from kfp_bert_components.ai_platform.job_log import JobLog
from kfp_bert_components.cancellation import cancellable
from kfp_bert_components.errors import TransientError, UserError

if TYPE_CHECKING:
    from kfp_bert_components.storage import Store
    from kfp_bert_components.training.settings import TrainingSettings

LABEL = "kfp-bert-job"
FORMAT = 1
_OVER = {
    v1.JobState.JOB_STATE_SUCCEEDED,
    v1.JobState.JOB_STATE_FAILED,
    v1.JobState.JOB_STATE_CANCELLED,
    v1.JobState.JOB_STATE_EXPIRED,
    v1.JobState.JOB_STATE_PARTIALLY_SUCCEEDED,
}


@dataclass(frozen=True)
class JobSettings:
    """Where the job runs, and on what.

    Attributes:
        project: Project id.
        location: Region.
        staging: gs:// folder for the job's data and outputs.
        image: Container that trains: the component's own, where AI Platform can pull it.
        machine_type: Machine of each replica.
        accelerator_type: Such as "NVIDIA_TESLA_T4"; "" for none.
        accelerator_count: Accelerators in each replica.
        replicas: Machines; the first one is the chief, and all get TF_CONFIG.
        spot: Whether to use spot machines, which are cheaper and can be taken away: training goes on from its
            last checkpoint then.
        service_account: E-mail of the account that the job runs as; "" for the default one.
        labels: Labels of the job.
        max_hours: Longest time that the job may run.
        api_endpoint: Another address of the API, for tests.
        poll_seconds: Pause between two looks at the job.
    """

    project: str
    location: str
    staging: str
    image: str
    machine_type: str = "n1-standard-8"
    accelerator_type: str = ""
    accelerator_count: int = 0
    replicas: int = 1
    spot: bool = False
    service_account: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    max_hours: float = 24.0
    api_endpoint: str = ""
    poll_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("project", "location", "image"):
            if not getattr(self, name):
                raise UserError(f"A custom job needs the {name} that it runs with: set job_{name}.")
        if not self.staging.startswith("gs://"):
            raise UserError(f"The staging folder is {self.staging!r}: a custom job needs one on gs://.")
        if self.replicas < 1:
            raise UserError(f"replicas is {self.replicas}: expected 1 or more.")
        if bool(self.accelerator_type) != bool(self.accelerator_count):
            raise UserError("accelerator_type and accelerator_count belong together: give both or none.")
        if self.accelerator_type and self.accelerator_type not in v1.AcceleratorType.__members__:
            raise UserError(f"AI Platform knows no accelerator {self.accelerator_type!r}.")


def run_as_custom_job(
    train: Path, validation: Path, model: Path, report: Path, settings: TrainingSettings, job: JobSettings
) -> dict[str, float]:
    """Do what `kfp_bert_components.training.finetune` does, as a custom job.

    The data is copied to the staging folder, the job's log is printed, and its outputs are copied to where
    the local run would have written them. Called again for the same data and settings it goes on with the
    same job. When this process is told to end (SIGTERM, Ctrl-C), the job is cancelled.

    Args:
        train: Folder of the split to train on.
        validation: Folder of the split that says which weights are best.
        model: Folder for the model bundle.
        report: Path of the HTML report.
        settings: How to train.
        job: Where, and on what.

    Returns:
        The metrics of the local run.

    Raises:
        UserError: The job failed or was cancelled, or AI Platform refused it.
    """
    from kfp_bert_components.storage import open_store

    key = _key(train, validation, settings, job)
    place = f"{job.staging.rstrip('/')}/kfp-bert-jobs/{key}"
    store, cloud = open_store(place), AiPlatform(job.project, job.location, job.api_endpoint)
    with cancellable():
        try:
            name = _find(cloud, key, store)
            if name:
                print(f"Going on with job {name}.", flush=True)
            else:
                _stage(store, place, train, validation, settings)
                name = _submit(cloud, _spec(job, place, key), key, store)
                print(f"Started job {name}.", flush=True)
            _wait(cloud, name, job)
        except BaseException as error:
            if not isinstance(error, Exception):
                _cancel(cloud, key)
            raise
    return _collect(store, model, report)


def _key(train: Path, validation: Path, settings: TrainingSettings, job: JobSettings) -> str:
    """What makes two jobs the same: data, parameters, image and machines."""
    from kfp_bert_components.data.splits import read_split
    from kfp_bert_components.storage import file_crc32c, relative_files

    data = [read_split(folder).fingerprint for folder in (train, validation)]
    base = Path(settings.base_model)
    if settings.base_model and base.is_dir():
        data += [f"{name} {file_crc32c(base / name)}" for name in relative_files(base)]
    machines = [job.machine_type, job.accelerator_type, job.accelerator_count, job.replicas]
    parts = [data, settings.parameters(), settings.export_precision, job.image, machines]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _find(cloud: AiPlatform, key: str, store: Store) -> str:
    """The job of an earlier run that is still of use, or ""."""
    for job in sorted(_jobs(cloud, key), key=lambda one: one.name, reverse=True):
        done = job.state == v1.JobState.JOB_STATE_SUCCEEDED and store.exists("output/result.json")
        if done or job.state not in _OVER:
            return job.name
    return ""


def _jobs(cloud: AiPlatform, key: str) -> list[v1.CustomJob]:
    request = v1.ListCustomJobsRequest(parent=cloud.parent, filter=f'labels.{LABEL}="{key}"')
    return list(_patiently(cloud, cloud.jobs.list_custom_jobs, request))


def _cancel(cloud: AiPlatform, key: str) -> None:
    """Cancel the job, also one whose creation was not heard of yet."""
    for job in _jobs(cloud, key):
        if job.state not in _OVER:
            print(f"Cancelling job {job.name}.", flush=True)
            _patiently(cloud, cloud.jobs.cancel_custom_job, v1.CancelCustomJobRequest(name=job.name))


def _stage(store: Store, place: str, train: Path, validation: Path, settings: TrainingSettings) -> None:
    from kfp_bert_components.storage import upload_folder

    upload_folder(train, store, "train")
    upload_folder(validation, store, "validation")
    if settings.base_model and Path(settings.base_model).is_dir():
        upload_folder(Path(settings.base_model), store, "base_model")
        settings = replace(settings, base_model=f"{place}/base_model")
    if not settings.checkpoint_dir:  # a machine that is taken away costs minutes then, not the run
        settings = replace(settings, checkpoint_dir=f"{place}/checkpoints")
    store.write("job.json", json.dumps({"format": FORMAT, "settings": asdict(settings)}).encode())


def _spec(job: JobSettings, place: str, key: str) -> v1.CustomJob:
    machine = v1.MachineSpec(machine_type=job.machine_type, accelerator_count=job.accelerator_count)
    if job.accelerator_type:
        machine.accelerator_type = v1.AcceleratorType.__members__[job.accelerator_type]
    container = v1.ContainerSpec(
        image_uri=job.image,
        command=["python", "-m", "kfp_bert_components.ai_platform.job_worker", place],
    )
    counts = [1, job.replicas - 1] if job.replicas > 1 else [1]  # the first pool is the chief
    pools = [v1.WorkerPoolSpec(machine_spec=machine, replica_count=count, container_spec=container) for count in counts]
    strategy = v1.Scheduling.Strategy.SPOT if job.spot else v1.Scheduling.Strategy.STANDARD
    scheduling = v1.Scheduling(
        timeout={"seconds": int(job.max_hours * 3600)},
        strategy=strategy,
        restart_job_on_worker_restart=job.replicas > 1,
    )
    spec = v1.CustomJobSpec(worker_pool_specs=pools, scheduling=scheduling, service_account=job.service_account)
    return v1.CustomJob(display_name=f"kfp-bert finetune {key[:8]}", job_spec=spec, labels={**job.labels, LABEL: key})


def _submit(cloud: AiPlatform, job: v1.CustomJob, key: str, store: Store) -> str:
    """Create the job once, also where the answer to the first try got lost."""
    for attempt in range(5):
        try:
            request = v1.CreateCustomJobRequest(parent=cloud.parent, custom_job=job)
            return cloud.call(cloud.jobs.create_custom_job, request).name
        except TransientError:
            if attempt == 4:
                raise
            time.sleep(2**attempt / 2)
            if name := _find(cloud, key, store):
                return name
    raise AssertionError


def _wait(cloud: AiPlatform, name: str, job: JobSettings) -> None:
    """Print the log until the job is over; UserError unless it succeeded."""
    log = JobLog(cloud, job.project, name.rsplit("/", 1)[-1], job.api_endpoint)
    state = None
    while True:
        seen = _patiently(cloud, cloud.jobs.get_custom_job, v1.GetCustomJobRequest(name=name))
        if seen.state != state:
            state = seen.state
            print(f"Job is {v1.JobState(state).name.removeprefix('JOB_STATE_').lower()}.", flush=True)
        log.print_new()
        if state in _OVER:
            break
        time.sleep(job.poll_seconds)
    if state != v1.JobState.JOB_STATE_SUCCEEDED:
        why = seen.error.message or "its log says why"
        raise UserError(f"Job {name} ended as {v1.JobState(state).name.removeprefix('JOB_STATE_')}: {why}.")


def _patiently(cloud: AiPlatform, method: Any, request: Any) -> Any:
    """A call that does no harm when it is made twice, tried for about half a minute."""
    for attempt in range(7):
        try:
            return cloud.call(method, request)
        except TransientError as error:
            if attempt == 6:
                raise UserError(
                    f"AI Platform can't be reached: {error}. A job that runs goes on: run again to wait for it."
                ) from error
            time.sleep(2**attempt / 2)
    raise AssertionError


def _collect(store: Store, model: Path, report: Path) -> dict[str, float]:
    from kfp_bert_components.storage import download_folder, publish_folder

    result = json.loads(store.read("output/result.json").data)
    if result.get("format") != FORMAT:
        raise UserError(f"{store.describe('output/result.json')} has an unknown format: update the package.")
    with tempfile.TemporaryDirectory() as scratch:
        download_folder(store, "output/model", Path(scratch) / "model")
        publish_folder(Path(scratch) / "model", model)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_bytes(store.read("output/report.html").data)
    return {name: float(value) for name, value in result["metrics"].items()}
