"""Every example compiles for Kubeflow Pipelines and for Vertex AI Pipelines, with the images that it names."""

import os
import re
import runpy
import subprocess
import sys
import warnings
from functools import cache

import pytest
import yaml
from click.testing import CliRunner
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

import kfp_bert_components as package
from kfp_bert_components import cli
from kfp_bert_components.addresses import specs_url
from tests.conftest import ROOT
from tests.support.http_folder import serving_folder
from tests.support.kfp_server import KfpServer

EXAMPLES = ROOT / "examples"
BY_URL = "train_and_deploy_by_url"
NAMES = ["train_and_deploy", BY_URL, "nightly", "sweep", "train_on_gpus", "text_pairs", "korean"]
PLACE = "my-registry/my-team"
IMAGES = {f"{PLACE}/{name}:{package.__version__}" for name in ("python", "python-tensorflow")}


@pytest.fixture(scope="module")
def specs():
    with serving_folder(ROOT / "component_specs") as url:
        yield url


@pytest.fixture(scope="module")
def written(specs, tmp_path_factory):
    """Writes an example's pipeline as its user does, and gives the file."""
    folder = tmp_path_factory.mktemp("written")

    @cache
    def write(example):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COMPONENT_SPECS", specs)
            patch.setattr(sys, "argv", [f"{example}.py", str(folder / f"{example}.yaml")])
            runpy.run_path(str(EXAMPLES / f"{example}.py"), run_name="__main__")
        return folder / f"{example}.yaml"

    return write


def read(path):
    return yaml.load(path.read_text(), yaml.CSafeLoader)  # KFP's own way takes seconds


@pytest.mark.parametrize("example", NAMES)
def test_it_compiles_for_both_places_with_its_images(written, tmp_path, example):
    package.compile(written(example), tmp_path / "vertex.yaml", {"platform": "vertex"})
    for path in (written(example), tmp_path / "vertex.yaml"):
        spec = read(path)
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec(), ignore_unknown_fields=False)
        assert {one["container"]["image"] for one in spec["deploymentSpec"]["executors"].values()} == IMAGES
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks.keys() == {"clean-up-run", "exit-handler-1"}
    assert tasks["clean-up-run"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert tasks["clean-up-run"]["cachingOptions"] == {}


def test_by_url_it_is_the_pipeline_that_it_is_by_import(written):
    by_import, by_url = (read(written(example)) for example in ("train_and_deploy", BY_URL))
    for part in ("root", "deploymentSpec", "pipelineInfo"):
        assert by_url[part] == by_import[part]


def test_by_url_nothing_is_needed_but_kfp(specs, tmp_path):
    code = (
        "import runpy, sys; sys.modules['kfp_bert_components'] = None; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    example = EXAMPLES / f"{BY_URL}.py"
    assert f'"{specs_url()}"' in example.read_text()
    command = [sys.executable, "-c", f"import sys; del sys.argv[0]; {code}", example, tmp_path / "pipeline.yaml"]
    subprocess.run(command, check=True, env={**os.environ, "COMPONENT_SPECS": specs})
    assert f"image: {PLACE}/python-tensorflow:" in (tmp_path / "pipeline.yaml").read_text()


@pytest.mark.parametrize("example", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_without_a_target_it_says_how_it_is_called(specs, monkeypatch, capsys, example):
    monkeypatch.setenv("COMPONENT_SPECS", specs)
    monkeypatch.setattr(sys, "argv", [f"{example}.py"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / f"{example}.py"), run_name="__main__")
    assert "usage: " in f"{ended.value.code} {capsys.readouterr().err}" and ended.value.code != 0


def test_the_table_has_a_row_for_every_file():
    named = re.findall(r"\]\(([\w.-]+)\)", (EXAMPLES / "README.md").read_text())
    assert len(named) == len(set(named))
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file() and path.suffix != ".md"} <= set(named)


def test_the_nightly_schedule_by_kfp_alone_is_the_one_of_the_command(written, monkeypatch, tmp_path):
    for name in ("KFP_EXISTING_TOKEN", "KF_PIPELINES_ENDPOINT", "KFP_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    target = written("nightly")
    with KfpServer() as server:
        schedule = runpy.run_path(str(EXAMPLES / "nightly.py"))["schedule"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            schedule(str(target), server.url)
        words = ["schedule", "create", str(target), "--name", "nightly", "--cron", "0 3 * * *", "--host", server.url]
        # A name is used once: the first one goes out of the way.
        (by_kfp,) = server.schedules.values()
        server.schedules.clear()
        done = CliRunner().invoke(cli.group, [*words, "--experiment", "nightly"])
        assert done.exit_code == 0, (done.output, done.exception)
        (by_command,) = server.schedules.values()
    assert by_kfp["trigger"] == by_command["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert by_kfp["max_concurrency"] == 1 and by_kfp["no_catchup"]
    for name in ("display_name", "max_concurrency", "no_catchup"):
        assert by_kfp[name] == by_command[name]
