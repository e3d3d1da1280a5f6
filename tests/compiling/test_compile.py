"""What cluster.yaml says is what the pods get, wherever in a pipeline their step stands."""

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, components, dsl
from kfp.pipeline_spec import pipeline_spec_pb2

import kfp_bert_components as package
from kfp_bert_components import pipelines
from kfp_bert_components.errors import UserError
from tests.compiling.pipelines_of_all_kinds import all_kinds, say
from tests.conftest import ROOT
from tests.support.pods import pods_of

PLACE = "registry.example.com/my-team"
LIGHT = ["compare-models", "prepare-text-data", "promote-model"]
DEPLOYED = ["deploy-to-serving-directory"]
FOREIGN = ["finetune-bert-2", "say"]
EVERYTHING = {
    "all": {
        "images": PLACE,
        "image_pull_secrets": ["registry-key"],
        "node_selector": {"pool": "steps"},
        "tolerations": [{"key": "steps", "operator": "Exists"}],
        "volumes": {"shared-data": "/data"},
        "secrets": {"bucket-key": {"path": "/secrets/bucket"}},
        "env": {"GOOGLE_APPLICATION_CREDENTIALS": "/secrets/bucket/key.json"},
        "retries": {"count": 2},
        "time_limit_minutes": 60,
    },
    "training": {
        "images": f"{PLACE}-gpu",
        "image_pull_secrets": ["gpu-key"],
        "cpu_request": 3,
        "cpu_limit": 4.5,
        "memory_request": "12Gi",
        "memory_limit": "16Gi",
        "shared_memory": "2Gi",
        "accelerator": {"type": "nvidia.com/gpu", "count": 2},
        "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
        "tolerations": [{"key": "gpu", "value": "yes", "effect": "NoExecute", "seconds": 60}],
        "volumes": {"checkpoints": "/checkpoints/"},
        "secrets": {"hub": {"variables": {"HF_TOKEN": "token"}}},
        "env": {"OMP_NUM_THREADS": "4"},
        "retries": {"count": 5, "backoff_seconds": 30, "backoff_factor": 3, "give_up_after_minutes": 90},
        "time_limit_minutes": 600,
        "caching": False,
    },
}


def compiled(pipeline, tmp_path, cluster=None):
    target = tmp_path / "pipeline.yaml"
    package.compile(pipeline, target, cluster)
    return target.read_text()


