"""cluster.yaml: each fault is named by its key, and the examples say all that there is to say."""

import re

import pytest
import yaml

import kfp_bert_components as package
from kfp_bert_components import pipelines
from kfp_bert_components.compiling import cluster_schema, read_cluster
from kfp_bert_components.errors import UserError
from tests.conftest import ROOT
from tests.support.pods import pods_of

EXAMPLES = sorted((ROOT / "examples").glob("cluster-*.yaml"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("trainig: {}", "trainig is not known; did you mean 'training'?"),
        ("images: my-team", "images must stand under a kind of steps, such as all.images"),
        ("training: {memory_reqest: 8Gi}", "training.memory_reqest is not known; did you mean 'memory_request'?"),
        ("training: {accelerator: {typ: x}}", "training.accelerator.typ is not known; did you mean 'type'?"),
        ("training: {accelerator: {count: 1}}", "training.accelerator.type is missing: give it."),
        (
            "training: {accelerator: {type: nvidia.com/gpu, count: 0}}",
            "accelerator.count is 0, but it should be greater",
        ),
        ("all: {tolerations: [{key: a}, {ky: a}]}", "all.tolerations.1.ky is not known; did you mean 'key'?"),
        (
            "all: {tolerations: [{key: a, operator: Exists, value: b}]}",
            "must have no value where its operator is Exists",
        ),
        ("all: {tolerations: [{value: b}]}", "must have a key, or the operator Exists"),
        ("all: {tolerations: [{key: a, seconds: 3}]}", "must have the effect NoExecute where it has seconds"),
        ("all: {tolerations: [{key: a, effect: NoRun}]}", "all.tolerations.0.effect is 'NoRun', but it should be ''"),
        ("training: 3", "training is 3, but it must be a mapping of names to values."),
        ("all: {memory_limit: 8}", "all.memory_limit is 8, but it must be a size with its unit, such as 8Gi or 500Mi."),
        ("all: {memory_limit: 8K}", "all.memory_limit is '8K', but it must be a size with its unit"),
        ("all: {cpu_limit: many}", "all.cpu_limit is 'many', but it must be a number of CPUs, such as 2, 0.5 or 500m."),
        ("all: {cpu_limit: true}", "all.cpu_limit is True, but it must be a number of CPUs"),
        ("all: {cpu_limit: 0}", "all.cpu_limit is 0, but it must be a number of CPUs"),
        (
            "all: {volumes: {My.Claim: /data}}",
            "all.volumes.My.Claim is 'My.Claim', but it must be a name of lower-case",
        ),
        (
            "all: {volumes: {a: data}}",
            "all.volumes.a is 'data', but it must be a folder in the container, such as /data.",
        ),
        ("all: {volumes: {a: /}}", "all.volumes.a is '/', but it must be a folder in the container"),
        ("all: {volumes: {a: '/data:/data'}}", "all.volumes.a is '/data:/data', but it must be a folder"),
        ("all: {volumes: {a: /data/../gcs}}", "all.volumes.a is '/data/../gcs', but it must be a folder"),
        ("all: {volumes: {a: /gcs/}}", "all.volumes.a is '/gcs/', but it must be another folder"),
        ("all: {secrets: {a: {}}}", "all.secrets.a is {}, but it must have a path, or variables."),
        ("all: {secrets: {a: {variables: {A-B: key}}}}", "but it must be a name of a variable, such as HF_TOKEN."),
        ("all: {env: {THREADS: 3}}", "all.env.THREADS is 3, but it must be a text: put it in quotes."),
        (
            "all: {node_selector: {gpu: true}}",
            "all.node_selector.gpu is True, but it must be a text: put it in quotes.",
        ),
        ("all: {images: 'https://a/b'}", "No images can lie at 'https://a/b'"),
        ("all: {retries: {count: -1}}", "all.retries.count is -1, but it should be greater than or equal to 0."),
        ("all: {retries: {count: 1, backoff_factor: 1.5}}", "all.retries.backoff_factor is 1.5, but it should be"),
        ("all: {time_limit_minutes: 0}", "all.time_limit_minutes is 0, but it should be greater than or equal to 1."),
        ("all: {caching: 1}", "all.caching is 1, but it should be a valid boolean."),
        ("platform: gke", "platform is 'gke', but it should be 'kubernetes' or 'vertex'."),
        ("format: 2", "format is 2, but it should be 1."),
        (
            "training: {accelerator: {type: NVIDIA_L4}}",
            "training.accelerator.type is 'NVIDIA_L4', which is no resource",
        ),
        (
            "{platform: vertex, training: {accelerator: {type: nvidia.com/gpu}}}",
            "training.accelerator.type is 'nvidia.com/gpu', which is no accelerator of Vertex: give one such",
        ),
        ("all:\n  caching: no\nall:\n  caching: yes\n", "has 'all' twice, in line 3 again: leave one out."),
        ("[]", "must be a mapping"),
        ("a: [", "is no YAML: line 1"),
    ],
)
def test_a_fault_is_named_by_its_key(tmp_path, text, says):
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(UserError) as raised:
        read_cluster(tmp_path / "cluster.yaml")
    assert says in str(raised.value)
    assert "cluster.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


