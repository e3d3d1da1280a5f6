"""Fine-tuning as a custom job of AI Platform: the same image, parameters and outputs as in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.client import AiPlatformClient
from kfp_bert_components.ai_platform.job_log import JobLog
from kfp_bert_components.ai_platform.remote_jobs import AiPlatformJobs
from kfp_bert_components.ai_platform.settings import JobSettings
from kfp_bert_components.jobs.labels import job_labels
from kfp_bert_components.jobs.records import RESULT
from kfp_bert_components.jobs.remote_jobs import RemoteJobs
from kfp_bert_components.jobs.staging import collect, job_key, pinned_base_model, place_of, places, stage
from kfp_bert_components.leases import Lease
from kfp_bert_components.progress import say
from kfp_bert_components.storage import JobAccess, job_access, open_store

if TYPE_CHECKING:
    from kfp_bert_components.training import TrainingSettings


def run_as_custom_job(
    train: Path, validation: Path, model: Path, report: Path, settings: TrainingSettings, job_settings: JobSettings
) -> dict[str, float]:
    """Do what `kfp_bert_components.training.finetune` does, in a custom job.

    The data is copied to the staging folder, and the job's log is printed here. The job's outputs are copied to where
    `finetune` would have written them. If there is a job for the same data and settings already, which runs or has
    succeeded, it is used and no other is started. When this process is told to stop (SIGTERM, Ctrl-C), one request
    cancels the job. A job whose step was killed before that request, or could not send it, ends itself when nobody has
    waited for it for `abandoned_minutes`.

    Args:
        train: Folder of the split to train on.
        validation: Folder of the split by which the best weights are chosen.
        model: Folder for the model bundle.
        report: Path of the HTML report.
        settings: How to train.
        job_settings: Where the job runs, and on which machines.

    Returns:
        The metrics that `finetune` returned in the job.

    Raises:
        UserError: The job failed or was cancelled, AI Platform refused it, or AI Platform cannot be reached.
    """
    one = job_settings
    settings = pinned_base_model(settings)
    machines = [one.machine_type, one.accelerator_type, one.accelerator_count, one.replicas, one.staging.rstrip("/")]
    key = job_key(train, validation, settings, one.image, machines)
    place = place_of(one.staging, key)
    store = open_store(place)
    client = AiPlatformClient(one.project, one.location, one.api_endpoint)
    lease = Lease(store, one.run, one.abandoned_minutes * 60)
    jobs = RemoteJobs(AiPlatformJobs(client, "custom_job", key), lease, lambda job: store.exists(RESULT))

    def make() -> v1.CustomJob:
        where = {name: getattr(one, name) for name in ("project", "location", "api_endpoint")}
        stage(store, place, train, validation, settings, where)
        access = job_access(places(settings, place))
        if access.keyless:
            say(
                f"The job gets no keys for {access.keyless}, as others can read what a job is given. Use a place on "
                "gs://, or an image (job_image) whose AWS_SHARED_CREDENTIALS_FILE is a file below /gcs/, in a bucket "
                "that only the account of the job may read."
            )
        return _custom_job(one, place, key, access)

    with jobs.cancelled_with_this_process():
        name = jobs.start(make)
        log = JobLog(one.project, name.rsplit("/", 1)[-1], one.api_endpoint)
        jobs.wait(name, one.poll_seconds, lambda job: log.print_new())
    return collect(store, model, report)


def _custom_job(settings: JobSettings, place: str, key: str, access: JobAccess) -> v1.CustomJob:
    """The request message for a job that works on the staging folder `place`."""
    machine = v1.MachineSpec(machine_type=settings.machine_type, accelerator_count=settings.accelerator_count)
    if settings.accelerator_type:
        machine.accelerator_type = v1.AcceleratorType.__members__[settings.accelerator_type]
    container = v1.ContainerSpec(
        image_uri=settings.image,
        command=["python", "-m", "kfp_bert_components.ai_platform.job_worker", place],
        env=[v1.EnvVar(name=name, value=value) for name, value in access.variables.items()],
    )
    counts = [1, settings.replicas - 1] if settings.replicas > 1 else [1]  # the first pool is the chief
    pools = [v1.WorkerPoolSpec(machine_spec=machine, replica_count=count, container_spec=container) for count in counts]
    strategy = v1.Scheduling.Strategy.SPOT if settings.spot else v1.Scheduling.Strategy.STANDARD
    scheduling = v1.Scheduling(
        timeout={"seconds": int(settings.max_hours * 3600)},
        strategy=strategy,
        restart_job_on_worker_restart=settings.replicas > 1,
    )
    spec = v1.CustomJobSpec(worker_pool_specs=pools, scheduling=scheduling, service_account=settings.service_account)
    labels = job_labels(settings.labels, key, settings.run)
    return v1.CustomJob(display_name=f"kfp-bert finetune {key[:8]}", job_spec=spec, labels=labels)
