"""Pipelines that are not ours, as people write them: compiled for a cluster without a loss, or refused by name."""

import json

import pytest
import yaml
from kfp import compiler, dsl

import kfp_bert_components as package
from kfp_bert_components.errors import UserError
from tests.support.pods import pods_of, read_compiled

CLUSTER = {
    "all": {
        "volumes": {"data": "/data"},
        "env": {"A": "b"},
        "node_selector": {"pool": "steps"},
        "retries": {"count": 2},
        "shared_memory": "1Gi",
    }
}


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def flip(sides: int = 2) -> str:
    """Throw a coin."""
    return "heads" if sides else "tails"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def use(folder: str, data: dsl.Input[dsl.Dataset] = None, made: dsl.Output[dsl.Dataset] = None):  # type: ignore[assignment]
    """Use a folder."""
    print(folder, data, made)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def gather(all_of_them: dsl.Input[list[dsl.Dataset]]):
    """Use what a loop has made."""
    print(all_of_them)


@dsl.container_component
def train_elsewhere(rate: float, model: dsl.Output[dsl.Model]):
    return dsl.ContainerSpec(image="trainer:1", command=["sh", "-c"], args=["train", rate, model.path])


@dsl.container_component
def bare():
    return dsl.ContainerSpec(image="alpine")


@dsl.pipeline
def inner(folder: str) -> dsl.Dataset:
    return use(folder=folder).outputs["made"]


@dsl.pipeline
def middle(folder: str) -> dsl.Dataset:
    return inner(folder=folder).output


WORKSPACE = dsl.PipelineConfig(
    workspace=dsl.WorkspaceConfig(
        size="5Gi", kubernetes=dsl.KubernetesWorkspaceConfig(pvcSpecPatch={"storageClassName": "fast"})
    )
)


@dsl.pipeline(name="samples", pipeline_config=WORKSPACE)
def samples(rates: list = [0.1, 0.2], where: str = "한글 폴더"):  # noqa: B006
    """What KFP's own samples have. 견본."""
    data = dsl.importer(artifact_uri="gs://b/data", artifact_class=dsl.Dataset, reimport=True)
    with dsl.ExitHandler(bare(), name="whatever happens"):
        with dsl.ParallelFor(rates, parallelism=2) as rate:
            train_elsewhere(rate=rate)
            made = use(folder=dsl.WORKSPACE_PATH_PLACEHOLDER, data=data.output)
        gather(all_of_them=dsl.Collected(made.outputs["made"]))
        coin = flip()
        with dsl.If(coin.output == "heads"):
            one = middle(folder=where)
        with dsl.Elif(coin.output == "tails"):
            two = inner(folder=where)
        with dsl.Else():
            three = use(folder=where)
        use(folder="last", data=dsl.OneOf(one.output, two.output, three.outputs["made"])).set_display_name("last")


def compiled(pipeline, tmp_path, cluster):
    target = tmp_path / "pipeline.yaml"
    package.compile(pipeline, target, cluster)
    return target.read_text()


def without(document, *keys):
    """A document without some keys, wherever they stand."""
    if isinstance(document, dict):
        return {key: without(value, *keys) for key, value in document.items() if key not in keys}
    return [without(one, *keys) for one in document] if isinstance(document, list) else document


def test_all_that_the_samples_of_kfp_have_stays_as_it_is(tmp_path):
    pytest.importorskip("kfp.kubernetes")
    compiler.Compiler().compile(samples, str(tmp_path / "before.yaml"))
    spec, platforms = yaml.safe_load_all((tmp_path / "before.yaml").read_text())
    text = compiled(samples, tmp_path, CLUSTER)
    after, for_pods = yaml.safe_load_all(text)
    assert without(after, "env", "retryPolicy") == without(spec, "env", "retryPolicy")
    assert (
        for_pods["platforms"]["kubernetes"]["pipelineConfig"] == platforms["platforms"]["kubernetes"]["pipelineConfig"]
    )
    pods = pods_of(text)
    containers = [label for label, one in spec["deploymentSpec"]["executors"].items() if "container" in one]
    assert pods.keys() == {label.removeprefix("exec-") for label in containers}
    for pod in pods.values():
        (main,) = pod["containers"]
        assert main["env"][-1] == {"name": "A", "value": "b"}
        assert {one["mountPath"] for one in main["volumeMounts"]} == {"/data", "/dev/shm"}
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert "# Description: What KFP's own samples have. 견본." in comments
    assert compiled(tmp_path / "pipeline.yaml", tmp_path, CLUSTER) == text


def test_a_file_with_an_empty_document_at_its_end_is_compiled(tmp_path):
    compiler.Compiler().compile(flip, str(tmp_path / "flip.yaml"))
    with (tmp_path / "flip.yaml").open("a") as file:
        file.write("---\n")
    assert pods_of(compiled(tmp_path / "flip.yaml", tmp_path, {"all": {"env": {"A": "b"}}}))["flip"]


@pytest.mark.parametrize("second", ["a", "{a: b}", "[]", "{platforms: []}"])
def test_a_file_whose_second_document_says_nothing_of_platforms_is_refused(tmp_path, second):
    compiler.Compiler().compile(flip, str(tmp_path / "flip.yaml"))
    with (tmp_path / "flip.yaml").open("a") as file:
        file.write(f"---\n{second}\n")
    with pytest.raises(UserError, match=r"flip\.yaml is no compiled KFP pipeline: the second document"):
        compiled(tmp_path / "flip.yaml", tmp_path, None)


