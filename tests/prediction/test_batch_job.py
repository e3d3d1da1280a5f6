"""A table predicted by a batch prediction job of AI Platform."""

import json
import re
import threading
import time

import pytest
from click.testing import CliRunner
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components.ai_platform import AiPlatformClient
from kfp_bert_components.ai_platform.running_jobs import running_jobs
from kfp_bert_components.cli.jobs import command as jobs
from kfp_bert_components.cli.predict import command
from kfp_bert_components.errors import UserError
from kfp_bert_components.prediction import PredictionSettings
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.batch_predict import batch_predict
from kfp_bert_components.steps.clean_up_run import clean_up_run
from kfp_bert_components.storage import open_store
from tests.prediction.test_rows import rows_of, write_csv
from tests.support.ai_platform_server import AiPlatformServer, Fault
from tests.support.kubeflow import Step
from tests.support.models import candidate_for
from tests.support.stores import gcs
from tests.support.waiting_step import wait_for_answers

__all__ = ["gcs"]


@pytest.fixture
def server(gcs):
    with AiPlatformServer() as server:
        server.cloud.on_batch = lambda job: threading.Timer(0.1, server.cloud.run_batch, (job,)).start()
        yield server


@pytest.fixture
def registry(tmp_path):
    opened = Registry(str(tmp_path / "registry"))
    opened.promote(*candidate_for(opened, tmp_path, "m"))
    return opened.uri


@pytest.fixture
def table(tmp_path):
    rows = [(i, f"{'LOUD' if i % 3 else 'quiet'} {i % 50}" if i % 10 else "") for i in range(300)]
    return write_csv(tmp_path / "lines.csv", rows)


def run(server, table, out, model, settings=None, **changes):
    job = {"project": "p", "location": "region-1", "staging": "gs://bucket/staging", "api_endpoint": server.url}
    job |= {"poll_seconds": 0.02, **changes}
    return batch_predict(str(table), str(out), model, settings, run_on="ai_platform", **job)[0]


def test_each_row_gets_the_answer_to_its_text_which_is_asked_once(server, table, registry, tmp_path):
    asked = []
    answer = server.cloud.predictor

    def predictor(uri, instances):
        asked.extend(instances)
        return answer(uri, instances)

    server.cloud.predictor = predictor
    found = run(server, table, tmp_path / "out", registry, machine_type="n1-standard-4", replicas=3, labels={"a": "b"})
    assert (found.rows, found.without_text) == (300, 30)
    rows = rows_of(tmp_path / "out")
    for number, row in enumerate(rows):
        expected = None if number % 10 == 0 else "spam" if row["text"].isupper() else "ham"
        assert (row["id"], row["label"]) == (str(number), expected)
    assert rows[1]["probabilities"] == pytest.approx([0.1, 0.9])
    assert rows[1]["model_version"] == 1
    assert sorted(one["text"] for one in asked) == sorted({row["text"] for row in rows if row["text"]})
    assert all(set(one) == {"text"} for one in asked)
    (job,) = server.cloud.batches.values()
    resources = job.dedicated_resources
    assert (resources.machine_spec.machine_type, resources.starting_replica_count) == ("n1-standard-4", 3)
    assert job.labels["a"] == "b"
    artifact = job.unmanaged_container_model.artifact_uri
    assert open_store(artifact).read("part0").data == b"weights of m, part 0"
    assert "tf2-cpu.2-15" in job.unmanaged_container_model.container_spec.image_uri


def test_the_command_line_starts_a_job_too(server, table, registry, tmp_path):
    job = {"project": "p", "location": "region-1", "staging": "gs://bucket/staging", "api_endpoint": server.url}
    params = [f"--param=job_{name}={value}" for name, value in (job | {"poll_seconds": 0.02, "replicas": 3}).items()]
    words = [str(table), str(tmp_path / "out"), "--model", registry]
    CliRunner().invoke(command, [*words, "--run-on=ai_platform", *params], catch_exceptions=False)
    (made,) = server.cloud.batches.values()
    assert made.dedicated_resources.starting_replica_count == 3
    assert len(rows_of(tmp_path / "out")) == 300


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-p", "job_project=p"], "add --run-on ai_platform"),
        (["--run-on", "ai_platform", "-p", "project=p"], "'project=p' is not of the form job_NAME=VALUE"),
        (["--run-on", "ai_platform", "-p", "job_project=p", "-p", "job_project=q"], "job_project is given twice"),
        (["--run-on", "ai_platform"], "needs the project that it runs in: set job_project"),
        (["--run-on", "ai_platform", "-p", "job_repicas=2"], "repicas is not known"),
    ],
)
def test_a_job_s_parameters_are_checked_on_the_command_line(table, registry, tmp_path, words, says):
    words = [str(table), str(tmp_path / "out"), "--model", registry, *words]
    with pytest.raises(UserError, match=says):
        CliRunner().invoke(command, words, catch_exceptions=False)


def test_a_run_that_was_killed_while_it_waited_finds_its_job(server, table, registry, tmp_path):
    server.cloud.on_batch = lambda job: None
    server.faults.append(Fault("GetBatchPredictionJob", status=403))
    with pytest.raises(UserError, match="refused get_batch_prediction_job"):
        run(server, table, tmp_path / "out", registry)
    (job,) = server.cloud.batches.values()
    threading.Timer(0.1, server.cloud.run_batch, (job,)).start()
    assert run(server, table, tmp_path / "out", registry).rows == 300
    assert server.calls.count("CreateBatchPredictionJob") == 1


