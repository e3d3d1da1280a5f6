"""`kfp-bert submit` and `schedule`, with the real clients against servers that parse bodies strictly."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from google.cloud import aiplatform_v1 as v1

from kfp_bert_components import cli
from kfp_bert_components.errors import NotFoundError, RunError, TransientError, UserError
from tests.support.ai_platform_server import AiPlatformServer, Fault
from tests.support.kfp_server import KfpServer

PIPELINE = """from kfp import dsl
from kfp_bert_components import pin_data
from typing import Dict, List

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def end(status: dsl.PipelineTaskFinalStatus):
    print(status)

@dsl.component(base_image="kfp-bert-components/python:0.1.0", install_kfp_package=False)
def say(texts: List[str], number: int, rate: float, more: Dict):
    print(texts)

@dsl.pipeline(name="my-pipeline")
def pipeline(texts: List[str], number: int = 3, rate: float = 0.5, more: Dict = {}):
    with dsl.ExitHandler(end()):
        say(texts=texts, number=number, rate=rate, more=more)
        pin_data(sources=texts, registry="gs://bucket/registry")
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """kfp's client looks for settings in the home folder."""
    for name in ("KFP_EXISTING_TOKEN", "KF_PIPELINES_ENDPOINT", "KFP_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mine.py").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def kfp():
    with KfpServer() as server:
        yield server


@pytest.fixture
def google():
    with AiPlatformServer() as server:
        yield server


def there(server):
    """The options that name a server."""
    if isinstance(server, KfpServer):
        return ["--host", server.url]
    return ["--project", "p", "--location", "europe-west4", "--api-endpoint", server.url]


def run(*words, fails=None):
    done = CliRunner().invoke(cli.group, [str(word) for word in words])
    if fails:
        assert isinstance(done.exception, fails), (done.output, done.exception)
        return str(done.exception)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def submit(server, *words, fails=None):
    root = [] if isinstance(server, KfpServer) else ["--pipeline-root", "gs://bucket/runs"]
    return run("submit", "mine.py:pipeline", *there(server), *root, *words, "--poll-seconds", 0.01, fails=fails)


def state_of(server):
    return server if isinstance(server, KfpServer) else server.cloud


def sent(server):
    """The pipeline of the first run."""
    first = next(iter(state_of(server).runs.values()))
    return first["pipeline_spec"] if isinstance(server, KfpServer) else v1.PipelineJob.to_dict(first)["pipeline_spec"]


def cached(spec):
    """Which steps inside the exit handler may take an earlier result."""
    components = [spec["root"], *spec["components"].values()]
    tasks = {name: task for one in components for name, task in one.get("dag", {}).get("tasks", {}).items()}
    return [name for name in ("pin-data", "say") if tasks[name].get("cachingOptions", {}).get("enableCache")]


def test_a_run_on_kubeflow_has_what_the_options_say(kfp, tmp_path):
    (tmp_path / "params.yaml").write_text("texts: [a, b]\nnumber: 7\nrate: 1\nmore: {x: [1]}\n")
    words = ["--params-file", "params.yaml", "-p", "number=8", "--name", "tonight", "--experiment", "films"]
    words += ["--service-account", "runner", "--pipeline-root", "s3://bucket/runs", "--images", "my-team", "--json"]
    said = json.loads(run("submit", "mine.py:pipeline", *there(kfp), *words))
    (made,) = kfp.runs.values()
    assert said == {"run": made["run_id"], "page": f"{kfp.url}/#/runs/details/{made['run_id']}"}
    assert made["display_name"] == "tonight" and made["service_account"] == "runner"
    assert kfp.experiments[made["experiment_id"]]["display_name"] == "films"
    assert made["runtime_config"] == {
        "parameters": {"texts": ["a", "b"], "number": 8, "rate": 1.0, "more": {"x": [1]}},
        "pipeline_root": "s3://bucket/runs",
    }
    container = made["pipeline_spec"]["deploymentSpec"]["executors"]["exec-say"]["container"]
    assert container["image"] == "my-team/python:0.1.0"
    assert cached(sent(kfp)) == ["pin-data", "say"]


