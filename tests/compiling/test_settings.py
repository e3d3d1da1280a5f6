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
            "all: {volumes: {kfp-launcher: /data}}",
            "all.volumes.kfp-launcher is 'kfp-launcher', but it must have another name: Kubeflow or Argo gives each",
        ),
        ("all: {secrets: {tmp-dir-argo: {path: /keys}}}", "is 'tmp-dir-argo', but it must have another name"),
        ("all: {volumes: {kube-api-access-a1b2c: /data}}", "must have another name"),
        (f"# {'x' * 1_000_000}", "cluster.yaml is larger than 1,000,000 bytes, and so no cluster.yaml"),
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
        ("format: true", "format is True, but it should be 1."),
        ("format: 1.0", "format is 1.0, but it should be 1."),
        ("all: {time_limit_minutes: 99999999999999999999}", "all.time_limit_minutes is 99999999999999999999, but it"),
        (f"all: {{time_limit_minutes: {'9' * 5000}}}", "cluster.yaml has a number of 5,000 digits in line 1: give"),
        (f"all: {{time_limit_minutes: 0x{'f' * 4998}}}", "cluster.yaml has a number of 5,000 digits in line 1: give"),
        ("all: {caching: !!bool maybe}", "cluster.yaml has a value that is not what its tag says, such as !!bool"),
        ("all: {env: {A: !!timestamp x}}", "cluster.yaml has a value that is not what its tag says"),
        ("all: {env: {A: 2024-13-01}}", "cluster.yaml has a value that cannot be read: month must be in 1..12."),
        ("all: {retries: {count: 1, backoff_seconds: 86401}}", "should be less than or equal to 86400."),
        ("all: {retries: {count: 1, give_up_after_minutes: 525601}}", "should be less than or equal to 525600."),
        ("all: {accelerator: {type: a/b, count: 1001}}", "should be less than or equal to 1000."),
        (
            "all: {tolerations: [{operator: Exists, effect: NoExecute, seconds: 99999999999999999999}]}",
            "all.tolerations.0.seconds is 99999999999999999999, but it should be less than or equal to 31536000.",
        ),
        (f"all: {{memory_request: {'9' * 20}Gi}}", "but it must be a size with its unit"),
        (f"all: {{cpu_request: {'9' * 400}m}}", "but it must be a number of CPUs"),
        ("all: {cpu_request: 0.0}", "all.cpu_request is 0.0, but it must be a number of CPUs"),
        ("all: {cpu_request: .000}", "all.cpu_request is 0.0, but it must be a number of CPUs"),
        ("[" * 3000, "cluster.yaml has too many brackets or levels inside one another to be read."),
        ("['a']", "cluster.yaml: the settings must be a mapping of names to values, such as all: {caching: false}."),
        ("all: {volumes: {a: /gcs/x}}", "is '/gcs/x', but it must be another folder: Kubeflow or the system has /gcs"),
        ("all: {volumes: {a: /./gcs}}", "is '/./gcs', but it must be another folder"),
        (
            "all: {volumes: {a: /data/./}, secrets: {b: {path: /gcs//x}}}",
            "all.secrets.b.path is '/gcs//x', but it must be another",
        ),
        ("all: {secrets: {a: {path: /var/run/argo/x}}}", "all.secrets.a.path is '/var/run/argo/x', but it must be ano"),
        ("all: {volumes: {a: /proc}}", "all.volumes.a is '/proc', but it must be another folder"),
        ('all: {volumes: {a: "/data\\nx"}}', "all.volumes.a is '/data\\nx', but it must be a folder in the container"),
        ("all: {secrets: {a: {variables: {A: ''}}}}", "all.secrets.a.variables.A is '', but it must be a key of"),
        ("all: {secrets: {a: {variables: {A: b/c}}}}", "all.secrets.a.variables.A is 'b/c', but it must be a key of"),
        ("all: {node_selector: {'': a}}", "is '', but it must be a name of a label, such as pool"),
        ("all: {node_selector: {a b: c}}", "all.node_selector.a b is 'a b', but it must be a name of a label"),
        ("all: {node_selector: {pool: 'a b'}}", "all.node_selector.pool is 'a b', but it must be a value of a label"),
        ("all: {tolerations: [{key: a b, operator: Exists}]}", "is 'a b', but it must be a key of a taint"),
        ("all: {tolerations: [{key: a, value: b c}]}", "is 'b c', but it must be a value of a label"),
        (
            'all: {env: {A: "b\\0"}}',
            "all.env.A is 'b\\x00', but it must be a text of characters that can be written, without NUL.",
        ),
        (r'all: {env: {A: "\ud800"}}', "but it must be a text of characters that can be written"),
        (r'all: {volumes: {a: "/\ud800"}}', "but it must be a folder in the container"),
        ("all: {env: {PATH: /bin}}", "all.env.PATH is 'PATH', but it must be another name: the platform or the image"),
        (
            "all: {env: {ARGO_WORKFLOW_NAME: a}}",
            "all.env.ARGO_WORKFLOW_NAME is 'ARGO_WORKFLOW_NAME', but it must be an",
        ),
        ("all: {env: {KFP_POD_NAME: a}}", "must be another name: the platform or the image sets this one itself."),
        ("all: {env: {KFP_POD_UID: a}}", "must be another name"),
        ("all: {env: {ARGO_NODE_ID: a}}", "must be another name"),
        ("all: {env: {TRACESTATE: a}}", "must be another name"),
        ("all: {env: {_KFP_RUNTIME: a}}", "must be another name"),
        ("{platform: vertex, all: {env: {CLOUD_ML_PROJECT_ID: a}}}", "must be another name"),
        ("all: {secrets: {a: {variables: {ARGO_NODE_ID: b}}}}", "must be another name"),
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


