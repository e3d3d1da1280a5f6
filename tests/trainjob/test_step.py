"""finetune_bert with run_on="kubeflow": its parameters become a TrainJob's, and those of another kind are refused."""

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.steps.finetune_bert import finetune_bert
from kfp_bert_components.training import TrainingSettings
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import KubernetesServer
from tests.support.splits import write_small_splits
from tests.support.train_jobs import leave_outputs
from tests.support.trainer_tapes import Tape

# As the component gives them where nothing is said.
DEFAULTS = {"project": "", "location": "", "machine_type": "n1-standard-8", "spot": False, "run": "run-1"}


def train(folder, url, **changes):
    paths = [folder / name for name in ("train", "validation", "model", "report.html")]
    job = {"staging": f"{folder}/staging", "volumes": {"claim": str(folder)}, "image": "image:1", "replicas": 3}
    job |= {"namespace": "default", "api_endpoint": url, "abandoned_minutes": 15.0, "max_hours": 2.0}
    return finetune_bert(*paths, TrainingSettings(), run_on="kubeflow", **{**DEFAULTS, **job, **changes})


def test_the_parameters_of_the_component_become_those_of_the_job(tmp_path, monkeypatch):
    write_small_splits(tmp_path)
    monkeypatch.setenv("KFP_BERT_USER_PROJECT", "mine")
    store = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AWS_ENDPOINT_URL": "http://127.0.0.1:2"}
    store |= {"AWS_REGION": "one", "AWS_DEFAULT_REGION": "two"}
    for name, value in {**store, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    with KubernetesServer() as server:
        Tape(server.cluster, "t-ok", on_complete=leave_outputs)
        asked = {"accelerator_type": "nvidia.com/gpu", "accelerator_count": 2, "resources": {"memory": "8Gi"}}
        found = train(tmp_path, server.url, labels={"team": "films"}, service_account="trainer", **asked)
        (job,) = server.cluster.store.list(by_kind("TrainJob"))
    assert found == {"validation_loss": 0.5}
    labels = job["metadata"]["labels"]
    assert (labels["team"], labels["kfp-bert-run"], len(labels["kfp-bert-job"])) == ("films", "run-1", 32)
    assert job["spec"]["activeDeadlineSeconds"] == 7200
    both = {"memory": "8Gi", "nvidia.com/gpu": "2"}
    assert job["spec"]["trainer"]["resourcesPerNode"] == {"requests": both, "limits": both}
    env = {one["name"]: one["value"] for one in job["spec"]["trainer"]["env"]}
    assert env["KFP_BERT_USER_PROJECT"] == "mine"
    assert {name: value for name, value in env.items() if name.startswith("AWS_")} == store  # and no keys
    (patch,) = job["spec"]["runtimePatches"]
    (changed,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    mounts = [{"name": "volume-0", "mountPath": str(tmp_path)}]
    assert changed["template"]["spec"]["template"]["spec"] == {
        "serviceAccountName": "trainer",
        "volumes": [{"name": "volume-0", "persistentVolumeClaim": {"claimName": "claim"}}],
        "containers": [{"name": "node", "volumeMounts": mounts}],
    }
    assert "ownerReferences" not in job["metadata"]  # this process is in no pod


@pytest.mark.parametrize("name", ["spot", "project", "machine_type"])
def test_a_parameter_of_another_kind_of_job_is_refused(tmp_path, name):
    write_small_splits(tmp_path)
    with pytest.raises(UserError, match=f"job_{name} is .*, which a job with run_on=kubeflow does not have"):
        train(tmp_path, "http://127.0.0.1:1", **{name: True if name == "spot" else "x"})


def test_a_parameter_of_the_cluster_is_refused_on_ai_platform(tmp_path):
    paths = [tmp_path / name for name in ("train", "validation", "model", "report.html")]
    job = {"project": "p", "location": "l", "staging": "gs://b/s", "image": "i", "runtime": "theirs"}
    with pytest.raises(UserError, match="job_runtime is 'theirs', which a job with run_on=ai_platform does not have"):
        finetune_bert(*paths, TrainingSettings(), run_on="ai_platform", **job)


def test_outside_of_a_cluster_the_namespace_must_be_named(tmp_path):
    write_small_splits(tmp_path)
    with pytest.raises(UserError, match="set job_namespace"):
        train(tmp_path, "http://127.0.0.1:1", namespace="")
