"""The main pipeline in the images that its specs name, through kfp.local's DockerRunner."""

import json

import pytest
from kfp import compiler, components, local

from kfp_bert_components.local.results import read_outputs
from kfp_bert_components.pipelines import train_and_deploy
from kfp_bert_components.registry import Registry
from tests.support.pipeline_runs import small_data

pytestmark = [
    pytest.mark.docker,
    # The Docker client's own sockets, closed by the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_the_same_yaml_runs_in_containers_to_a_served_model(tmp_path):
    compiler.Compiler().compile(train_and_deploy, str(tmp_path / "pipeline.yaml"))
    # The runner mounts the pipeline root, and that alone, so everything lies under it.
    root = tmp_path / "root"
    root.mkdir()
    data = small_data(root)
    local.init(local.DockerRunner(network_mode="host"), pipeline_root=str(root))
    pipeline = components.load_component_from_file(str(tmp_path / "pipeline.yaml"))
    pipeline(sources=[str(data)], registry=str(root / "registry"), serving_directory=str(root / "serving"))

    (run,) = root.glob("train-and-deploy-*")
    outputs = read_outputs(run)
    # The runner can report success for a container that failed: what counts is what lies on disk.
    assert outputs["compare-models"]["outcome"] == "PROMOTE", outputs["compare-models"]["reason"]
    assert Registry(str(root / "registry")).champion().version == 1
    assert (root / "serving" / "1" / "saved_model.pb").exists()
    bundle = json.loads((outputs["finetune-bert"]["model"] / "bundle.json").read_text())
    assert "dialogue" in bundle["labels"]
