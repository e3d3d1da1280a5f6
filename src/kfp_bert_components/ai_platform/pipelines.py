"""Runs and schedules of AI Platform's pipelines (Vertex AI Pipelines)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform.client import AiPlatformClient
from kfp_bert_components.errors import TransientError, UserError


class Pipelines:
    """The pipelines of one project in one region.

    Args:
        project: The project's id.
        location: The region, such as europe-west4.
        api_endpoint: As of `AiPlatformClient`.

    Raises:
        UserError: Project or location is none.
    """

    kind = "AI Platform"

    def __init__(self, project: str, location: str, api_endpoint: str = "") -> None:
        self._client = AiPlatformClient(project, location, api_endpoint)
        self._project, self._location = project, location

    def check(self) -> None:
        """Make a read-only call, which needs credentials, the API and a right; UserError where one is missing."""
        self._client.call(
            self._client.pipelines.list_pipeline_jobs,
            v1.ListPipelineJobsRequest(parent=self._client.parent, page_size=1),
        )

    def submit(
        self, spec: Path, name: str, arguments: dict[str, Any], service_account: str, root: str, experiment: str
    ) -> tuple[str, str]:
        """Start a run of a compiled pipeline.

        Args:
            spec: The compiled pipeline.
            name: What the run is called.
            arguments: Values by parameter.
            service_account: E-mail address of the account of its steps; "" for the project's default.
            root: gs:// URI for the artifacts; "" for the one that the pipeline names.
            experiment: Must be "": runs have none here.

        Returns:
            The run's id, and the address of its page.

        Raises:
            UserError: There is no place for artifacts, or AI Platform refused.
            TransientError: It failed in a way that may pass. The run may have started.
        """
        job = _job(spec, name, arguments, service_account, root, experiment)
        run = f"{_slug(name)[:80]}-{datetime.now(UTC):%Y%m%d%H%M%S}"
        request = v1.CreatePipelineJobRequest(parent=self._client.parent, pipeline_job=job, pipeline_job_id=run)
        console = "https://console.cloud.google.com/vertex-ai/locations"
        page = f"{console}/{self._location}/pipelines/runs/{run}?project={self._project}"
        try:
            self._client.call(self._client.pipelines.create_pipeline_job, request)
        except TransientError as error:
            raise TransientError(f"{error}. Run {run} may have started all the same: look at {page} first.") from None
        return run, page

    def state(self, run: str) -> tuple[str, str]:
        """The state of a run, such as RUNNING, and what is known about its failure."""
        request = v1.GetPipelineJobRequest(name=f"{self._client.parent}/pipelineJobs/{run}")
        job = self._client.call(self._client.pipelines.get_pipeline_job, request)
        failed = [f"{one.task_name} failed" for one in job.job_detail.task_details if one.state.name == "FAILED"]
        state = job.state.name.removeprefix("PIPELINE_STATE_")
        return state, "; ".join(failed + ([job.error.message] if job.error.message else []))

    def create_schedule(
        self,
        spec: Path,
        name: str,
        arguments: dict[str, Any],
        service_account: str,
        root: str,
        experiment: str,
        cron: str,
        time_zone: str,
    ) -> str:
        """Let a pipeline run again and again, one run at a time; what was missed is not made up for.

        Args:
            spec: The compiled pipeline.
            name: What the schedule is called.
            arguments: Values by parameter.
            service_account: As in `submit`.
            root: As in `submit`.
            experiment: As in `submit`.
            cron: Five fields: minute, hour, day of the month, month, day of the week.
            time_zone: Name of the time zone, such as Asia/Seoul; "" for UTC.

        Returns:
            The schedule's id.
        """
        job = _job(spec, name, arguments, service_account, root, experiment)
        schedule = v1.Schedule(
            display_name=name,
            cron=f"TZ={time_zone} {cron}" if time_zone else cron,
            max_concurrent_run_count=1,
            create_pipeline_job_request=v1.CreatePipelineJobRequest(parent=self._client.parent, pipeline_job=job),
        )
        request = v1.CreateScheduleRequest(parent=self._client.parent, schedule=schedule)
        return self._client.call(self._client.schedules.create_schedule, request).name.rsplit("/", 1)[-1]

    def schedules(self) -> list[dict[str, str]]:
        """All schedules: `id`, `name`, `state` (active, paused or completed) and `cron`."""
        found, token = [], ""
        while True:
            request = v1.ListSchedulesRequest(parent=self._client.parent, page_size=100, page_token=token)
            page = self._client.call(self._client.schedules.list_schedules, request)
            found += page.schedules
            token = page.next_page_token
            if not token:
                return [
                    {
                        "id": one.name.rsplit("/", 1)[-1],
                        "name": one.display_name,
                        "state": one.state.name.lower(),
                        "cron": one.cron,
                    }
                    for one in found
                ]

    def pause(self, schedule: str) -> None:
        """Let a schedule start no more runs."""
        self._client.call(self._client.schedules.pause_schedule, v1.PauseScheduleRequest(name=self._schedule(schedule)))

    def resume(self, schedule: str) -> None:
        """Let a paused schedule go on."""
        request = v1.ResumeScheduleRequest(name=self._schedule(schedule))
        self._client.call(self._client.schedules.resume_schedule, request)

    def delete(self, schedule: str) -> None:
        """Remove a schedule. Its runs stay."""
        request = v1.DeleteScheduleRequest(name=self._schedule(schedule))
        operation = self._client.call(self._client.schedules.delete_schedule, request)
        self._client.wait(operation.operation.name, f"deleting schedule {schedule}", 300.0, lambda: None)

    def _schedule(self, schedule: str) -> str:
        return f"{self._client.parent}/schedules/{schedule}"


def _job(
    spec: Path, name: str, arguments: dict[str, Any], service_account: str, root: str, experiment: str
) -> v1.PipelineJob:
    if experiment:
        raise UserError("--experiment is of Kubeflow Pipelines; runs of AI Platform have none: leave it out.")
    pipeline = next(iter(yaml.safe_load_all(spec.read_text())))
    root = root or pipeline.get("defaultPipelineRoot", "")
    if not root.startswith("gs://"):
        raise UserError("AI Platform needs a place for the artifacts of runs: --pipeline-root gs://my-bucket/runs.")
    return v1.PipelineJob(
        display_name=name,
        pipeline_spec=pipeline,
        runtime_config=v1.PipelineJob.RuntimeConfig(gcs_output_directory=root, parameter_values=arguments),
        service_account=service_account,
    )


def _slug(name: str) -> str:
    """The name as it may begin the id of a run."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-0123456789") or "run"