def tasks_of(text):
    """All tasks of a compiled pipeline that run a container, by their executor's name."""
    spec = next(yaml.safe_load_all(text))
    found = {}
    for component in (spec["root"], *spec["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            label = spec["components"][task["componentRef"]["name"]].get("executorLabel", "")
            if "container" in spec["deploymentSpec"]["executors"].get(label, {}):
                found[label.removeprefix("exec-")] = task
            else:
                assert "retryPolicy" not in task, "only what runs a container can be tried again"
    return found


def test_a_step_gets_all_that_its_kind_says(tmp_path):
    pytest.importorskip("kfp.kubernetes")
    text = compiled(all_kinds, tmp_path, EVERYTHING)
    pod = pods_of(text)["finetune-bert"]
    assert pod == {
        "containers": [
            {
                "name": "main",
                "image": f"{PLACE}-gpu/python-tensorflow:{package.__version__}",
                "env": [
                    {"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/secrets/bucket/key.json"},
                    {"name": "OMP_NUM_THREADS", "value": "4"},
                    {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
                ],
                "resources": {
                    "limits": {"cpu": "4.5", "memory": "16Gi", "nvidia.com/gpu": "2"},
                    "requests": {"cpu": "3", "memory": "12Gi"},
                },
                "volumeMounts": [
                    {"name": "shared-data", "mountPath": "/data"},
                    {"name": "checkpoints", "mountPath": "/checkpoints"},
                    {"name": "bucket-key", "mountPath": "/secrets/bucket"},
                    {"name": "shared-memory", "mountPath": "/dev/shm"},
                ],
            }
        ],
        "volumes": [
            {"name": "shared-data", "persistentVolumeClaim": {"claimName": "shared-data"}},
            {"name": "checkpoints", "persistentVolumeClaim": {"claimName": "checkpoints"}},
            {"name": "bucket-key", "secret": {"secretName": "bucket-key", "optional": False}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        ],
        "nodeSelector": {"pool": "steps", "cloud.google.com/gke-accelerator": "nvidia-l4"},
        "tolerations": [
            {"key": "steps", "operator": "Exists"},
            {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60},
        ],
        "imagePullSecrets": [{"name": "registry-key"}, {"name": "gpu-key"}],
        "activeDeadlineSeconds": 36000,
    }
    task = tasks_of(text)["finetune-bert"]
    assert task["cachingOptions"] == {}
    assert task["retryPolicy"] == {
        "maxRetryCount": 5,
        "backoffDuration": "30s",
        "backoffFactor": 3,
        "backoffMaxDuration": "5400s",
    }


def test_every_step_gets_what_all_says_in_loops_conditions_exit_handlers_and_nested_pipelines(tmp_path):
    pytest.importorskip("kfp.kubernetes")
    text = compiled(all_kinds, tmp_path, EVERYTHING)
    pods, tasks = pods_of(text), tasks_of(text)
    assert pods.keys() == tasks.keys() == {*LIGHT, *FOREIGN, "finetune-bert", "evaluate-model", *DEPLOYED}
    for name in pods.keys() - {"finetune-bert"}:
        (main,) = pods[name]["containers"]
        assert main["volumeMounts"][0] == {"name": "shared-data", "mountPath": "/data"}, name
        assert main["env"] == [{"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/secrets/bucket/key.json"}]
        assert pods[name]["activeDeadlineSeconds"] == 3600
        assert "nvidia.com/gpu" not in main["resources"]["limits"]
        assert main["image"].startswith("python:3.11" if name in FOREIGN else f"{PLACE}/python"), name
        # A week: Kubeflow counts it from the start of the first try, and ends a later try that still runs.
        assert tasks[name]["retryPolicy"]["backoffMaxDuration"] == "604800s", name
        assert tasks[name]["cachingOptions"] == {"enableCache": True}, name


def test_without_any_setting_this_packages_steps_have_requests_and_nothing_else_changes(tmp_path):
    compiler.Compiler().compile(all_kinds, str(tmp_path / "before.yaml"))
    before = yaml.safe_load((tmp_path / "before.yaml").read_text())
    after = yaml.safe_load(compiled(all_kinds, tmp_path))
    executors = after["deploymentSpec"]["executors"]
    found = {label: one.get("container", {}).pop("resources", None) for label, one in executors.items()}
    asked = {
        label.removeprefix("exec-"): (one["resourceCpuRequest"], one["resourceMemoryRequest"])
        for label, one in found.items()
        if one
    }
    assert asked == dict.fromkeys(LIGHT, ("250m", "1Gi")) | {
        "finetune-bert": ("2", "8Gi"),
        "evaluate-model": ("1", "4Gi"),
        "deploy-to-serving-directory": ("250m", "2Gi"),
    }
    docs = (ROOT / "docs" / "cluster.md").read_text()
    kinds = {"light": LIGHT[0], "training": "finetune-bert", "evaluation": "evaluate-model", "deployment": DEPLOYED[0]}
    for kind, step in kinds.items():
        assert f"| `{kind}` | {' | '.join(asked[step])} |" in docs
    assert found["exec-finetune-bert"]["memoryRequest"] == 8 * 2**30 / 1e9, "for backends that know numbers only"
    assert found["exec-compare-models"]["cpuRequest"] == 0.25
    assert after == before


def test_what_the_pipeline_says_stays_and_the_file_wins(tmp_path):
    kubernetes = pytest.importorskip("kfp.kubernetes")

    @dsl.pipeline(name="mine")
    def mine(size: str = "1Gi"):
        for step in (package.fetch_gcs_data(sources=["a.csv"]), package.fetch_gcs_data(sources=["b.csv"])):
            step.set_memory_limit("900M").set_env_variable("MINE", "1").set_env_variable("KEPT", "2")
            step.set_caching_options(False)
            kubernetes.add_pod_label(step, "team", "data")
            kubernetes.mount_pvc(step, "mine", "/mine")
        package.fetch_gcs_data(sources=["c.csv"]).set_memory_request(size)
        kubernetes.CreatePVC(access_modes=["ReadWriteOnce"], size="1Gi", pvc_name="new")

    cluster = {"all": {"env": {"MINE": "file"}, "volumes": {"data": "/data"}}, "light": {"cpu_limit": "100m"}}
    text = compiled(mine, tmp_path, cluster)
    (main,) = pods_of(text)["fetch-gcs-data"]["containers"]
    # A default request is none where it would be above a limit; Kubernetes takes the limit for it.
    assert main["resources"] == {"limits": {"cpu": "100m", "memory": "900M"}, "requests": {}}
    assert {one["name"]: one["value"] for one in main["env"]} == {"MINE": "file", "KEPT": "2"}
    assert [one["mountPath"] for one in main["volumeMounts"]] == ["/mine", "/data"]
    spec, platforms = yaml.safe_load_all(text)
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["exec-fetch-gcs-data"]["podMetadata"] == {"labels": {"team": "data"}}
    assert "exec-createpvc" not in executors, "Kubeflow runs no pod for it"
    assert spec["deploymentSpec"]["executors"]["exec-createpvc"]["container"].keys() == {"image"}
    by_run = spec["deploymentSpec"]["executors"]["exec-fetch-gcs-data-3"]["container"]["resources"]
    assert "{{$." in by_run["resourceMemoryRequest"], "a size that the run gives stays"
    assert tasks_of(text)["fetch-gcs-data"]["cachingOptions"] == {}, "caching: true brings no cache back"


def test_compiled_again_it_is_the_same(tmp_path):
    pytest.importorskip("kfp.kubernetes")
    cluster = EVERYTHING | {"service_account": "runner"}
    once = compiled(all_kinds, tmp_path, cluster)
    assert compiled(tmp_path / "pipeline.yaml", tmp_path, cluster) == once
    assert once.count("# Submit with service_account='runner'\n") == 1
    other = compiled(tmp_path / "pipeline.yaml", tmp_path, {"service_account": "other"})
    assert [line for line in other.splitlines() if "# Submit with" in line] == ["# Submit with service_account='other'"]


def test_what_was_compiled_for_kubernetes_loses_its_requests_on_vertex(tmp_path, capsys):
    compiled(pipelines.train_and_deploy, tmp_path)
    (spec,) = yaml.safe_load_all(compiled(tmp_path / "pipeline.yaml", tmp_path, {"platform": "vertex"}))
    assert not [one for one in spec["deploymentSpec"]["executors"].values() if "resources" in one["container"]]
    said = "Step finetune-bert requests cpu and memory, which does not apply on Vertex: left out."
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("name", package.COMPONENTS)
def test_specs_by_url_are_changed_like_imported_components(tmp_path, name):
    file = ROOT / "component_specs" / name / "component.yaml"
    made = package.compile(components.load_component_from_file(str(file)), tmp_path / "by_url.yaml", {"all": {}})
    imported = package.compile(getattr(package, name), tmp_path / "imported.yaml")
    version = "sdkVersion: "
    lines = [line for line in made.component_yaml.splitlines() if not line.startswith(version)]
    assert lines == [line for line in imported.component_yaml.splitlines() if not line.startswith(version)]
    (container,) = (
        one["container"] for one in yaml.safe_load(made.component_yaml)["deploymentSpec"]["executors"].values()
    )
    assert container["resources"]["resourceMemoryRequest"]


@pytest.mark.parametrize(
    ("cluster", "says"),
    [
        ({"training": {"memory_request": "20Gi", "memory_limit": "16Gi"}}, "finetune-bert has memory_request 20Gi"),
        ({"all": {"cpu_limit": "1500m"}, "training": {"cpu_request": 2}}, "cpu_request 2, which is above .* 1500m"),
        (
            {"all": {"env": {"HF_TOKEN": "x"}, "secrets": {"hub": {"variables": {"HF_TOKEN": "token"}}}}},
            "would get the variable HF_TOKEN from env and from the secret hub",
        ),
        (
            {
                "all": {"secrets": {"hub": {"variables": {"A": "a"}}}},
                "training": {"secrets": {"b": {"variables": {"A": "c"}}}},
            },
            r"finetune-bert would get the variable A from the secret hub \(key a\) and from the secret b \(key c\)",
        ),
        ({"all": {"volumes": {"one": "/data", "two": "/data"}}}, "would have the folder '/data' twice"),
        (
            {"all": {"volumes": {"one": "/data"}, "secrets": {"one": {"path": "/key"}}}},
            "would have the volume 'one' twice",
        ),
        ({"all": {"volumes": {"one": "/dev/shm"}, "shared_memory": "1Gi"}}, "folder '/dev/shm' twice"),
    ],
)
def test_what_no_pod_can_have_is_refused(tmp_path, cluster, says):
    if "volumes" in cluster["all" if "all" in cluster else "training"]:
        pytest.importorskip("kfp.kubernetes")
    with pytest.raises(UserError, match=says):
        compiled(all_kinds, tmp_path, cluster)
    assert not (tmp_path / "pipeline.yaml").exists()


def test_variables_of_secrets_in_the_pipeline_itself_count_too(tmp_path):
    kubernetes = pytest.importorskip("kfp.kubernetes")

    @dsl.pipeline(name="mine")
    def mine():
        step = package.fetch_gcs_data(sources=["a.csv"])
        kubernetes.use_secret_as_env(step, "hub", {"token": "HF_TOKEN"})

    for cluster in ({"env": {"HF_TOKEN": "x"}}, {"secrets": {"other": {"variables": {"HF_TOKEN": "token"}}}}):
        with pytest.raises(UserError, match=r"would get the variable HF_TOKEN from .* and from the secret"):
            compiled(mine, tmp_path, {"all": cluster})
    compiled(mine, tmp_path, {"all": {"secrets": {"hub": {"variables": {"HF_TOKEN": "token", "OTHER": "token"}}}}})
    variables = pods_of((tmp_path / "pipeline.yaml").read_text())["fetch-gcs-data"]["containers"][0]["env"]
    assert [one["name"] for one in variables] == ["HF_TOKEN", "OTHER"], "one key for two variables, none of them twice"


@pytest.mark.parametrize("place", ["pipeline", "task", "container"])
def test_a_compiled_pipeline_with_a_field_that_kfp_does_not_know_is_refused(tmp_path, place):
    spec = yaml.safe_load(compiled(package.finetune_bert, tmp_path))
    executor = spec["deploymentSpec"]["executors"]["exec-finetune-bert"]
    places = {
        "pipeline": spec,
        "task": spec["root"]["dag"]["tasks"]["finetune-bert"],
        "container": executor["container"],
    }
    places[place]["imagePolicy"] = "Always"
    (tmp_path / "wrong.yaml").write_text(yaml.dump(spec))
    with pytest.raises(UserError, match=r"wrong\.yaml is no pipeline that KFP can read: .*\"imagePolicy\""):
        compiled(tmp_path / "wrong.yaml", tmp_path)


def test_images_for_a_pipeline_that_has_none_of_this_packages_are_no_success(tmp_path):
    with pytest.raises(UserError, match=r"say has no image of kfp-bert-components.*it has python:3\.11"):
        compiled(say, tmp_path, {"all": {"images": PLACE}})


# ------------------------------------------------------------------------------------------------------------- Vertex


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"images": "registry.example.com/old"}, {"images": PLACE}),
        ({"shared_memory": "1Gi"}, {"shared_memory": "2Gi"}),
        ({"volumes": {"one": "/data", "two": "/two"}}, {"volumes": {"one": "/mnt", "two": "/two"}}),
        ({"secrets": {"hub": {"path": "/a"}}}, {"secrets": {"hub": {"path": "/b"}}}),
        ({"secrets": {"hub": {"variables": {"A": "a"}}}}, {"secrets": {"hub": {"variables": {"A": "b"}}}}),
        (
            {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "seconds": 10}]},
            {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "seconds": 600}]},
        ),
        ({"node_selector": {"pool": "a"}}, {"node_selector": {"pool": "b"}}),
        ({"env": {"A": "1"}, "retries": {"count": 1}}, {"env": {"A": "2"}, "retries": {"count": 2}}),
    ],
)
def test_a_pipeline_that_was_compiled_before_becomes_what_the_file_says_now(tmp_path, first, then):
    before = tmp_path / "before.yaml"
    package.compile(package.finetune_bert, before, {"all": first})
    assert compiled(before, tmp_path, {"all": then}) == compiled(package.finetune_bert, tmp_path, {"all": then})


