"""finetune_bert with run_on="kubeflow": its parameters become a TrainJob's, and those of another kind are refused."""

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.steps.finetune_bert import finetune_bert
from kfp_bert_components.storage import close_clients
from kfp_bert_components.training import TrainingSettings
from tests.support.kubernetes_resources import by_kind
from tests.support.kubernetes_server import KubernetesServer
from tests.support.s3_server import KEYS
from tests.support.splits import write_small_splits
from tests.support.train_jobs import leave_outputs
from tests.support.trainer_tapes import Tape

# As the component gives them where nothing is said.
DEFAULTS = {"project": "", "location": "", "machine_type": "n1-standard-8", "spot": False, "run": "run-1"}


def train(folder, url, settings=None, **changes):
    paths = [folder / name for name in ("train", "validation", "model", "report.html")]
    job = {"staging": f"{folder}/staging", "volumes": {"claim": str(folder)}, "image": "image:1", "replicas": 3}
    job |= {
        "namespace": "default",
        "api_endpoint": url,
        "abandoned_minutes": 15.0,
        "max_hours": 2.0,
        "poll_seconds": 0.1,
    }
    return finetune_bert(*paths, settings or TrainingSettings(), run_on="kubeflow", **{**DEFAULTS, **job, **changes})


def test_the_parameters_of_the_component_become_those_of_the_job(tmp_path, monkeypatch):
    write_small_splits(tmp_path)
    monkeypatch.setenv("KFP_BERT_USER_PROJECT", "mine")
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
    assert not [name for name in env if name.startswith("AWS_")]  # no place of the job is on s3://
    (patch,) = job["spec"]["runtimePatches"]
    (changed,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    mounts = [{"name": "volume-0", "mountPath": str(tmp_path)}]
    assert changed["template"]["spec"]["template"]["spec"] == {
        "serviceAccountName": "trainer",
        "volumes": [{"name": "volume-0", "persistentVolumeClaim": {"claimName": "claim"}}],
        "containers": [{"name": "node", "volumeMounts": mounts}],
    }
    assert "ownerReferences" not in job["metadata"]  # this process is in no pod


ON_S3 = TrainingSettings(tensorboard_dir="minio://bucket/events")


def variables(server):
    """The job's variables of AWS: values, and references to secrets as `secret/key`."""
    (job,) = server.cluster.store.list(by_kind("TrainJob"))
    env = [one for one in job["spec"]["trainer"]["env"] if one["name"].startswith("AWS_")]
    secrets = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in env if "valueFrom" in one}
    values = {one["name"]: one["value"] for one in env if "value" in one}
    return values | {name: f"{one['name']}/{one['key']}" for name, one in secrets.items()}


def test_a_job_is_told_where_the_store_of_its_places_is_and_no_key(tmp_path, monkeypatch, capsys):
    write_small_splits(tmp_path)
    store = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "one", "AWS_REQUEST_PAYER": "requester"}
    for name, value in {**store, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    with KubernetesServer() as server:
        Tape(server.cluster, "t-ok", on_complete=leave_outputs)
        train(tmp_path, server.url, ON_S3)
        assert variables(server) == store
    said = "The job gets no keys for minio://bucket/events, as others can read what a job is given. They must come from"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("namespace", ["default", "other"])
def test_of_a_secret_that_kubeflow_names_the_job_gets_a_reference(tmp_path, monkeypatch, namespace, capsys):
    write_small_splits(tmp_path)
    for name in (*KEYS, "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KFP_POD_NAME", "run-1-system-container-impl-1")
    monkeypatch.setenv("TRACESTATE", f"workflow={namespace}/run-1")
    with KubernetesServer() as server:
        (tmp_path / ".kube").mkdir()
        server.kubeconfig(tmp_path).rename(tmp_path / ".kube" / "config")
        data = {"accesskey": "a2V5", "secretkey": "c2VjcmV0"}
        server.cluster.add("Secret", "mlpipeline-minio-artifact", namespace, data=data)
        Tape(server.cluster, "t-ok", on_complete=leave_outputs)
        train(tmp_path, server.url, ON_S3)
        found = variables(server)
    close_clients()
    keys = {"AWS_ACCESS_KEY_ID": "accesskey", "AWS_SECRET_ACCESS_KEY": "secretkey"}
    of_secret = {name: f"mlpipeline-minio-artifact/{key}" for name, key in keys.items()}
    store = {"AWS_ENDPOINT_URL": "http://seaweedfs.kubeflow:9000", "AWS_REGION": "minio"}
    assert found == (store | of_secret if namespace == "default" else store)
    assert ("The job gets no keys" in capsys.readouterr().out) == (namespace == "other")


def test_places_in_two_stores_are_refused_before_a_job_is_made(tmp_path, monkeypatch):
    write_small_splits(tmp_path)
    for name in (*KEYS, "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    two = TrainingSettings(tensorboard_dir="minio://bucket/events", checkpoint_dir="s3://bucket/checkpoints")
    with (
        KubernetesServer() as server,
        pytest.raises(UserError, match=r"one S3 store only, and s3://bucket/checkpoints is"),
    ):
        train(tmp_path, server.url, two)
    assert not server.cluster.store.list(by_kind("TrainJob"))


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
