"""The step that deploys runs in every run of a ready pipeline, after the promotion."""

import os
import subprocess
import sys

import pytest
import yaml
from kfp import compiler

from kfp_bert_components.pipelines import train_and_deploy, train_and_deploy_to_ai_platform, train_and_deploy_to_kserve
from kfp_bert_components.registry import Registry
from tests.conftest import ROOT
from tests.support.examined import write_examined
from tests.support.http_folder import serving_folder
from tests.support.models import write_candidate
from tests.support.pipeline_runs import run_pipeline

PROMOTE_AND_DEPLOY = f"{ROOT / 'tests' / 'pipelines' / 'promotion_pipeline.py'}:promote_and_deploy"


def tasks_of(path):
    spec = yaml.safe_load(path.read_text())
    dags = [one["dag"] for one in (spec["root"], *spec["components"].values()) if "dag" in one]
    return {name: task for dag in dags for name, task in dag["tasks"].items()}, spec


@pytest.mark.parametrize(
    ("pipeline", "step"),
    [
        (train_and_deploy, "deploy-to-serving-directory"),
        (train_and_deploy_to_ai_platform, "deploy-to-ai-platform"),
        (train_and_deploy_to_kserve, "deploy-to-kserve"),
    ],
)
def test_it_depends_on_no_condition(tmp_path, pipeline, step):
    compiler.Compiler().compile(pipeline, str(tmp_path / "pipeline.yaml"))
    tasks, _ = tasks_of(tmp_path / "pipeline.yaml")
    assert "triggerPolicy" not in tasks[step]
    assert tasks[step]["dependentTasks"] == ["promote-model"]


def test_it_depends_on_no_condition_in_the_example(tmp_path):
    with serving_folder(ROOT / "component_specs") as url:
        command = [sys.executable, ROOT / "examples" / "train_and_deploy_by_url.py", tmp_path / "pipeline.yaml"]
        subprocess.run(command, check=True, env={**os.environ, "COMPONENT_SPECS": url})
    tasks, _ = tasks_of(tmp_path / "pipeline.yaml")
    assert tasks["deploy-to-serving-directory"]["dependentTasks"] == ["promote-model"]
    assert "triggerPolicy" not in tasks["deploy-to-serving-directory"]


@pytest.mark.slow
def test_a_run_that_holds_deploys_to_a_new_folder_and_to_one_that_was_deleted(tmp_path):
    registry = Registry(str(tmp_path / "registry"))
    registry.promote(*write_examined(tmp_path / "first", "first"))
    champion = registry.require_champion()
    held = write_candidate(
        tmp_path / "held", "held", outcome="HOLD", champion_version=1, champion_generation=champion.generation
    )
    for number, name in enumerate(("a", "b")):
        names = dict(zip(("model", "evaluation", "decision"), map(str, held), strict=True))
        found = run_pipeline(
            PROMOTE_AND_DEPLOY,
            tmp_path / str(number),
            **names,
            registry=registry.uri,
            serving_directory=str(tmp_path / name),
        )
        assert found["deploy-to-serving-directory"]["version"] == 1
        assert (tmp_path / name / "1" / "saved_model.pb").exists()
        assert registry.deployment("production").place["uri"] == str(tmp_path / name)
