"""A step that waits for a custom job, and the jobs as processes, without the training."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform import JobSettings, run_as_custom_job
from kfp_bert_components.ai_platform.job_worker import cancel_own_job
from kfp_bert_components.jobs.records import write_client, write_result
from kfp_bert_components.leases import ended_when_abandoned
from kfp_bert_components.steps.batch_predict import batch_predict
from kfp_bert_components.storage import open_store
from kfp_bert_components.training import TrainingSettings
from tests.support.kubeflow import Step

ENDED = (
    v1.JobState.JOB_STATE_SUCCEEDED,
    v1.JobState.JOB_STATE_FAILED,
    v1.JobState.JOB_STATE_CANCELLED,
)


def wait_for_job(
    folder: str, url: str, seed: int, run: str, abandoned_minutes: float, poll_seconds: float = 0.05
) -> None:
    """What finetune_bert does with `run_on="ai_platform"`; the splits lie in the folder."""
    job = JobSettings(
        "p",
        "region-1",
        "gs://bucket/staging",
        "image:1",
        abandoned_minutes=abandoned_minutes,
        run=run,
        api_endpoint=url,
        poll_seconds=poll_seconds,
    )
    place = Path(folder)
    outputs = place / f"model-{os.getpid()}", place / f"report-{os.getpid()}.html"
    run_as_custom_job(place / "train", place / "validation", *outputs, TrainingSettings(seed=seed), job)


def wait_for_answers(table: str, out: str, model: str, url: str, run: str) -> None:
    """What batch_predict does with `run_on="ai_platform"`."""
    job = {"project": "p", "location": "region-1", "staging": "gs://bucket/staging", "api_endpoint": url}
    batch_predict(table, out, model, run_on="ai_platform", **job, run=run, poll_seconds=0.02)


def train(place: str) -> None:
    """What the job does: the lease and the end are the real ones; instead of training it waits for the object `stop`.

    At SIGTERM it writes an object `checkpoint`, as training does.
    """
    store = open_store(place)
    with ended_when_abandoned(store, lambda: cancel_own_job(place)):
        try:
            while not store.exists("stop"):
                time.sleep(0.1)
        except BaseException:
            store.write("checkpoint", b"")
            raise
    store.write("output/model/bundle.json", b"{}")
    store.write("output/report.html", b"")
    write_result(store, {"validation_loss": 0.5})


class Machines:
    """Runs the jobs of a fake AI Platform as processes; `cloud.on_job = machines.start`.

    Args:
        url: Address of the fake for the jobs, which are on another network than the steps.

    Attributes:
        jobs: The process of each job, by the job's name.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.jobs: dict[str, Step] = {}

    def start(self, job: Any) -> None:
        job.state = v1.JobState.JOB_STATE_RUNNING
        place = job.job_spec.worker_pool_specs[0].container_spec.command[-1]
        threading.Thread(target=self._run, args=(job, place), daemon=True).start()

    def _run(self, job: Any, place: str) -> None:
        write_client(open_store(place), {"project": "p", "location": "region-1", "api_endpoint": self._url})
        step = self.jobs[job.name] = Step(train, place)
        while (code := step.wait(0.02)) is None:
            if job.state == v1.JobState.JOB_STATE_CANCELLED:  # AI Platform ends the machines
                step.kill()
        if job.state not in ENDED:
            job.state = v1.JobState.JOB_STATE_FAILED if code else v1.JobState.JOB_STATE_SUCCEEDED