ONLY_KUBERNETES = {
    "image_pull_secrets": ["a"],
    "cpu_request": 1,
    "memory_request": "1Gi",
    "shared_memory": "1Gi",
    "node_selector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "volumes": {"a": "/a"},
    "secrets": {"a": {"path": "/a"}},
    "time_limit_minutes": 3,
}
BOTH = {
    "images": "a/b",
    "cpu_limit": 1,
    "memory_limit": "1Gi",
    "env": {"A": "b"},
    "retries": {"count": 1, "give_up_after_minutes": 30},
    "caching": False,
}


@pytest.mark.parametrize("section", ["all", "training"])
@pytest.mark.parametrize("name", ONLY_KUBERNETES)
def test_what_does_not_apply_on_vertex_is_refused_by_name(section, name):
    cluster = {"platform": "vertex", section: {name: ONLY_KUBERNETES[name]}}
    with pytest.raises(UserError, match=rf"^{section}\.{name} does not apply on Vertex: leave it out; \w"):
        read_cluster(cluster)
    assert read_cluster(cluster | {"platform": "kubernetes"})


def test_every_setting_of_a_step_was_tried_on_vertex():
    assert {*ONLY_KUBERNETES, *BOTH, "accelerator"} == {*cluster_schema()["$defs"]["StepSettings"]["properties"]}
    assert read_cluster({"platform": "vertex", "all": BOTH})


def test_a_key_without_a_value_is_absent(tmp_path):
    (tmp_path / "cluster.yaml").write_text("training:\n  # cpu_limit: 3\nlight:\n  env:\n")
    assert read_cluster(tmp_path / "cluster.yaml") == read_cluster({"light": {}, "training": {}})
    (tmp_path / "cluster.yaml").write_text("")
    assert read_cluster(tmp_path / "cluster.yaml") == read_cluster(None)


@pytest.mark.parametrize("given", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read(given):
    with pytest.raises(UserError, match=rf"{re.escape(given)} cannot be read"):
        read_cluster(given)


def test_every_key_of_the_file_has_a_description():
    schema = cluster_schema()
    models = [schema, *schema["$defs"].values()]
    assert all(one["description"] for model in models for one in model.get("properties", {}).values())


def uncommented(text):
    """An example whose keys behind a # count too: "# key: value" and what is indented below it."""
    return re.sub(r"^( *)# (?=( *[\w./-]+:( |$))|( *- ))", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
@pytest.mark.parametrize("whole", [False, True])
def test_the_examples_can_be_used_as_they_are_and_with_every_line(tmp_path, path, whole):
    (tmp_path / "cluster.yaml").write_text(uncommented(path.read_text()) if whole else path.read_text())
    cluster = read_cluster(tmp_path / "cluster.yaml")
    if cluster.platform == "kubernetes":
        pytest.importorskip("kfp.kubernetes")
    for name in pipelines.__all__:
        made = package.compile(getattr(pipelines, name), tmp_path / "pipeline.yaml", cluster)
        if cluster.platform == "kubernetes":
            pods = pods_of(made.component_yaml)
            assert pods["finetune-bert"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        else:
            assert len([*yaml.safe_load_all(made.component_yaml)]) == 1


def test_the_examples_together_have_every_key():
    assert {path.stem for path in EXAMPLES} == {"cluster-gke", "cluster-own", "cluster-vertex"}
    words = set(re.findall(r"([\w]+):", "".join(path.read_text() for path in EXAMPLES)))
    schema = cluster_schema()
    for model in ("StepSettings", "Accelerator", "Retries", "Secret", "Toleration"):
        assert {*schema["$defs"][model]["properties"]} - words == set(), model
    assert {*schema["properties"]} - words == set()


def test_the_docs_say_of_every_setting_whether_vertex_has_it():
    rows = re.findall(r"^\| (`.*?) \|.*\| (.*) \|$", (ROOT / "docs" / "cluster.md").read_text(), re.MULTILINE)
    on_vertex = {name: said for names, said in rows for name in re.findall(r"`(\w+)`", names)}
    for name in cluster_schema()["$defs"]["StepSettings"]["properties"]:
        assert on_vertex[name].startswith("no") == (name in ONLY_KUBERNETES), name
