"""A run killed in any step leaves registry and serving folder readable, and the next run goes through."""

import os
import random
import signal
import time

import pytest

from kfp_bert_components.local.events import StepStarted
from kfp_bert_components.local.execute import execute
from kfp_bert_components.local.pipelines import compile_pipeline
from kfp_bert_components.registry import Registry
from tests.support.pipeline_runs import run_pipeline, small_data

PIPELINE = "kfp_bert_components.pipelines:train_and_deploy"
STEPS = (
    "pin-data",
    "fetch-gcs-data",
    "prepare-text-data",
    "finetune-bert",
    "evaluate-model",
    "evaluate-champion",
    "compare-models",
    "promote-model",
    "deploy-to-serving-directory",
)
SAMPLE = ("prepare-text-data", "finetune-bert", "promote-model", "deploy-to-serving-directory")
EVERY = os.environ.get("KFP_BERT_ROUNDS") == "all"


@pytest.mark.long
def test_runs_killed_in_a_step_leave_everything_readable_and_the_next_one_goes_through(tmp_path):
    stores = {"registry": str(tmp_path / "registry"), "serving_directory": str(tmp_path / "serving")}
    arguments = {"sources": [str(small_data(tmp_path))], "epochs": 8, **stores}
    compile_pipeline(PIPELINE, tmp_path / "pipeline.yaml")
    chance = random.Random(0)
    for step in STEPS if EVERY else SAMPLE:
        kill_in(step, tmp_path, arguments, seconds=chance.uniform(0.3, 2.0))
        assert_readable(tmp_path)
    arguments["sources"] = arguments["sources"][0]
    run_pipeline(PIPELINE, tmp_path, **arguments)
    registry = Registry(stores["registry"])
    champion = registry.champion()
    assert champion is not None
    assert not registry.deployment_pending("production")
    assert_readable(tmp_path)
    assert list((tmp_path / "serving").glob("*/saved_model.pb"))


def kill_in(step, folder, arguments, seconds):
    """Kill the whole run `seconds` after `step` began."""
    with execute(folder / "pipeline.yaml", arguments, folder / "runs") as run:
        for event in run:
            if event == StepStarted(step):
                time.sleep(seconds)
                os.killpg(run.process_group, signal.SIGKILL)
                return


def assert_readable(folder):
    registry = Registry(str(folder / "registry"))
    champion = registry.champion()
    if champion is not None:
        assert champion.version in {version.version for version in registry.versions()}
        assert registry.verify() == []
    for version in (folder / "serving").glob("[0-9]*"):
        assert (version / "saved_model.pb").exists()
        assert (version / "variables").is_dir()
