"""Pipelines of the fake AI Platform: runs, and schedules of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from google.cloud import aiplatform_v1 as v1
from google.protobuf import json_format

from tests.support.ai_platform_operations import Operations, RefusalError
from tests.support.pipeline_bodies import check_run

PAGE = 2


@dataclass
class PipelineJobs(Operations):
    """Runs and schedules by name.

    Attributes:
        run_states: The states that a run is seen in, one a look; it stays in the last.
    """

    runs: dict[str, v1.PipelineJob] = field(default_factory=dict)
    schedules: dict[str, v1.Schedule] = field(default_factory=dict)
    run_states: list[str] = field(default_factory=lambda: ["RUNNING", "SUCCEEDED"])

    def create_pipeline_job(self, request: Any) -> Any:
        job_id = request.pipeline_job_id
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,127}", job_id):
            raise RefusalError(400, "INVALID_ARGUMENT", f"{job_id!r} is no id of a run")
        name = f"{request.parent}/pipelineJobs/{job_id}"
        if name in self.runs:
            raise RefusalError(409, "ALREADY_EXISTS", f"{name} already exists")
        _check(request.pipeline_job)
        self.runs[name] = v1.PipelineJob(v1.PipelineJob.wrap(request.pipeline_job), name=name)
        return self.runs[name]

    def get_pipeline_job(self, request: Any) -> Any:
        if request.name not in self.runs:
            raise RefusalError(404, "NOT_FOUND", f"{request.name} does not exist")
        run = self.runs[request.name]
        state = self.run_states.pop(0) if len(self.run_states) > 1 else self.run_states[0]
        run.state = v1.PipelineState[f"PIPELINE_STATE_{state}"]
        if state == "FAILED":
            run.error = {"code": 9, "message": "a step failed"}
            run.job_detail.task_details = [
                v1.PipelineTaskDetail(task_name="finetune-bert", state=v1.PipelineTaskDetail.State.FAILED)
            ]
        return run

    def list_pipeline_jobs(self, request: Any) -> Any:
        return v1.ListPipelineJobsResponse(pipeline_jobs=list(self.runs.values()))

    def create_schedule(self, request: Any) -> Any:
        schedule = request.schedule
        if not schedule.display_name or not schedule.max_concurrent_run_count:
            raise RefusalError(400, "INVALID_ARGUMENT", "display_name and max_concurrent_run_count are required")
        if not re.fullmatch(r"(TZ=[\w/+-]+ )?\S+( \S+){4}", schedule.cron):
            raise RefusalError(400, "INVALID_ARGUMENT", f"{schedule.cron!r} is no schedule")
        if schedule.create_pipeline_job_request.parent != request.parent:
            raise RefusalError(400, "INVALID_ARGUMENT", "the runs must be where the schedule is")
        _check(schedule.create_pipeline_job_request.pipeline_job)
        name = f"{request.parent}/schedules/{self._number()}"
        self.schedules[name] = v1.Schedule(v1.Schedule.wrap(schedule), name=name, state=v1.Schedule.State.ACTIVE)
        return self.schedules[name]

    def list_schedules(self, request: Any) -> Any:
        start = int(request.page_token or 0)
        found = list(self.schedules.values())
        more = str(start + PAGE) if start + PAGE < len(found) else ""
        return v1.ListSchedulesResponse(schedules=found[start : start + PAGE], next_page_token=more)

    def pause_schedule(self, request: Any) -> Any:
        self._schedule(request.name).state = v1.Schedule.State.PAUSED
        return None

    def resume_schedule(self, request: Any) -> Any:
        self._schedule(request.name).state = v1.Schedule.State.ACTIVE
        return None

    def delete_schedule(self, request: Any) -> Any:
        name = self._schedule(request.name).name

        def apply() -> Any:
            del self.schedules[name]
            return v1.DeleteOperationMetadata()

        return self._begin(name, "DeleteSchedule", apply, v1.DeleteOperationMetadata())

    def _schedule(self, name: str) -> v1.Schedule:
        if name not in self.schedules:
            raise RefusalError(404, "NOT_FOUND", f"{name} does not exist")
        return self.schedules[name]


def _check(job: Any) -> None:
    """Refuse a run that the service would refuse; `job` is a protobuf message."""
    if not job.runtime_config.gcs_output_directory.startswith("gs://"):
        raise RefusalError(400, "INVALID_ARGUMENT", "gcs_output_directory must be on gs://")
    values = {name: json_format.MessageToDict(one) for name, one in job.runtime_config.parameter_values.items()}
    try:
        check_run(json_format.MessageToDict(job.pipeline_spec), values)
    except ValueError as error:
        raise RefusalError(400, "INVALID_ARGUMENT", str(error)) from None