def test_what_kubernetes_takes_is_taken():
    said = {
        "cpu_request": 0.001,
        "volumes": {"one": "/data/./", "two": "/data//inside", "three": "/.cacheable"},
        "secrets": {"key": {"variables": {"A": "..a.json"[1:], "B": "token"}}},
        "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4", "empty": ""},
        "tolerations": [{"operator": "Exists"}, {"key": "nvidia.com/gpu", "value": "yes"}],
        "env": {
            "A": "two\nlines",
            "ARGO": "a",
            "KFP_UI_URL": "https://kubeflow",
            "KFP_BERT_IMAGE": "mine",
            "MY_PATH": "",
        },
        "time_limit_minutes": 525_600,
    }
    step = read_cluster({"all": said}).all
    assert step.volumes == {"one": "/data", "two": "/data/inside", "three": "/.cacheable"}
    assert step.env == said["env"]
    assert step.node_selector == said["node_selector"]


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
    "retries": {"count": 1},
    "caching": False,
}


@pytest.mark.parametrize("section", ["all", "training"])
@pytest.mark.parametrize("name", ONLY_KUBERNETES)
def test_what_does_not_apply_on_vertex_is_refused_by_name(section, name):
    cluster = {"platform": "vertex", section: {name: ONLY_KUBERNETES[name]}}
    with pytest.raises(UserError, match=rf"^{section}\.{name} does not apply on Vertex: leave it out; \w"):
        read_cluster(cluster)
    assert read_cluster(cluster | {"platform": "kubernetes"})


def test_a_limit_of_all_tries_is_refused_on_vertex_by_name():
    cluster = {"all": {"retries": {"count": 1, "give_up_after_minutes": 30}}}
    assert read_cluster(cluster)
    with pytest.raises(UserError, match=r"^all\.retries\.give_up_after_minutes does not apply on Vertex: leave it out"):
        read_cluster(cluster | {"platform": "vertex"})


def test_a_toleration_of_a_kind_replaces_the_one_with_its_key():
    lasting = {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "seconds": 600}
    others = [{"key": "pool", "value": value} for value in ("a", "b")]
    cluster = read_cluster(
        {"all": {"tolerations": [{**lasting, "seconds": 5}, *others]}, "training": {"tolerations": [lasting]}}
    )
    found = [(one.key, one.value, one.seconds) for one in cluster.settings("training").tolerations]
    assert found == [("pool", "a", None), ("pool", "b", None), ("gpu", "", 600)]


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
    with pytest.raises(UserError, match=rf"{re.escape(given)} can't be read"):
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
    if whole and cluster.platform == "kubernetes":
        assert cluster.all.env["KFP_UI_URL"].startswith("https://")  # without it no version knows its run's page
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
