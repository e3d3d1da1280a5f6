"""What depends on what: the table in docs/caching.md, by the keys of Kubeflow's cache and by runs on this machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kfp_bert_components.local.events import StepStarted
from kfp_bert_components.local.execute import execute
from kfp_bert_components.local.pipelines import compile_pipeline
from tests.conftest import ROOT
from tests.support.http_folder import serving_folder
from tests.support.kubeflow_cache import Cluster, cached_steps, steps_of
from tests.support.pipeline_runs import small_data
from tests.support.stub_steps import with_stubs

READY = [
    f"kfp_bert_components.pipelines:{name}"
    for name in ("train_and_deploy", "train_and_deploy_to_ai_platform", "train_and_deploy_to_kserve")
]
CACHED = ["fetch-gcs-data", "prepare-text-data", "finetune-bert", "evaluate-model"]
NOTHING, DATA, BASE = "nothing", "a byte of the data", "a file of the base model"


def table() -> dict[str, set[str]]:
    """What changes, and which of the cached steps run again."""
    text = (ROOT / "docs" / "caching.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    found: dict[str, set[str]] = {}
    for what, *cells in rows[1:]:
        again = {step for step, cell in zip(CACHED, cells, strict=True) if cell == "again"}
        for one in what.split(", "):
            found[one.strip("`")] = again
    return found


@pytest.fixture(scope="module", params=[*READY, "example"])
def spec(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    if request.param in READY:
        return compile_pipeline(request.param, path)
    with serving_folder(ROOT / "component_specs") as url:
        command = [sys.executable, ROOT / "examples" / "train_and_deploy_by_url.py", path]
        subprocess.run(command, check=True, env={**os.environ, "COMPONENT_SPECS": url})
    return yaml.safe_load(path.read_text())


def run(cluster, spec, arguments, world):
    """The steps that run while the data and the base model are as `world` has them."""
    pin = {
        "fingerprint": world[DATA],
        "manifest": f"{arguments['registry']}/pins/{world[DATA]}.json",
        "base_model_pin": world[BASE],
        "pin": world[DATA] + world[BASE],
        "changed": True,
    }
    return cluster.run(spec, arguments, lambda task: pin if task == "pin-data" else {})


def first_run(spec):
    """A cluster on which the pipeline ran, with the arguments and the world of that run."""
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    arguments = {name: ["a"] if one["parameterType"] == "LIST" else "a" for name, one in parameters.items()}
    cluster, world = Cluster(), {DATA: "1", BASE: "1"}
    assert run(cluster, spec, arguments, world) == steps_of(spec).keys()
    return cluster, arguments, world


def test_the_documented_steps_run_again_and_no_others(spec):
    cluster, arguments, world = first_run(spec)
    documented, always = table(), steps_of(spec).keys() - set(CACHED)
    for what in [NOTHING, DATA, BASE, *arguments]:
        assert what in documented, f"docs/caching.md has no row for {what}"
        changed = {name: "b" if name == what else value for name, value in arguments.items()}
        ran = run(cluster, spec, changed, {name: "2" if name == what else value for name, value in world.items()})
        assert ran == documented[what] | always, what


def test_a_result_of_a_step_that_is_never_cached_reaches_cached_ones_as_a_parameter_only(spec):
    assert cached_steps(spec) == set(CACHED)
    for name in CACHED:
        artifacts = steps_of(spec)[name].get("inputs", {}).get("artifacts", {}).values()
        assert {one["taskOutputArtifact"]["producerTask"] for one in artifacts} <= set(CACHED)


def test_the_cluster_of_these_tests_trains_again_where_the_fetch_is_never_cached(spec):
    spec = yaml.safe_load(yaml.safe_dump(spec))
    steps_of(spec)["fetch-gcs-data"]["cachingOptions"] = {}
    cluster, arguments, world = first_run(spec)
    assert run(cluster, spec, arguments, world) == steps_of(spec).keys()


@pytest.mark.slow
def test_kfp_on_this_machine_runs_the_same_steps(tmp_path):
    spec = tmp_path / "pipeline.yaml"
    pipeline = compile_pipeline(READY[0], spec)
    with_stubs(spec, real={"exec-pin-data", "exec-fetch-gcs-data"})
    data, base = small_data(tmp_path, rows=20), tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    arguments = {
        "sources": [str(data)],
        "registry": str(tmp_path / "registry"),
        "serving_directory": str(tmp_path / "serving"),
        "base_model": str(base),
    }

    def ran(**changed: object) -> set[str]:
        with execute(spec, arguments | changed, tmp_path / "runs") as running:
            started = {event.step.rpartition("/")[2] for event in running if isinstance(event, StepStarted)}
            assert running.ok
        return started

    always = steps_of(pipeline).keys() - set(CACHED)
    assert ran() == {*CACHED, *always}
    assert ran() == always
    assert ran(alpha=0.01) == always
    change_keeping_size_and_time(data)
    assert ran() == {*CACHED, *always}
    (base / "config.json").write_text("[]")
    assert ran() == {"finetune-bert", "evaluate-model", *always}


def change_keeping_size_and_time(path: Path) -> None:
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-3] + b"xyz")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
