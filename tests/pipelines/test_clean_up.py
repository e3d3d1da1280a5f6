"""The exit handler of the ready pipelines: no job of a run goes on when the run is over."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from google.cloud import aiplatform_v1 as v1
from kfp import dsl

from kfp_bert_components import clean_up_run
from kfp_bert_components.ai_platform import AiPlatformClient
from kfp_bert_components.deployment.labels import slug
from kfp_bert_components.errors import RunError, UserError
from kfp_bert_components.leases import Lease, read_lease
from kfp_bert_components.origin import Origin, here
from kfp_bert_components.pipelines import train_and_deploy, train_and_deploy_to_ai_platform, train_and_deploy_to_kserve
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.clean_up_run import clean_up_run as clean_up_in_step
from kfp_bert_components.storage import open_store
from tests.conftest import ROOT
from tests.support.ai_platform_server import AiPlatformServer, Fault
from tests.support.http_folder import serving_folder
from tests.support.kubeflow_steps import RUN_ID, Steps
from tests.support.pipeline_runs import run_pipeline
from tests.support.splits import write_small_splits
from tests.support.stores import gcs
from tests.support.training import BUNDLE_JSON

__all__ = ["gcs"]
PIPELINE = f"{Path(__file__).with_name('clean_up_pipeline.py')}:train_in_a_job"
PLACE = {"project": "p", "location": "region-1"}


@pytest.fixture
def server(gcs):
    with AiPlatformServer() as server:
        yield server


def create(server, run, number=1, ended=False):
    """A job of a run, started by its step; it runs."""
    place = f"gs://bucket/staging/{number}"
    container = v1.ContainerSpec(image_uri="image:1", command=["python", "worker", place])
    spec = v1.CustomJobSpec(worker_pool_specs=[v1.WorkerPoolSpec(container_spec=container)])
    labels = {"kfp-bert-job": f"key{number}", "kfp-bert-run": run}
    client = AiPlatformClient(**PLACE, api_endpoint=server.url)
    job = v1.CustomJob(display_name="kfp-bert", job_spec=spec, labels=labels)
    request = v1.CreateCustomJobRequest(parent=client.parent, custom_job=job)
    name = client.call(client.jobs.create_custom_job, request).name
    server.cloud.jobs[name].state = v1.JobState.JOB_STATE_RUNNING
    return server.cloud.jobs[name], Lease(open_store(place), run)


def clean_up(server, state="RUNNING", **changes):
    return clean_up_in_step(state, "", ["run-1", ""], **PLACE, api_endpoint=server.url, **changes)


def is_cancelled(job):
    return job.state == v1.JobState.JOB_STATE_CANCELLED


def test_a_run_that_was_terminated_cancels_its_jobs_and_no_others(server):
    (mine, _), (other, _), (over, _) = (create(server, run, n) for n, run in enumerate(["run-1", "run-2", "run-1"]))
    over.state = v1.JobState.JOB_STATE_SUCCEEDED
    outcome = clean_up(server)
    assert outcome == (f"The run was ended before it was over. Cancelled job {mine.name}, which was running.")
    assert is_cancelled(mine)
    assert not is_cancelled(other)
    assert clean_up(server, "FAILED") == "The run failed. None of its jobs is running."


def test_a_job_belongs_to_the_run_that_waits_for_it(server):
    (given, _), (taken, _) = create(server, "run-1", 1), create(server, "run-2", 2)
    Lease(open_store("gs://bucket/staging/1"), "run-2").take()
    Lease(open_store("gs://bucket/staging/2"), "run-1").take()
    clean_up(server)
    assert not is_cancelled(given)
    assert is_cancelled(taken)


def test_a_job_that_another_run_waits_for_too_goes_on_and_the_last_run_cancels_it(server):
    job, _ = create(server, "run-1")
    store = open_store("gs://bucket/staging/1")
    Lease(store, "run-1").take()
    Lease(store, "run-2").take()
    outcome = clean_up(server)
    assert re.search(rf"Job {job.name} goes on: .* of run run-2 waits for it, too\.", outcome)
    assert not is_cancelled(job)
    assert [one.run for one in read_lease(store)[0].waiters] == ["run-2"]
    clean_up_in_step("FAILED", "", ["run-2"], **PLACE, api_endpoint=server.url)
    assert is_cancelled(job)


def test_a_job_whose_bucket_may_not_be_read_is_left_to_its_lease(server, gcs):
    job, lease = create(server, "run-1")
    lease.take()
    gcs.faults.add("403", "lease.json", times=None)
    assert f"Job {job.name} is left to its lease" in clean_up(server)
    assert not is_cancelled(job)


def test_a_run_is_known_by_its_name_in_the_cluster_too(server, monkeypatch):
    job, _ = create(server, "train-and-deploy-qhfhp")
    monkeypatch.setenv("ARGO_WORKFLOW_NAME", "train-and-deploy-qhfhp")
    clean_up(server)
    assert is_cancelled(job)


def test_a_job_with_the_label_of_an_older_version_is_found(server):
    run = "train-and-deploy-on-many-texts-of-all-kinds-20261128"  # older labels had up to 40 characters
    job, _ = create(server, slug(run))
    clean_up_in_step("RUNNING", "", ["4711", run], **PLACE, api_endpoint=server.url)
    assert is_cancelled(job)


@pytest.mark.slow
def test_a_cached_step_labels_its_job_with_the_id_that_the_others_get_from_kubeflow(server, gcs, tmp_path):
    server.cloud.on_job = lambda job: threading.Timer(0.2, finish, (job,)).start()
    steps = Steps(tmp_path, STORAGE_EMULATOR_HOST=gcs.url)
    write_small_splits(steps.path("finetune_bert", "train").parent)
    training = {"job_image": "image:1", "job_staging": "gs://bucket/staging", "job_api_endpoint": server.url}
    done = steps.run("finetune_bert", run_on="ai_platform", job_project="p", job_location="region-1", settings=training)
    assert done.returncode == 0, done.stdout
    (job,) = server.cloud.jobs.values()
    assert job.labels["kfp-bert-run"] == RUN_ID
    place = job.job_spec.worker_pool_specs[0].container_spec.command[-1]
    assert [one.run for one in read_lease(open_store(place))[0].waiters] == [RUN_ID]
    assert here("", RUN_ID, "Nightly run").label == RUN_ID


def test_a_run_that_ended_well_is_left_alone(server):
    job, _ = create(server, "run-1")
    calls = len(server.calls)
    assert clean_up(server, "SUCCEEDED") == "The run ended well. There is nothing to clean up."
    assert not is_cancelled(job)
    assert len(server.calls) == calls


def test_a_rollout_that_stands_between_two_steps_is_left_as_it_is(server, tmp_path):
    registry = Registry(str(tmp_path / "registry"))
    registry.record_deployment("production", state="rolling", version=3, details={"step": "shifting"}, if_generation=0)
    before = registry.deployment("production")
    outcome = clean_up(server, registry=registry.uri, deployment_target="production")
    assert "The rollout of version 3 to production is left as it is (shifting): the next run goes on." in outcome
    assert registry.deployment("production") == before


def test_without_a_project_it_says_that_no_jobs_were_looked_for():
    outcome = clean_up_in_step("FAILED", "Step read failed.", [""])
    assert outcome == "The run failed: Step read failed. No job_project was given, so no jobs were looked for."


def test_a_run_on_one_machine_without_a_project_says_nothing_of_jobs(tmp_path):
    outcome = clean_up_in_step("FAILED", "Step read failed.", [""], origin=Origin(folder=str(tmp_path)))
    assert outcome == "The run failed: Step read failed."


def test_an_error_is_data_without_line_breaks_and_control_characters(capsys):
    outcome = clean_up_in_step("FAILED", "label \x1b[31mbad\nThe run ended well\r\u2028end", [""])
    assert outcome.isprintable() and len(capsys.readouterr().out.splitlines()) == 2


def test_where_a_job_cannot_be_cancelled_all_else_is_done_and_said_before(server, tmp_path, capsys):
    registry = Registry(str(tmp_path / "registry"))
    registry.record_deployment("production", state="rolling", version=3, details={"step": "shifting"}, if_generation=0)
    jobs = [create(server, "run-1", number)[0] for number in (1, 2)]
    server.faults = [Fault("CancelCustomJob", status=403)]
    with pytest.raises(UserError, match="refused cancel_custom_job.* may go on: .*`kfp-bert jobs list --project p "):
        clean_up(server, "FAILED", registry=registry.uri, deployment_target="production")
    said = capsys.readouterr().out
    assert said.startswith("The run failed.\nThe rollout of version 3 to production is left as it is")
    assert sorted(map(is_cancelled, jobs)) == [False, True]


def test_a_job_that_ends_already_needs_no_cancellation(server):
    ending, _ = create(server, "run-1", 1)[0], create(server, "run-1", 2)
    ending.state = v1.JobState.JOB_STATE_CANCELLING
    server.faults = [Fault("CancelCustomJob", effect="after", status=400)]  # the other one ends at that moment
    outcome = clean_up(server)
    assert outcome == f"The run was ended before it was over. Job {ending.name} is being cancelled already."
    assert server.calls.count("CancelCustomJob") == 1


def test_the_component_takes_the_place_of_the_jobs_from_the_settings_of_training(server):
    job, _ = create(server, "run-1")
    status = dsl.PipelineTaskFinalStatus(
        state="RUNNING", pipeline_job_resource_name="x", pipeline_task_name="y", error_code=None, error_message=None
    )
    training = {"job_project": "p", "job_location": "region-1", "job_api_endpoint": server.url, "patience": 3}
    clean_up_run.python_func(status=status, run_id="run-1", settings=training)
    assert is_cancelled(job)


@pytest.mark.parametrize("pipeline", [train_and_deploy, train_and_deploy_to_ai_platform, train_and_deploy_to_kserve])
def test_the_ready_pipelines_end_with_it(pipeline):
    task = pipeline.pipeline_spec.root.dag.tasks["clean-up-run"]
    assert task.trigger_policy.strategy == type(task.trigger_policy).ALL_UPSTREAM_TASKS_COMPLETED
    inputs = task.inputs.parameters
    assert inputs["run_id"].runtime_value.constant.string_value == dsl.PIPELINE_JOB_ID_PLACEHOLDER
    assert inputs["run_name"].runtime_value.constant.string_value == dsl.PIPELINE_JOB_NAME_PLACEHOLDER
    given = {name: inputs[name].component_input_parameter for name in ("registry", "deployment_target", "settings")}
    assert given == {"registry": "registry", "deployment_target": "deployment_target", "settings": "training"}


@pytest.mark.parametrize("example", ["train_and_deploy_to_kserve", "batch_predict"])
def test_the_examples_end_with_it(tmp_path, example):
    with serving_folder(ROOT / "component_specs") as url:
        command = [sys.executable, ROOT / "examples" / f"{example}.py", tmp_path / "pipeline.yaml"]
        subprocess.run(command, check=True, env={**os.environ, "COMPONENT_SPECS": url})
    tasks = yaml.safe_load((tmp_path / "pipeline.yaml").read_text())["root"]["dag"]["tasks"]
    assert tasks.keys() == {"clean-up-run", "exit-handler-1"}
    assert tasks["clean-up-run"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert tasks["clean-up-run"]["cachingOptions"] == {}


@pytest.mark.slow
def test_a_local_run_whose_step_failed_leaves_no_job(server, tmp_path):
    train, validation = write_small_splits(tmp_path)
    training = {
        "run_on": "ai_platform",
        "job_image": "image:1",
        "job_project": "p",
        "job_location": "region-1",
        "job_staging": "gs://bucket/staging",
        "job_api_endpoint": server.url,
    }
    given = {"train": train, "validation": validation, "registry": tmp_path / "registry"}
    server.faults = [Fault("GetCustomJob", status=403)]
    with pytest.raises(RunError, match="refused get_custom_job"):
        run_pipeline(PIPELINE, tmp_path, training=json.dumps(training), **given)
    (job,) = server.cloud.jobs.values()
    assert is_cancelled(job)
    (log,) = tmp_path.glob("runs/*/log.txt")
    assert f"clean-up-run | Cancelled job {job.name}" in log.read_text()

    server.cloud.on_job = lambda job: threading.Timer(0.2, finish, (job,)).start()
    outputs = run_pipeline(PIPELINE, tmp_path, training=json.dumps(training), **given)
    assert outputs["clean-up-run"]["outcome"] == "The run ended well. There is nothing to clean up."


def finish(job):
    store = open_store(job.job_spec.worker_pool_specs[0].container_spec.command[-1])
    store.write("output/model/bundle.json", BUNDLE_JSON)
    store.write("output/report.html", b"<p>report</p>")
    store.write("output/result.json", b'{"format": 1, "metrics": {"validation_loss": 0.5}}')
    job.state = v1.JobState.JOB_STATE_SUCCEEDED
