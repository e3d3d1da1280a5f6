"""Fine-tuning as a custom job: started once, followed, found again, cancelled, and its outputs copied."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from google.cloud import aiplatform_v1 as v1
from kfp import dsl

from kfp_bert_components import finetune_bert
from kfp_bert_components.ai_platform import JobSettings, run_as_custom_job
from kfp_bert_components.bert.source import pin_checkpoint
from kfp_bert_components.errors import ConflictError, UserError
from kfp_bert_components.jobs.records import read_settings
from kfp_bert_components.jobs.staging import pinned_base_model, stage
from kfp_bert_components.jobs.worker import is_chief
from kfp_bert_components.steps.finetune_bert import finetune_bert as finetune_in_step
from kfp_bert_components.storage import open_store, upload_folder
from kfp_bert_components.training import TrainingSettings, finetune
from tests.support.ai_platform_server import AiPlatformServer, Fault
from tests.support.kubeflow import Step
from tests.support.promoters import InterruptedStore
from tests.support.splits import write_small_splits
from tests.support.stores import gcs
from tests.support.training import BUNDLE_JSON, make_base_model, weights
from tests.support.waiting_step import ENDED

__all__ = ["gcs"]
RUN = TrainingSettings(epochs=1, layers=1, width=8, heads=1, vocabulary_size=120, batch_size=8, max_length=16)

WAITING = """
import sys
from pathlib import Path
from kfp_bert_components.ai_platform import JobSettings, run_as_custom_job
from kfp_bert_components.training import TrainingSettings
folder, url = Path(sys.argv[1]), sys.argv[2]
paths = [folder / name for name in ("train", "validation", "model", "report.html")]
job = JobSettings("p", "region-1", "gs://bucket/staging", "image:1", api_endpoint=url, poll_seconds=0.05)
run_as_custom_job(*paths, TrainingSettings(), job)
"""


@pytest.fixture
def server(gcs):
    with AiPlatformServer() as server:
        yield server


@pytest.fixture
def splits(tmp_path):
    return write_small_splits(tmp_path)


class Replicas:
    """Runs each replica of a job as a process, with the TF_CONFIG that AI Platform gives it.

    https://cloud.google.com/vertex-ai/docs/training/distributed-training says what is in it.
    """

    def __init__(self, log=None):
        self.ended, self._log = [], log

    def start(self, job):
        threading.Thread(target=self._run, args=(job,)).start()

    def _run(self, job):
        pools = dict(zip(("chief", "worker"), job.job_spec.worker_pool_specs, strict=False))
        cluster = {kind: [free_address() for _ in range(pool.replica_count)] for kind, pool in pools.items()}
        processes = []
        for kind, pool in pools.items():
            for index in range(pool.replica_count):
                config = {"cluster": cluster, "environment": "cloud", "task": {"type": kind, "index": index}}
                environment = {**os.environ, "TF_CONFIG": json.dumps(config) if len(pools) > 1 else ""}
                command = [sys.executable, *pool.container_spec.command[1:]]
                processes.append((kind, subprocess.Popen(command, env=environment, stdout=self._log)))
        self.ended = [(kind, process.wait()) for kind, process in processes]
        failed = any(code for _, code in self.ended)
        if job.state == v1.JobState.JOB_STATE_CANCELLED:
            return
        job.state = v1.JobState.JOB_STATE_FAILED if failed else v1.JobState.JOB_STATE_SUCCEEDED


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def job_settings(server, **changes):
    known = {"project": "p", "location": "region-1", "staging": "gs://bucket/staging", "image": "image:1"}
    return JobSettings(**{**known, "api_endpoint": server.url, "poll_seconds": 0.02, **changes})


def place_of(job):
    return job.job_spec.worker_pool_specs[0].container_spec.command[-1]


def finish(job, metrics):
    """What the worker leaves."""
    store = open_store(place_of(job))
    store.write("output/model/bundle.json", BUNDLE_JSON)
    store.write("output/report.html", b"<p>report</p>")
    store.write("output/result.json", json.dumps({"format": 1, "metrics": metrics}).encode())
    job.state = v1.JobState.JOB_STATE_SUCCEEDED


def run(server, splits, tmp_path, **changes):
    settings = job_settings(server, **changes)
    return run_as_custom_job(*splits, tmp_path / "model", tmp_path / "report.html", RUN, settings)


def test_a_job_is_submitted_with_its_settings_and_its_outputs_are_collected(server, splits, tmp_path, capsys):
    def work(job):
        server.logs[job.name.rsplit("/", 1)[1]] = [f"epoch {number} of 5" for number in range(1, 6)]
        threading.Timer(0.2, finish, (job, {"validation_loss": 0.5})).start()

    server.cloud.on_job = work
    found = run(
        server,
        splits,
        tmp_path,
        replicas=3,
        spot=True,
        accelerator_type="NVIDIA_TESLA_T4",
        accelerator_count=2,
    )
    assert found == {"validation_loss": 0.5}
    assert (tmp_path / "model" / "bundle.json").read_bytes() == BUNDLE_JSON
    assert (tmp_path / "report.html").read_text() == "<p>report</p>"
    job = next(iter(server.cloud.jobs.values()))
    pools = job.job_spec.worker_pool_specs
    assert [pool.replica_count for pool in pools] == [1, 2]
    assert {pool.container_spec.image_uri for pool in pools} == {"image:1"}
    assert pools[0].machine_spec.accelerator_type == v1.AcceleratorType.NVIDIA_TESLA_T4
    assert job.job_spec.scheduling.strategy == v1.Scheduling.Strategy.SPOT
    staged = json.loads(open_store(place_of(job)).read("job.json").data)["settings"]
    assert staged["epochs"] == 1
    assert staged["checkpoint_dir"].startswith("gs://bucket/staging/")
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "epoch" in line] == [f"epoch {number} of 5" for number in range(1, 6)]


def test_a_job_reaches_its_buckets_as_the_step_does(server, splits, tmp_path, monkeypatch):
    monkeypatch.setenv("KFP_BERT_USER_PROJECT", "mine")
    monkeypatch.setenv("KFP_BERT_ANONYMOUS", "")
    server.cloud.on_job = lambda job: finish(job, {})
    run(server, splits, tmp_path, replicas=2)
    (job,) = server.cloud.jobs.values()
    for pool in job.job_spec.worker_pool_specs:
        assert [(one.name, one.value) for one in pool.container_spec.env] == [("KFP_BERT_USER_PROJECT", "mine")]


def test_a_job_is_told_where_an_s3_store_is_and_no_key(server, splits, tmp_path, monkeypatch, capsys):
    store = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "one", "AWS_SERVER_SIDE_ENCRYPTION": "AES256"}
    for name, value in {**store, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    server.cloud.on_job = lambda job: finish(job, {})
    outputs = tmp_path / "model", tmp_path / "report.html"
    on_s3 = replace(RUN, tensorboard_dir="s3://bucket/events")
    run_as_custom_job(*splits, *outputs, on_s3, job_settings(server, replicas=2))
    (job,) = server.cloud.jobs.values()
    for pool in job.job_spec.worker_pool_specs:
        assert {one.name: one.value for one in pool.container_spec.env} == store
    said = capsys.readouterr().out
    assert "The job gets no keys for s3://bucket/events, " in said and "AWS_SHARED_CREDENTIALS_FILE" in said


def test_the_next_run_continues_with_the_same_job(server, splits, tmp_path):
    server.cloud.on_job = lambda job: finish(job, {"validation_loss": 0.5})
    run(server, splits, tmp_path)
    assert run(server, splits, tmp_path) == {"validation_loss": 0.5}
    assert server.calls.count("CreateCustomJob") == 1


def test_a_log_that_cannot_be_read_is_reported_once_and_the_job_goes_on(server, splits, tmp_path, capsys):
    server.log_status = 403
    server.cloud.on_job = lambda job: threading.Timer(0.2, finish, (job, {"validation_loss": 0.5})).start()
    assert run(server, splits, tmp_path) == {"validation_loss": 0.5}
    assert capsys.readouterr().out.count("The job's log cannot be read (403 Client Error") == 1


def test_a_restarted_run_waits_for_the_job_that_runs(server, splits, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WAITING, str(tmp_path), server.url])
    while "GetCustomJob" not in server.calls:
        time.sleep(0.05)
    process.kill()
    process.wait()
    (job,) = server.cloud.jobs.values()
    threading.Timer(0.2, finish, (job, {"validation_loss": 0.5})).start()
    settings = job_settings(server)
    paths = tmp_path / "model", tmp_path / "report.html"
    assert run_as_custom_job(*splits, *paths, TrainingSettings(), settings) == {"validation_loss": 0.5}
    assert server.calls.count("CreateCustomJob") == 1


def test_another_staging_folder_is_another_job(server, splits, tmp_path):
    server.cloud.on_job = lambda job: finish(job, {"validation_loss": 0.5})
    for staging in ("gs://bucket/staging", "gs://bucket/other", "gs://bucket/other/"):
        run(server, splits, tmp_path, staging=staging)
    first, second = (job.labels["kfp-bert-job"] for job in server.cloud.jobs.values())
    assert first != second


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_another_base_model_at_the_same_address_is_another_job(server, splits, tmp_path, kind):
    server.cloud.on_job = lambda job: finish(job, {"validation_loss": 0.5})
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    settings = replace(RUN, base_model=str(folder) if kind == "folder" else "gs://bucket/base")
    for content in ("one", "two", "two"):
        (folder / "model.safetensors").write_text(content)
        upload_folder(folder, open_store("gs://bucket"), "base")
        run_as_custom_job(*splits, tmp_path / "model", tmp_path / "r.html", settings, job_settings(server))
    assert len(server.cloud.jobs) == 2
    # The job checks what it reads; what was copied for it is its own.
    staged = read_settings(open_store(place_of(list(server.cloud.jobs.values())[-1])))
    assert staged["base_model_pin"] == ("" if kind == "folder" else pin_checkpoint("gs://bucket/base"))


def test_a_base_model_that_changes_while_it_is_copied_starts_no_job(splits, tmp_path):
    (tmp_path / "base").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "base" / name).write_text("{}")
    settings = pinned_base_model(replace(RUN, base_model=str(tmp_path / "base")))
    place = str(tmp_path / "staging")
    change = (tmp_path / "base" / "model.safetensors").write_text
    store = InterruptedStore(
        open_store(place), "upload", tmp_path / "base" / "config.json", lambda: change("another one")
    )
    with pytest.raises(ConflictError, match="was changed since the run began"):
        stage(store, place, *splits, settings, {})
    assert not (tmp_path / "staging" / "job.json").exists()


def test_a_run_that_checks_labels_is_another_job(server, splits, tmp_path):
    server.cloud.on_job = lambda job: finish(job, {"validation_loss": 0.5})
    for rows in (0, 100, 100):
        settings = replace(RUN, label_check_rows=rows)
        run_as_custom_job(*splits, tmp_path / "model", tmp_path / "r.html", settings, job_settings(server))
    assert len(server.cloud.jobs) == 2


def test_a_damaged_base_model_in_a_local_folder_starts_no_job(server, splits, tmp_path):
    base, job = make_base_model(tmp_path / "base"), vars(job_settings(server))
    (base / "tokenizer.json").write_text('{"version": "1.0", "trunc')
    places = *splits, tmp_path / "model", tmp_path / "r.html"
    for _ in range(2):
        with pytest.raises(UserError, match=r"base/tokenizer\.json is not the tokenizer"):
            finetune_in_step(*places, replace(RUN, base_model=str(base)), "ai_platform", **job)
    assert server.calls == []


@pytest.mark.parametrize("effect", ["before", "after", "drop"])
def test_a_lost_answer_does_not_start_a_second_job(server, splits, tmp_path, effect):
    server.cloud.on_job = lambda job: finish(job, {"validation_loss": 0.5})
    server.faults = [Fault("CreateCustomJob", effect)]
    run(server, splits, tmp_path)
    assert len(server.cloud.jobs) == 1


def test_a_job_that_fails_is_reported_with_its_reason_and_started_anew_next_time(server, splits, tmp_path):
    def fail(job):
        job.error = {"code": 3, "message": "out of memory"}
        job.state = v1.JobState.JOB_STATE_FAILED

    server.cloud.on_job = fail
    with pytest.raises(UserError, match="FAILED: out of memory"):
        run(server, splits, tmp_path)
    server.cloud.on_job = lambda job: finish(job, {"validation_loss": 0.5})
    run(server, splits, tmp_path)
    assert len(server.cloud.jobs) == 2


@pytest.mark.parametrize("moment", ["CreateCustomJob", "GetCustomJob"])
def test_a_run_that_is_cancelled_cancels_its_job(server, splits, tmp_path, moment):
    server.faults = [Fault("CancelCustomJob")]
    server.on_call = lambda number, method: time.sleep(0.5 if method == "CreateCustomJob" else 0)
    process = subprocess.Popen([sys.executable, "-c", WAITING, str(tmp_path), server.url])
    try:
        while moment not in server.calls:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    finally:
        process.kill()
        process.wait()
    assert next(iter(server.cloud.jobs.values())).state == v1.JobState.JOB_STATE_CANCELLED


@pytest.mark.slow
def test_the_worker_trains_what_the_local_run_trains(server, splits, tmp_path):
    server.cloud.on_job = Replicas().start
    found = run(server, splits, tmp_path)
    assert found["validation_loss"] > 0
    assert (tmp_path / "model" / "saved_model" / "saved_model.pb").is_file()
    assert (tmp_path / "model" / "huggingface" / "config.json").is_file()
    assert "<html" in (tmp_path / "report.html").read_text().lower()


@pytest.mark.long
def test_a_job_that_nobody_waits_for_writes_a_checkpoint_and_ends_as_cancelled(server, splits, tmp_path):
    with (tmp_path / "log").open("wb") as log:
        replicas = Replicas(log)
        server.cloud.on_job = replicas.start
        step = Step(run_and_wait, *splits, tmp_path, job_settings(server, abandoned_minutes=0.15))
        wait_until(lambda: ": validation loss" in (tmp_path / "log").read_text())
        (job,) = server.cloud.jobs.values()
        assert job.state not in ENDED
        step.kill()
        wait_until(lambda: replicas.ended)
    assert replicas.ended == [("chief", 143)]
    assert job.state == v1.JobState.JOB_STATE_CANCELLED
    assert [one for one in open_store(place_of(job)).list("checkpoints/") if one.name.endswith(".safetensors")]
    assert "Nobody has waited for this job for 0.15 minutes" in (tmp_path / "log").read_text()


def run_and_wait(train, validation, folder, job):
    settings = replace(RUN, epochs=10_000)
    run_as_custom_job(train, validation, folder / "model", folder / "report.html", settings, job)


def wait_until(holds, seconds=240):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.long
def test_a_chief_and_a_worker_train_what_one_machine_trains(server, splits, tmp_path):
    settings = replace(RUN, base_model=str(make_base_model(tmp_path / "base")), dropout=0.0)
    (tmp_path / "one").mkdir()
    alone = finetune(*splits, tmp_path / "one" / "model", tmp_path / "one" / "report.html", settings)
    replicas = Replicas()
    server.cloud.on_job = replicas.start
    job = job_settings(server, replicas=2)
    found = run_as_custom_job(*splits, tmp_path / "model", tmp_path / "report.html", settings, job)
    assert [code for _, code in sorted(replicas.ended)] == [0, 0]
    assert {kind for kind, _ in replicas.ended} == {"chief", "worker"}
    assert found["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-4)
    ours, theirs = weights(tmp_path), weights(tmp_path / "one")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_the_component_trains_in_a_job_by_one_parameter(server, splits, tmp_path):
    server.cloud.on_job = lambda job: threading.Timer(0.2, finish, (job, {"validation_loss": 0.5})).start()
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    finetune_bert.python_func(
        train=dsl.Dataset(uri=str(splits[0])),
        validation=dsl.Dataset(uri=str(splits[1])),
        model=dsl.Model(uri=str(tmp_path / "model")),
        metrics=metrics,
        report=dsl.HTML(uri=str(tmp_path / "report")),
        label_check_rows=100,
        run_on="ai_platform",
        job_image="image:1",
        job_project="p",
        job_location="region-1",
        job_staging="gs://bucket/staging",
        job_machine_type="n1-highmem-8",
        job_replicas=3,
        job_spot=True,
        job_api_endpoint=server.url,
    )
    (job,) = server.cloud.jobs.values()
    pools = job.job_spec.worker_pool_specs
    assert sum(pool.replica_count for pool in pools) == 3
    assert {pool.machine_spec.machine_type for pool in pools} == {"n1-highmem-8"}
    assert {pool.container_spec.image_uri for pool in pools} == {"image:1"}
    assert metrics.metadata["validation_loss"] == 0.5
    assert json.loads(open_store(place_of(job)).read("job.json").data)["settings"]["label_check_rows"] == 100
    assert (tmp_path / "model" / "bundle.json").exists()


@pytest.mark.parametrize(
    ("config", "chief"),
    [
        ("", True),
        ('{"cluster": {"chief": ["a"], "worker": ["b"]}, "task": {"type": "chief", "index": 0}}', True),
        ('{"cluster": {"chief": ["a"], "worker": ["b"]}, "task": {"type": "worker", "index": 0}}', False),
        ('{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}', True),
        ('{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 1}}', False),
    ],
)
def test_only_the_chief_writes(config, chief):
    assert is_chief(config) is chief


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"staging": "/tmp"}, "gs://"),
        ({"replicas": 0}, "replicas"),
        ({"image": ""}, "set job_image"),
        ({"accelerator_type": "X"}, "belong together"),
        ({"accelerator_type": "X", "accelerator_count": 1}, "knows no accelerator"),
        ({"accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 2**31}, "accelerator_count is 2147483648, but"),
        ({"replicas": 10**12}, "replicas is 1000000000000, but"),
        ({"max_hours": 1e9}, "max_hours is 1000000000.0, but"),
        ({"project": "projects/p"}, "^job_project is 'projects/p': expected the id"),
        ({"location": "region-1 "}, "^job_location is 'region-1 ': expected the name"),
    ],
)
def test_bad_settings_are_refused_with_a_sentence(server, change, says):
    with pytest.raises(UserError, match=says):
        job_settings(server, **change)