def test_a_run_on_ai_platform_has_what_the_options_say(google):
    words = ["-p", "texts=a", "--service-account", "a@p.iam", "--images", "my-team", "--name", "To night"]
    output = submit(google, *words)
    ((name, made),) = google.cloud.runs.items()
    assert name.startswith("projects/p/locations/europe-west4/pipelineJobs/to-night-2")
    run_id = name.rsplit("/", 1)[1]
    assert f"Run {run_id} is submitted to AI Platform." in output
    assert f"/locations/europe-west4/pipelines/runs/{run_id}?project=p" in output
    assert made.display_name == "To night" and made.service_account == "a@p.iam"
    assert made.runtime_config.gcs_output_directory == "gs://bucket/runs"
    assert dict(made.runtime_config.parameter_values) == {"texts": ["a"]}
    executor = made.pipeline_spec["deploymentSpec"]["executors"]["exec-say"]
    assert executor["container"]["image"] == "my-team/python:0.1.0"


@pytest.mark.parametrize("server", ["kfp", "google"])
def test_no_cache_reaches_the_steps_inside_an_exit_handler(server, request, tmp_path):
    server = request.getfixturevalue(server)
    (tmp_path / "cluster.yaml").write_text(
        f"platform: {'kubernetes' if isinstance(server, KfpServer) else 'vertex'}\nlight: {{caching: true}}\n"
    )
    submit(server, "-p", "texts=a", "--no-cache", "--cluster", "cluster.yaml")
    assert cached(sent(server)) == []


@pytest.mark.parametrize("server", ["kfp", "google"])
def test_waiting_ends_with_the_run(server, request):
    server = request.getfixturevalue(server)
    assert json.loads(submit(server, "-p", "texts=a", "--wait", "--json"))["state"] == "SUCCEEDED"
    state_of(server).run_states[:] = ["RUNNING", "FAILED"]
    said = submit(server, "-p", "texts=a", "--wait", "--name", "again", fails=RunError)
    assert "ended as failed: finetune-bert failed; " in said and "Its page: http" in said


def test_a_run_that_somebody_cancels_ends_the_waiting(kfp):
    kfp.run_states[:] = ["RUNNING", "CANCELED"]
    assert "ended as canceled." in submit(kfp, "-p", "texts=a", "--wait", fails=RunError)


def test_waiting_outlives_four_answers_that_fail_and_not_five(kfp):
    kfp.statuses[:] = [503, 500, 502, 504, 200, 503, 503, 503, 503]
    submit(kfp, "-p", "texts=a", "--wait")
    kfp.statuses[:] = [503] * 5
    assert "answered 503" in submit(kfp, "-p", "texts=a", "--wait", fails=TransientError)


