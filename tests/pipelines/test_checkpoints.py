"""In the ready pipelines a pod of training that is killed goes on from a checkpoint."""

import pytest
import yaml
from kfp import compiler

from kfp_bert_components import pipelines
from tests.support.kubeflow_cache import steps_of


@pytest.mark.parametrize("name", pipelines.__all__)
def test_checkpoints_are_beside_the_registry_and_training_stays_cached(name, tmp_path):
    compiler.Compiler().compile(getattr(pipelines, name), str(tmp_path / "pipeline.yaml"))
    spec = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    task = steps_of(spec)["finetune-bert"]
    assert task["inputs"]["parameters"]["registry"]["componentInputParameter"].endswith("registry")
    assert task["cachingOptions"] == {"enableCache": True}
