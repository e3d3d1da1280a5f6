"""Fine-tuning as a custom job of AI Platform: the same image, parameters and outputs as in this process."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.client import AiPlatformClient
from kfp_bert_components.ai_platform.job_log import JobLog
from kfp_bert_components.ai_platform.job_records import RESULT, read_result, write_client, write_settings
from kfp_bert_components.ai_platform.remote_jobs import RemoteJobs
from kfp_bert_components.ai_platform.settings import JobSettings, job_labels
from kfp_bert_components.leases import Lease
from kfp_bert_components.storage import ACCESS_VARIABLES

if TYPE_CHECKING:
    from kfp_bert_components.storage import Store
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
    from kfp_bert_components.bert.source import checkpoint_address
    from kfp_bert_components.storage import open_store

    base = checkpoint_address(settings.base_model) if settings.base_model else None
    if base and base.is_local:
        settings = replace(settings, base_model=str(base))
    key = _key(train, validation, settings, job_settings)
    place = f"{job_settings.staging.rstrip('/')}/kfp-bert-jobs/{key}"
    store = open_store(place)
    client = AiPlatformClient(job_settings.project, job_settings.location, job_settings.api_endpoint)
    lease = Lease(store, job_settings.run, job_settings.abandoned_minutes * 60)
    jobs = RemoteJobs(client, "custom_job", key, lease, lambda job: store.exists(RESULT))

    def make() -> v1.CustomJob:
        _stage(store, place, train, validation, settings, job_settings)
        return _custom_job(job_settings, place, key)

    with jobs.cancelled_with_this_process():
        name = jobs.start(make)
        log = JobLog(job_settings.project, name.rsplit("/", 1)[-1], job_settings.api_endpoint)
        jobs.wait(name, job_settings.poll_seconds, log.print_new)
    return _collect(store, model, report)


def _key(train: Path, validation: Path, settings: TrainingSettings, job_settings: JobSettings) -> str:
    """A hash of data, parameters, image and machines: jobs with the same key have the same outputs."""
    from kfp_bert_components.data.splits import read_split
    from kfp_bert_components.storage import file_crc32c, relative_files

    data = [read_split(folder).fingerprint for folder in (train, validation)]
    base = Path(settings.base_model)
    if settings.base_model and base.is_dir():
        data += [f"{name} {file_crc32c(base / name)}" for name in relative_files(base)]
    one = job_settings
    machines = [one.machine_type, one.accelerator_type, one.accelerator_count, one.replicas]
    steering = [settings.label_check_rows, settings.keep_texts]
    parts = [data, settings.parameters(), settings.export_precision, *steering, one.image, machines]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _stage(
    store: Store, place: str, train: Path, validation: Path, settings: TrainingSettings, job_settings: JobSettings
) -> None:
    """Copy what the job needs to the staging folder."""
    from kfp_bert_components.storage import upload_folder

    upload_folder(train, store, "train")
    upload_folder(validation, store, "validation")
    if settings.base_model and Path(settings.base_model).is_dir():
        upload_folder(Path(settings.base_model), store, "base_model")
        settings = replace(settings, base_model=f"{place}/base_model")
    if not settings.checkpoint_dir:  # so that a job whose machine is taken away loses minutes only
        settings = replace(settings, checkpoint_dir=f"{place}/checkpoints")
    write_settings(store, asdict(settings))
    write_client(store, {name: getattr(job_settings, name) for name in ("project", "location", "api_endpoint")})


def _custom_job(settings: JobSettings, place: str, key: str) -> v1.CustomJob:
    """The request message for a job that works on the staging folder `place`."""
    machine = v1.MachineSpec(machine_type=settings.machine_type, accelerator_count=settings.accelerator_count)
    if settings.accelerator_type:
        machine.accelerator_type = v1.AcceleratorType.__members__[settings.accelerator_type]
    access = [v1.EnvVar(name=name, value=os.environ[name]) for name in ACCESS_VARIABLES if os.environ.get(name)]
    container = v1.ContainerSpec(
        image_uri=settings.image,
        command=["python", "-m", "kfp_bert_components.ai_platform.job_worker", place],
        env=access,
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


def _collect(store: Store, model: Path, report: Path) -> dict[str, float]:
    """Copy the job's outputs to their places, and return its metrics."""
    from kfp_bert_components.storage import download_folder, publish_folder

    metrics = read_result(store)
    with tempfile.TemporaryDirectory() as scratch:
        download_folder(store, "output/model", Path(scratch) / "model")
        publish_folder(Path(scratch) / "model", model)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_bytes(store.read("output/report.html").data)
    return metrics