def test_a_json_file_is_compiled_too(tmp_path):
    compiler.Compiler().compile(flip, str(tmp_path / "flip.yaml"))
    (tmp_path / "flip.json").write_text(json.dumps(yaml.safe_load((tmp_path / "flip.yaml").read_text())))
    assert read_compiled(compiled(tmp_path / "flip.json", tmp_path, None))


def test_a_workspace_is_refused_for_vertex(tmp_path):
    with pytest.raises(UserError, match="samples has a PipelineConfig, such as a workspace, which does not apply on V"):
        compiled(samples, tmp_path, {"platform": "vertex"})


def of_kfp(change):
    """A pipeline with one step, changed by the kfp-kubernetes library."""
    kubernetes = pytest.importorskip("kfp.kubernetes")

    @dsl.pipeline(name="mine")
    def mine(selector: dict = {}):  # noqa: B006
        change(kubernetes, flip(), selector)

    return mine


@pytest.mark.parametrize(
    ("change", "cluster", "says"),
    [
        (
            lambda kubernetes, task, selector: kubernetes.add_node_selector_json(task, selector),
            {"node_selector": {"pool": "steps"}},
            "Step flip gets its node_selector from the pipeline as JSON",
        ),
        (
            lambda kubernetes, task, _: kubernetes.use_config_map_as_env(task, "names", {"key": "A"}),
            {"env": {"A": "b"}},
            r"Step flip would get the variable A from env and from the config map names \(key key\)",
        ),
        (
            lambda kubernetes, task, _: kubernetes.use_field_path_as_env(task, "A", "metadata.name"),
            {"secrets": {"one": {"variables": {"A": "b"}}}},
            r"Step flip would get the variable A from the secret one \(key b\) and from the pod's field metadata\.name",
        ),
        (
            lambda kubernetes, task, _: kubernetes.add_ephemeral_volume(
                task, "fast", "/data", ["ReadWriteOnce"], "1Gi"
            ),
            {"volumes": {"claim": "/data"}},
            "Step flip would have the folder '/data' twice",
        ),
        (
            lambda kubernetes, task, _: kubernetes.mount_pvc(task, "other", "/data/"),
            {"volumes": {"claim": "/data"}},
            "Step flip would have the folder '/data' twice",
        ),
    ],
)
def test_what_would_be_lost_beside_what_the_pipeline_says_itself_is_refused(tmp_path, change, cluster, says):
    compiled(of_kfp(change), tmp_path, None)
    with pytest.raises(UserError, match=says):
        compiled(of_kfp(change), tmp_path, {"all": cluster})


def test_a_claim_that_the_run_makes_stays_beside_ours(tmp_path):
    kubernetes = pytest.importorskip("kfp.kubernetes")

    @dsl.pipeline(name="mine")
    def mine(secret: str = "of-the-run", count: int = 1, kind: str = "nvidia.com/gpu", image: str = "python:3.12"):
        made = kubernetes.CreatePVC(access_modes=["ReadWriteOnce"], size="1Gi", pvc_name_suffix="-data")
        step = flip().set_accelerator_type(kind).set_accelerator_limit(count).set_container_image(image)
        kubernetes.mount_pvc(step, made.outputs["name"], "/made")
        kubernetes.use_secret_as_volume(step, secret, "/secret")
        kubernetes.DeletePVC(pvc_name=made.outputs["name"]).after(step)

    text = compiled(mine, tmp_path, CLUSTER)
    spec, configs = read_compiled(text)
    before = compiled(mine, tmp_path, None)
    assert configs.keys() == {"exec-flip"}
    theirs, ours = configs["exec-flip"].pvc_mount
    assert (theirs.mount_path, ours.mount_path) == ("/made", "/data")
    assert theirs == read_compiled(before)[1]["exec-flip"].pvc_mount[0]
    assert spec.deployment_spec["executors"]["exec-createpvc"]["container"] == {"image": "argostub/createpvc"}


def test_what_the_cluster_says_of_a_kind_without_steps_is_named(tmp_path, capsys):
    compiled(flip, tmp_path, {"training": {"cpu_limit": 3}, "light": {}, "all": {"cpu_limit": 2}})
    assert capsys.readouterr().out == (
        "flip has no step of this package that is of the kind training: what the cluster says of it is not used.\n"
    )
    compiled(package.finetune_bert, tmp_path, {"training": {"cpu_limit": 3}})
    assert capsys.readouterr().out == ""


@dsl.component(
    base_image="python:3.11",
    install_kfp_package=False,
    task_config_passthroughs=[dsl.TaskConfigField.RESOURCES, dsl.TaskConfigField.ENV],
)
def launch(task_config: dsl.TaskConfig):
    """Start a job that gets what this step would need."""
    print(task_config)


def test_what_a_step_cannot_hand_on_to_the_job_that_it_starts_is_refused_as_kfp_does(tmp_path):
    compiled(launch, tmp_path, {"all": {"env": {"A": "b"}, "cpu_limit": 2}, "training": {"node_selector": {"a": "b"}}})
    with pytest.raises(
        UserError, match=r"Step launch hands on .* not KUBERNETES_NODE_SELECTOR, so node_selector would"
    ):
        compiled(launch, tmp_path, {"all": {"node_selector": {"pool": "steps"}}})