def test_another_staging_folder_is_another_job(server, table, registry, tmp_path):
    for number, staging in enumerate(["gs://bucket/staging", "gs://bucket/other", "gs://bucket/other/"]):
        run(server, table, tmp_path / f"out-{number}", registry, staging=staging)
    assert len(server.cloud.batches) == 2


def test_a_job_that_is_being_cancelled_is_not_waited_for(server, table, registry, tmp_path):
    def being_cancelled(job):
        job.state = v1.JobState.JOB_STATE_CANCELLING
        threading.Timer(0.2, setattr, (job, "state", v1.JobState.JOB_STATE_CANCELLED)).start()
        server.cloud.on_batch = server.cloud.run_batch

    server.cloud.on_batch = being_cancelled
    with pytest.raises(UserError, match="ended as CANCELLED"):
        run(server, table, tmp_path / "out", registry)
    (first,) = server.cloud.batches.values()
    first.state = v1.JobState.JOB_STATE_CANCELLING
    threading.Timer(0.2, setattr, (first, "state", v1.JobState.JOB_STATE_CANCELLED)).start()
    assert run(server, table, tmp_path / "out", registry).rows == 300
    assert len(server.cloud.batches) == 2


def test_a_job_whose_step_was_killed_runs_on_until_somebody_cancels_or_takes_it(server, gcs, table, registry, tmp_path):
    server.cloud.on_batch = lambda job: setattr(job, "state", v1.JobState.JOB_STATE_RUNNING)
    client = AiPlatformClient("p", "region-1", server.url)
    place = ("--project", "p", "--location", "region-1", "--api-endpoint", server.url)

    def killed_step(name):
        calls = len(server.calls)
        step = Step(wait_for_answers, str(table), str(tmp_path / name), registry, server.url, name)
        try:
            until(lambda: "GetBatchPredictionJob" in server.calls[calls:])
        finally:
            step.kill()
        (job,) = running_jobs(client)
        return job

    def after(run):
        return clean_up_run("FAILED", "", [run], project="p", location="region-1", api_endpoint=server.url)

    first = killed_step("run-1")
    assert (first.run, first.state) == ("run-1", "running")
    assert first.name in CliRunner().invoke(jobs, ["list", *place]).output
    second = killed_step("run-2")  # the same texts and model: it waits for the same job
    assert (second.name, second.run) == (first.name, "run-2")
    assert re.fullmatch(
        rf"The run failed\. Job {first.name} goes on: .* of run run-2 waits for it, too\.", after("run-1")
    )
    assert after("run-2") == f"The run failed. Cancelled job {first.name}, which was running."
    third = killed_step("run-3")
    assert third.name != first.name
    done = CliRunner().invoke(jobs, ["cancel", "--run", "run-3", *place], catch_exceptions=False)
    assert done.output == f"cancelled {third.name}\n" and running_jobs(client) == []


def until(holds):
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_lost_answer_starts_no_second_job(server, table, registry, tmp_path):
    server.faults.append(Fault("CreateBatchPredictionJob", effect="drop"))
    assert run(server, table, tmp_path / "out", registry).rows == 300
    assert len(server.cloud.batches) == 1


def test_a_job_that_fails_is_an_error_and_no_row_is_written(server, table, registry, tmp_path):
    def fail(job):
        job.error.message = "the machines are out"
        job.state = v1.JobState.JOB_STATE_FAILED

    server.cloud.on_batch = fail
    with pytest.raises(UserError, match="ended as FAILED: the machines are out"):
        run(server, table, tmp_path / "out", registry)
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_texts_without_an_answer_are_an_error(server, table, registry, tmp_path):
    def run_half(job):
        server.cloud.run_batch(job)
        open_store(job.output_info.gcs_output_directory).write("prediction.results-00001-of-00002", b"")

    server.cloud.on_batch = run_half
    with pytest.raises(UserError, match=r"has no answer to \d+ of \d+ texts"):
        run(server, table, tmp_path / "out", registry)


def test_an_answer_of_another_shape_is_an_error(server, table, registry, tmp_path):
    server.cloud.predictor = lambda uri, instances: [{"probabilities": [0.2, 0.3, 0.5]} for _ in instances]
    with pytest.raises(UserError, match="must be a key with a prediction that has 2 probabilities"):
        run(server, table, tmp_path / "out", registry)


def test_a_shard_sends_its_own_rows_only(server, table, registry, tmp_path):
    settings = PredictionSettings(num_shards=2, shard_index=1)
    assert run(server, table, tmp_path / "out", registry, settings).rows == 0
    assert not server.cloud.batches


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"project": ""}, "needs the project that it runs in: set job_project"),
        ({"staging": "folder"}, "job_staging"),
        ({"accelerator_type": "NVIDIA_TESLA_T4"}, "belong together"),
    ],
)
def test_settings_that_cannot_be_are_a_clear_error(server, table, registry, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run(server, table, tmp_path / "out", registry, **changes)
    with pytest.raises(UserError, match="run_on must be pod or ai_platform, not 'cloud'"):
        batch_predict(str(table), str(tmp_path / "out"), registry, run_on="cloud")


def test_the_instances_are_json_lines_with_a_key(server, table, registry, tmp_path):
    run(server, table, tmp_path / "out", registry)
    (job,) = server.cloud.batches.values()
    (uri,) = job.input_config.gcs_source.uris
    folder, _, name = uri.rpartition("/")
    lines = [json.loads(line) for line in open_store(folder).read(name).data.splitlines()]
    assert all(set(line) == {"key", "text"} for line in lines)
    assert len({line["key"] for line in lines}) == len(lines)
    assert job.instance_config.key_field == "key"