def test_images_that_were_moved_apart_are_moved_again(tmp_path):
    before = tmp_path / "before.yaml"
    package.compile(
        pipelines.train_and_deploy, before, {"all": {"images": "a.b/c"}, "training": {"images": "a.b/gpu-1"}}
    )
    again = compiled(before, tmp_path, {"all": {"images": "a.b/c"}, "training": {"images": "a.b/gpu-2"}})
    spec = next(yaml.safe_load_all(again))
    image = spec["deploymentSpec"]["executors"]["exec-finetune-bert"]["container"]["image"]
    assert image.startswith("a.b/gpu-2/python-tensorflow:")
    assert "a.b/gpu-1" not in again


def test_for_vertex_it_has_limits_accelerators_variables_and_retries_and_no_part_for_kubernetes(tmp_path):
    cluster = {
        "platform": "vertex",
        "all": {"images": PLACE, "env": {"A": "b"}, "retries": {"count": 2}},
        "training": {
            "cpu_limit": 8,
            "memory_limit": "32G",
            "accelerator": {"type": "NVIDIA_TESLA_T4"},
            "caching": False,
        },
    }
    (spec,) = yaml.safe_load_all(compiled(pipelines.train_and_deploy, tmp_path, cluster))
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    executors = spec["deploymentSpec"]["executors"]
    assert executors["exec-finetune-bert"]["container"]["resources"] == {
        "cpuLimit": 8,
        "resourceCpuLimit": "8",
        "memoryLimit": 32,
        "resourceMemoryLimit": "32G",
        "accelerator": {
            "type": "NVIDIA_TESLA_T4",
            "count": "1",
            "resourceType": "NVIDIA_TESLA_T4",
            "resourceCount": "1",
        },
    }
    light = executors["exec-compare-models"]["container"]
    assert "resources" not in light, "Vertex chooses a machine of its own"
    assert light["env"] == [{"name": "A", "value": "b"}]
    assert {one["retryPolicy"]["backoffMaxDuration"] for one in tasks_of(yaml.dump(spec)).values()} == {"3600s"}


def test_settings_of_pods_in_the_pipeline_itself_are_refused_for_vertex(tmp_path):
    kubernetes = pytest.importorskip("kfp.kubernetes")

    @dsl.pipeline(name="mine")
    def mine():
        kubernetes.mount_pvc(package.fetch_gcs_data(sources=["a.csv"]), "mine", "/mine")

    compiled(mine, tmp_path)
    for pipeline in (mine, tmp_path / "pipeline.yaml"):
        with pytest.raises(UserError, match=r" has settings of pods \(exec-fetch-gcs-data\).* in the Python code"):
            compiled(pipeline, tmp_path, {"platform": "vertex"})
