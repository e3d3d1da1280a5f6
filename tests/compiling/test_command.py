"""`kfp-bert compile` is the function of the same name, with the file and the options put together."""

import pytest
import yaml
from click.testing import CliRunner

import kfp_bert_components as package
from kfp_bert_components import pipelines
from kfp_bert_components.cli.compile import command
from kfp_bert_components.errors import UserError

READY = "kfp_bert_components.pipelines:train_and_deploy"


def run(tmp_path, *words):
    return CliRunner().invoke(command, [READY, str(tmp_path / "pipeline.yaml"), *map(str, words)])


def test_the_file_and_the_options_say_the_same_as_the_function(tmp_path):
    (tmp_path / "cluster.yaml").write_text(
        "all: {images: from.file/a, env: {A: b}, caching: no}\ntraining: {memory_request: 6Gi, env: {C: d}}\n"
    )
    done = run(
        tmp_path,
        *("--cluster", tmp_path / "cluster.yaml"),
        *("--images", "my-team"),
        *("--set", "training.memory_request=12Gi"),
        *("--set", "training.env={E: f}"),
        *("--set", "all.caching=yes"),
        *("--set", "service_account=runner"),
    )
    assert done.exit_code == 0, done.output
    assert (
        done.output == f"Wrote {(made := tmp_path / 'pipeline.yaml')}.\nSubmit {made} with service_account='runner'.\n"
    )
    cluster = {
        "service_account": "runner",
        "all": {"images": "my-team", "env": {"A": "b"}},
        "training": {"memory_request": "12Gi", "env": {"C": "d", "E": "f"}},
    }
    package.compile(pipelines.train_and_deploy, tmp_path / "function.yaml", cluster)
    assert (tmp_path / "pipeline.yaml").read_text() == (tmp_path / "function.yaml").read_text()
    spec = yaml.safe_load((tmp_path / "pipeline.yaml").read_text())
    container = spec["deploymentSpec"]["executors"]["exec-finetune-bert"]["container"]
    assert container["resources"]["resourceMemoryRequest"] == "12Gi"
    assert container["image"] == f"my-team/python-tensorflow:{package.__version__}"


def test_volumes_of_every_step(tmp_path):
    pytest.importorskip("kfp.kubernetes")
    done = run(tmp_path, "--volume", "one:/data", "--volume", "two:/more")
    assert done.exit_code == 0, done.output
    spec, platforms = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == spec["deploymentSpec"]["executors"].keys()
    for one in executors.values():
        assert [(mount["constant"], mount["mountPath"]) for mount in one["pvcMount"]] == [
            ("one", "/data"),
            ("two", "/more"),
        ]


def test_a_mistake_names_the_option_or_the_file(tmp_path):
    (tmp_path / "cluster.yaml").write_text("training: {memry_request: 6Gi}\n")
    for words, says in [
        (("--cluster", tmp_path / "cluster.yaml"), "cluster.yaml: training.memry_request is not known; did you mean"),
        (("--cluster", tmp_path / "none.yaml"), "none.yaml can't be read"),
        (("--volume", "data"), "--volume 'data' has another form than my-claim:/data."),
        (("--volume", "a:/one", "--volume", "a:/two"), "--volume names the claim 'a' with two folders"),
        (("--volume", "data:there"), "all.volumes.data is 'there', but it must be a folder in the container"),
        (("--set", "training"), "--set 'training' has another form than training.memory_request=8Gi."),
        (("--set", "trainig.caching=no"), "trainig is not known; did you mean 'training'?"),
        (("--set", "training.env={A: b, A: c}"), "--set training.env={A: b, A: c} has 'A' twice"),
        (
            ("--set", "platform.name=vertex"),
            "platform is {'name': 'vertex'}, but it should be 'kubernetes' or 'vertex'.",
        ),
        (("--set", "platform=vertex", "--volume", "a:/b"), "all.volumes does not apply on Vertex"),
    ]:
        done = run(tmp_path, *words)
        assert isinstance(done.exception, UserError), (words, done.output, done.exception)
        assert says in str(done.exception)
        assert not (tmp_path / "pipeline.yaml").exists()


def test_messages_name_the_pipeline_as_the_user_does(tmp_path):
    path, target = tmp_path / "mine.py", str(tmp_path / "out.yaml")
    path.write_text("from kfp import dsl\n@dsl.component(base_image='python:3.11')\ndef mine(): pass\n")
    done = CliRunner().invoke(command, [f"{path}:mine", target, "--images", "my-team"])
    assert str(done.exception).startswith("mine has no image of kfp-bert-components")
    done = CliRunner().invoke(command, [f"{path}:mine", target, "--set", "training.cpu_limit=1"])
    assert done.output.startswith("mine has no step of this package that is of the kind training")
    done = CliRunner().invoke(command, [target, target, "--images", "my-team"])
    assert str(done.exception).startswith(f"{target} has no image of kfp-bert-components")