def test_what_does_not_fit_is_refused_before_anything_is_sent(kfp, tmp_path):
    (tmp_path / "params.yaml").write_text("number: seven\n")
    (tmp_path / "yes.yaml").write_text("texts: [a]\nnumber: true\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "vertex.yaml").write_text("platform: vertex\n")
    for words, says in [
        ((), "The pipeline needs --param for texts."),
        (("-p", "text=a"), "The pipeline has no parameter 'text'"),
        (("--params-file", "params.yaml"), "Parameter 'number' must be an integer, not 'seven'."),
        (("--params-file", "yes.yaml"), "Parameter 'number' must be an integer, not 'True'."),
        (("--params-file", "list.yaml"), "list.yaml must be a mapping of names to values"),
        (("--params-file", "none.yaml"), "none.yaml can't be read"),
        (("--cluster", "vertex.yaml", "-p", "texts=a"), "The settings are for platform vertex"),
    ]:
        assert says in submit(kfp, *words, fails=UserError)
    bad = ["-p", "sources=a", "-p", "registry=b", "-p", "serving_directory=c", "-p", "alpha=2"]
    assert "alpha" in run("submit", "train_and_deploy", *there(kfp), *bad, fails=UserError)
    assert not kfp.runs and not kfp.experiments


def test_a_ready_pipeline_is_submitted_by_its_name(kfp):
    words = ["-p", "sources=gs://b/x", "-p", "registry=gs://b/r", "-p", "serving_directory=gs://b/s"]
    run("submit", "train_and_deploy", *there(kfp), *words)
    (made,) = kfp.runs.values()
    assert made["display_name"] == "train-and-deploy"


def test_the_account_in_a_compiled_file_is_used(kfp):
    run("compile", "mine.py:pipeline", "p.yaml", "--set", "service_account=runner")
    run("submit", "p.yaml", *there(kfp), "-p", "texts=a")
    assert next(iter(kfp.runs.values()))["service_account"] == "runner"


def test_a_place_must_be_named_and_answer(kfp, google):
    for words in ([], ["--host", kfp.url, "--project", "p", "--location", "l"], ["--project", "p"]):
        done = CliRunner().invoke(cli.group, ["submit", "mine.py:pipeline", "-p", "texts=a", *words])
        assert done.exit_code == 2 and "Say where: --host URL, or --project ID --location REGION." in done.output
    words = ["submit", "mine.py:pipeline", "-p", "texts=a", "--host"]
    assert "must begin with https:// or http://" in run(*words, "my-kubeflow", fails=UserError)
    said = run(*words, "http://127.0.0.1:9", fails=TransientError)
    assert said == "http://127.0.0.1:9 can't be reached: check --host and the network (Connection refused)"
    assert "Check --host, which often ends in /pipeline" in run(*words, f"{kfp.url}/ui", fails=NotFoundError)
    for region in (["projects/p", "--location", "l"], ["p ", "--location", "l"], ["p", "--location", "locations/l"]):
        said = run("submit", "mine.py:pipeline", "-p", "texts=a", "--project", *region, fails=UserError)
        assert (
            "is 'projects/p': expected" in said or "is 'p ': expected" in said or "is 'locations/l': expected" in said
        )
    assert "--experiment is of Kubeflow Pipelines" in submit(
        google, "-p", "texts=a", "--experiment", "e", fails=UserError
    )
    words = ["submit", "mine.py:pipeline", "-p", "texts=a", *there(google)]
    assert "--pipeline-root gs://my-bucket/runs" in run(*words, fails=UserError)
    assert not google.calls


@pytest.mark.parametrize("command", [["submit"], ["schedule", "create", "--cron", "0 3 * * *"]])
@pytest.mark.parametrize("words", [["--volume", "my-claim:/data"], ["--set", "platform=kubernetes"]])
def test_where_is_asked_before_the_settings_of_the_cluster(command, words):
    done = CliRunner().invoke(cli.group, [*command, "mine.py:pipeline", "-p", "texts=a", *words])
    assert done.exit_code == 2 and "Say where: --host URL" in done.output, done.exception


def test_a_token_is_taken_from_the_variable_of_kfp(kfp, monkeypatch):
    kfp.token = "secret"
    assert "Sign in as kfp's own client does" in submit(kfp, "-p", "texts=a", fails=UserError)
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "secret")
    submit(kfp, "-p", "texts=a")


def create(server, *words, fails=None):
    root = [] if isinstance(server, KfpServer) else ["--pipeline-root", "gs://bucket/runs"]
    command = ["schedule", "create", "mine.py:pipeline", *there(server), *root, "-p", "texts=a"]
    return run(*command, "--cron", "0 3 * * 1-5", *words, fails=fails)


def listed(server):
    return json.loads(run("schedule", "list", *there(server), "--json"))


@pytest.mark.parametrize("server", ["kfp", "google"])
def test_a_schedule_is_made_listed_paused_resumed_and_deleted(server, request):
    server = request.getfixturevalue(server)
    assert "There is no schedule." in run("schedule", "list", *there(server))
    made = json.loads(create(server, "--json"))
    assert made["name"] == "my-pipeline"
    for name in ("b", "c"):  # more than a page of the servers
        create(server, "--name", name)
    found = listed(server)
    assert [(one["name"], one["state"], one["cron"]) for one in found] == [
        (name, "active", "0 3 * * 1-5") for name in ("my-pipeline", "b", "c")
    ]
    assert found[0]["id"] == made["schedule"]
    assert "c is paused." in run("schedule", "pause", "c", *there(server))
    assert [one["state"] for one in listed(server)] == ["active", "active", "paused"]
    assert "c is active." in run("schedule", "resume", found[2]["id"], *there(server))
    assert "my-pipeline is deleted." in run("schedule", "delete", "my-pipeline", *there(server))
    assert [(one["name"], one["state"]) for one in listed(server)] == [("b", "active"), ("c", "active")]
    said = run("schedule", "pause", "my-pipeline", *there(server), fails=UserError)
    assert said == "There is no schedule 'my-pipeline'; there are b, c."


