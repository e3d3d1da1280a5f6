"""TrainJobs that are not over are listed and cancelled, by a person and by the exit handler of a run."""

import pytest
from click.testing import CliRunner

from kfp_bert_components import clean_up_run
from kfp_bert_components.cli import group
from kfp_bert_components.errors import UserError
from kfp_bert_components.jobs.labels import JOB_LABEL
from kfp_bert_components.kubernetes_api import Cluster
from kfp_bert_components.leases import Lease
from kfp_bert_components.steps.clean_up_run import clean_up_run as clean_up_in_step
from kfp_bert_components.storage import JobAccess, open_store
from kfp_bert_components.trainjob.objects import API, job_name, train_job
from kfp_bert_components.trainjob.running_jobs import jobs_of_namespace
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import KubernetesServer
from tests.support.train_jobs import NAMESPACE, job_settings

TRAINJOBS = by_kind("TrainJob")
PATH = f"/apis/{API}/namespaces/{NAMESPACE}/trainjobs"


@pytest.fixture
def server():
    with KubernetesServer() as server:
        yield server


def create(server, folder, key, run):
    """A TrainJob of a run, made as its step makes it."""
    place = folder / "staging" / key
    place.mkdir(parents=True)
    job = train_job(job_settings(folder, server.url, run=run), NAMESPACE, key, str(place), "node", JobAccess({}))
    Cluster(NAMESPACE, server.url).create(PATH, job)
    return job_name(key)


def command(server, *words):
    return CliRunner().invoke(group, ["jobs", *words, "--namespace", NAMESPACE, "--api-endpoint", server.url])


def names(server):
    return sorted(one["metadata"]["name"] for one in server.cluster.store.list(TRAINJOBS))


def test_a_person_lists_them_with_run_and_holder_and_cancels_those_of_a_run(server, tmp_path):
    first, second, over = (
        create(server, tmp_path, key * 16, run) for key, run in (("a", "r1"), ("b", "r2"), ("c", "r1"))
    )
    done = {"conditions": [{"type": "Complete", "status": "True"}]}
    server.cluster.store.set_status(TRAINJOBS, NAMESPACE, over, done)
    Lease(open_store(str(tmp_path / "staging" / ("b" * 16))), "r3").take()
    lines = command(server, "list").output.splitlines()
    assert [line.split()[-1] for line in lines] == [first, second]
    assert "  r1  nobody waits  " in lines[0] and "  r3  " in lines[1]  # who waits now, not who began
    assert command(server, "cancel", "--run", "r3").output == f"cancelled {second}\n"
    assert command(server, "cancel", "--run", "r2").output.startswith("No job of run r2 is running there")
    assert first in names(server) and second not in names(server)
    assert command(server, "cancel", first).output == f"cancelled {first}\n"
    assert "No job of ours is running there (--namespace default)" in command(server, "list").output


def test_a_job_of_others_is_not_cancelled(server):
    other = {"apiVersion": API, "kind": "TrainJob", "metadata": {"name": "theirs", "namespace": NAMESPACE}}
    Cluster(NAMESPACE, server.url).create(PATH, {**other, "spec": {"runtimeRef": {"name": "torch"}}})
    place = jobs_of_namespace(NAMESPACE, server.url)
    assert place.running() == []
    with pytest.raises(UserError, match="theirs is no TrainJob of ours in the namespace default"):
        place.cancel("theirs")
    assert names(server) == ["theirs"]


@pytest.mark.parametrize("words", [[], ["--project", "p"], ["--project", "p", "--location", "l", "--namespace", "n"]])
def test_one_place_is_given(words):
    result = CliRunner().invoke(group, ["jobs", "list", *words])
    assert result.exit_code == 2 and "Give --project and --location, or --namespace." in result.output


def test_the_exit_handler_cancels_those_of_its_run_alone(server, tmp_path):
    first, second = (create(server, tmp_path, key * 16, run) for key, run in (("a", "r1"), ("b", "r2")))
    outcome = clean_up_in_step("RUNNING", "", ["r1", ""], namespace=NAMESPACE, api_endpoint=server.url)
    assert f"Cancelled job {first}, which was running." in outcome and "No job_project" not in outcome
    assert names(server) == [second]
    assert "None of its jobs" in clean_up_in_step("FAILED", "", ["r1"], namespace=NAMESPACE, api_endpoint=server.url)


@pytest.mark.parametrize("reason", ["not mounted", "no rights"])
def test_a_job_whose_lease_cannot_be_read_is_left_to_it(server, tmp_path, reason):
    job = create(server, tmp_path, "a" * 16, "r1")
    place = tmp_path / "staging" / ("a" * 16)
    Lease(open_store(str(place)), "r2").take()  # it is not the job of the run that started it any more
    if reason == "not mounted":
        place.rename(tmp_path / "elsewhere")
    else:
        (place / "lease.json").unlink()
        (place / "lease.json").mkdir()  # for root, too
    outcome = clean_up_in_step("FAILED", "", ["r1"], namespace=NAMESPACE, api_endpoint=server.url)
    assert f"Job {job} is left to its lease, as it can't be read here whether another run waits for it" in outcome
    assert names(server) == [job]
    assert command(server, "cancel", "--run", "r1").output == f"cancelled {job}\n"  # a person has decided


def test_without_the_right_to_list_them_it_says_that_they_end_by_themselves(server, tmp_path):
    create(server, tmp_path, "a" * 16, "r1")
    server.rules = [{"apiGroups": ["trainer.kubeflow.org"], "resources": ["trainjobs"], "verbs": ["get", "delete"]}]
    outcome = clean_up_in_step("FAILED", "", ["r1"], namespace=NAMESPACE, api_endpoint=server.url)
    assert "TrainJobs were not looked for, and end when nobody has waited for job_abandoned_minutes" in outcome


def test_the_component_takes_the_namespace_from_the_settings_of_training(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "kfp_bert_components.steps.clean_up_run.clean_up_run", lambda *_, **options: asked.update(options) or ""
    )
    status = type("Status", (), {"state": "FAILED", "error_message": ""})()
    for settings, namespace in (({"run_on": "kubeflow", "job_namespace": "ml"}, "ml"), ({"job_namespace": "ml"}, None)):
        asked.clear()
        clean_up_run.python_func(status, settings=settings)
        assert asked.get("namespace") == namespace


def test_the_label_that_they_are_found_by_is_that_of_every_job(server, tmp_path):
    create(server, tmp_path, "a" * 16, "")
    (job,) = server.cluster.store.list(TRAINJOBS)
    assert job["metadata"]["labels"][JOB_LABEL] == "a" * 16
    assert jobs_of_namespace(NAMESPACE, server.url).running()[0].run == ""
