"""The command `kfp-bert jobs`, as a person uses it."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform import AiPlatformClient
from kfp_bert_components.cli.jobs import command
from kfp_bert_components.errors import UserError
from kfp_bert_components.leases import Lease
from kfp_bert_components.storage import open_store
from tests.support.ai_platform_server import AiPlatformServer, Fault
from tests.support.stores import gcs

__all__ = ["gcs"]
PLACE = ("--project", "p", "--location", "region-1")


@pytest.fixture
def server(gcs, monkeypatch):
    """Two jobs of ours that run, one that is over, and one that is not ours."""
    with AiPlatformServer() as server:
        for number, labels in enumerate([{"kfp-bert-run": "run-1"}, {}, {"kfp-bert-run": "run-3"}, None]):
            job = create(server, number, labels)
            job.create_time = datetime.now(UTC) - timedelta(minutes=100 - 50 * number, seconds=5)
            job.state = v1.JobState.JOB_STATE_SUCCEEDED if number == 2 else v1.JobState.JOB_STATE_RUNNING
        monkeypatch.setenv("KFP_POD_NAME", "pod-1")
        Lease(open_store("gs://bucket/staging/1"), "run-2").take()
        yield server


def create(server, number, labels):
    place = f"gs://bucket/staging/{number}"
    container = v1.ContainerSpec(image_uri="image:1", command=["python", "worker", place])
    spec = v1.CustomJobSpec(worker_pool_specs=[v1.WorkerPoolSpec(container_spec=container)])
    labels = {} if labels is None else {"kfp-bert-job": f"key{number}", **labels}
    client = AiPlatformClient("p", "region-1", server.url)
    request = v1.CreateCustomJobRequest(
        parent=client.parent, custom_job=v1.CustomJob(display_name="x", job_spec=spec, labels=labels)
    )
    return server.cloud.jobs[client.call(client.jobs.create_custom_job, request).name]


def run(server, *arguments):
    done = CliRunner().invoke(command, [*arguments, *PLACE, "--api-endpoint", server.url], catch_exceptions=False)
    return done.output


def states(server):
    return [v1.JobState(job.state).name.removeprefix("JOB_STATE_") for job in server.cloud.jobs.values()]


def test_list_shows_the_jobs_of_ours_that_run_with_their_run_and_age(server):
    first, second = run(server, "list").splitlines()
    names = list(server.cloud.jobs)
    assert re.fullmatch(rf"running +1 h 40 min  run-1  nobody waits  {names[0]}", first)
    assert re.fullmatch(rf"running +50 min  run-2  pod-1  {names[1]}", second)
    found = json.loads(run(server, "list", "--json"))
    assert [(one["state"], one["run"], one["holder"], one["name"]) for one in found] == [
        ("running", "run-1", "", names[0]),
        ("running", "run-2", "pod-1", names[1]),
    ]
    assert datetime.fromisoformat(found[0]["created"]) < datetime.now(UTC) - timedelta(minutes=100)


def test_a_second_page_of_jobs_that_breaks_off_is_asked_for_again(server):
    server.cloud.jobs_on_a_page = 1
    server.faults = [Fault("ListCustomJobs", "cut", position=6)]
    assert len(run(server, "list").splitlines()) == 2
    assert server.calls.count("ListCustomJobs") == 4 and server.faults[0].times == 0


def test_jobs_are_cancelled_by_name_and_by_run(server):
    names = list(server.cloud.jobs)
    assert run(server, "cancel", "--run", "run-2") == f"cancelled {names[1]}\n"
    assert states(server) == ["RUNNING", "CANCELLED", "SUCCEEDED", "RUNNING"]
    assert run(server, "cancel", names[0]) == f"cancelled {names[0]}\n"
    assert states(server) == ["CANCELLED", "CANCELLED", "SUCCEEDED", "RUNNING"]
    assert run(server, "list") == "No job of ours is running there (--project p --location region-1).\n"
    assert (
        run(server, "cancel", "--run", "run-2")
        == "No job of run run-2 is running there (--project p --location region-1).\n"
    )


def test_the_others_are_cancelled_where_one_cannot_be_and_it_is_named_at_the_end(server):
    names = list(server.cloud.jobs)
    server.cloud.jobs[names[0]].labels["kfp-bert-run"] = "run-2"
    server.faults = [Fault("CancelCustomJob", status=400)]
    done = CliRunner().invoke(command, ["cancel", "--run", "run-2", *PLACE, "--api-endpoint", server.url])
    assert done.output == f"cancelled {names[1]}\n"
    assert done.exit_code != 0
    assert re.fullmatch(
        rf"Not cancelled: {names[0]} \(AI Platform refused cancel_custom_job.*\)\.", str(done.exception)
    )
    assert states(server) == ["RUNNING", "CANCELLED", "SUCCEEDED", "RUNNING"]


def test_a_job_that_another_run_waits_for_too_is_left_to_it_unless_it_is_named(server):
    name = list(server.cloud.jobs)[1]
    Lease(open_store("gs://bucket/staging/1"), "run-4").take()
    assert "  run-4, run-2  pod-1  " in run(server, "list")
    left = f"left {name}: pod-1 of run run-4 waits for it, too; give its name to cancel it\n"
    assert run(server, "cancel", "--run", "run-2") == left
    assert run(server, "cancel", name) == f"cancelled {name}\n"


def test_a_name_that_is_none_of_a_job_is_an_error(server):
    with pytest.raises(UserError, match="endpoints/5 is no job: expected projects/p/locations/region-1/customJobs/NUM"):
        run(server, "cancel", "projects/p/locations/region-1/endpoints/5")


@pytest.mark.parametrize("arguments", [["cancel"], ["cancel", "a", "--run", "b"]])
def test_cancel_needs_names_or_a_run(server, arguments):
    assert "Give the names of jobs, or --run." in run(server, *arguments)