@pytest.mark.parametrize("server", ["kfp", "google"])
def test_one_name_is_one_schedule(server, request):
    server = request.getfixturevalue(server)
    create(server)
    assert "There is a schedule 'my-pipeline' already" in create(server, fails=UserError)
    assert len(listed(server)) == 1


def test_a_schedule_runs_one_at_a_time_in_its_zone(kfp, google):
    create(google, "--time-zone", "Asia/Seoul")
    (made,) = google.cloud.schedules.values()
    assert made.cron == "TZ=Asia/Seoul 0 3 * * 1-5" and made.max_concurrent_run_count == 1 and not made.catch_up
    assert dict(made.create_pipeline_job_request.pipeline_job.runtime_config.parameter_values) == {"texts": ["a"]}
    assert "leave --time-zone out" in create(kfp, "--time-zone", "Asia/Seoul", fails=UserError)
    assert not kfp.schedules
    create(kfp)
    (made,) = kfp.schedules.values()
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1-5"
    assert (made["max_concurrency"], made["no_catchup"], made["mode"]) == (1, True, "ENABLE")


@pytest.mark.parametrize(
    ("kept", "shown"), [("0 3 * * *", "0 3 * * *"), ("0 0 3 * * *", "0 3 * * *"), ("5 0 3 * * *", "5 0 3 * * *")]
)
def test_times_that_others_wrote_are_shown_whole(kfp, kept, shown):
    create(kfp)
    next(iter(kfp.schedules.values()))["trigger"]["cron_schedule"]["cron"] = kept
    assert [one["cron"] for one in listed(kfp)] == [shown]


@pytest.mark.parametrize("cron", ["0 0 3 * * *", "@daily", "0 3 * *", "0 3 * * $"])
def test_another_form_of_times_is_refused(kfp, cron):
    words = ["schedule", "create", "mine.py:pipeline", *there(kfp), "-p", "texts=a", "--cron", cron]
    done = CliRunner().invoke(cli.group, words)
    assert done.exit_code == 2 and "must have five fields" in done.output
    assert not kfp.schedules


def test_a_run_that_may_have_started_is_said(kfp, google):
    kfp.lost = True
    said = submit(kfp, "-p", "texts=a", fails=TransientError)
    assert f"answered 504: the gateway did not wait. The run may have started all the same: look at {kfp.url}" in said
    assert len(kfp.runs) == 1
    google.faults.append(Fault("CreatePipelineJob", effect="after"))
    said = submit(google, "-p", "texts=a", fails=TransientError)
    (name,) = google.cloud.runs
    assert f"Run {name.rsplit('/', 1)[1]} may have started all the same" in said and "?project=p first." in said


def test_a_refusal_of_ai_platform_is_one_sentence(google):
    google.faults.append(Fault("CreatePipelineJob", status=403))
    assert "AI Platform refused" in submit(google, "-p", "texts=a", fails=UserError)


def test_what_may_pass_ends_with_a_sentence_too(kfp):
    command = [sys.executable, "-m", "kfp_bert_components.cli", "schedule", "list", "--host", "http://127.0.0.1:9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: http://127.0.0.1:9 can't be reached") and done.stderr.count("\n") == 1


def test_the_server_of_kubeflow_is_strict(kfp):
    from kfp_server_api import ApiClient, ApiException, Configuration, RunServiceApi

    service = RunServiceApi(ApiClient(Configuration(host=kfp.url)))
    for body in ({"display_nme": "a"}, {"display_name": 1}):
        with pytest.raises(ApiException, match="400"):
            service.run_service_create_run(run=body)
