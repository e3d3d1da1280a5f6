"""The place that a cluster pulls our images from is said in one way, for components by import and by URL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp import compiler, components, dsl

import kfp_bert_components as package
from kfp_bert_components import pipelines, use_images
from kfp_bert_components.errors import UserError
from tests.conftest import ROOT
from tests.support.http_folder import serving_folder

SPECS = ROOT / "component_specs"
PLACE = "registry.example.com:5000/my-team"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def say(text: str):
    print(text)


@dsl.component(base_image="someone/kfp-bert-components/python:0.1.0", install_kfp_package=False)
def say_elsewhere(text: str):
    print(text)


def images_of(pipeline):
    """The images of a pipeline or component, in the order of its executors' names."""
    executors = yaml.safe_load(pipeline.component_yaml)["deploymentSpec"]["executors"]
    return [executors[name]["container"]["image"] for name in sorted(executors)]


def compiled(pipeline, path):
    compiler.Compiler().compile(pipeline, str(path))
    return path.read_text()


def environment(**more):
    return {**os.environ, **more}


def compile_command(*words, **more):
    return subprocess.run(
        [sys.executable, "-m", "kfp_bert_components.cli", "compile", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**more),
    )


@pytest.mark.parametrize("name", package.COMPONENTS)
def test_every_component_is_the_same_by_import_by_file_and_by_url(tmp_path, name):
    file = SPECS / name / "component.yaml"
    with serving_folder(SPECS) as url:
        by_url = use_images(components.load_component_from_url(f"{url}/{name}/component.yaml"), PLACE)
    (image,) = images_of(components.load_component_from_file(str(file)))
    assert images_of(by_url) == [image.replace("kfp-bert-components/", f"{PLACE}/")] != [image]
    assert use_images(file, PLACE).component_yaml == by_url.component_yaml
    by_import = use_images(getattr(package, name), PLACE)
    version = "sdkVersion: "  # the one line that differs between releases of kfp
    lines = [line for line in by_import.component_yaml.splitlines() if not line.startswith(version)]
    assert lines == [line for line in by_url.component_yaml.splitlines() if not line.startswith(version)]


@pytest.mark.parametrize("pipeline", pipelines.__all__)
def test_a_ready_pipeline_is_as_if_it_were_compiled_with_the_place(tmp_path, pipeline):
    name = f"kfp_bert_components.pipelines:{pipeline}"
    place = f"{PLACE}/" if pipeline == "train_and_deploy" else PLACE  # a slash at the end changes nothing
    done = compile_command(name, tmp_path / "rewritten.yaml", "--images", place)
    assert done.returncode == 0, done.stderr
    done = compile_command(name, tmp_path / "by_environment.yaml", KFP_BERT_IMAGES=place)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "rewritten.yaml").read_text()
    assert text == (tmp_path / "by_environment.yaml").read_text()
    assert f"image: {PLACE}/python-tensorflow:{package.__version__}\n" in text
    assert "image: kfp-bert-components/" not in text
    # In Python it is the same pipeline.
    package.compile(getattr(pipelines, pipeline), tmp_path / "in_python.yaml", {"all": {"images": PLACE}})
    assert (tmp_path / "in_python.yaml").read_text() == text
    # The function that only changes images changes them alike.
    assert images_of(use_images(getattr(pipelines, pipeline), PLACE)) == images_of(
        components.load_component_from_text(text)
    )


def test_components_by_file_and_by_import_and_others_in_one_pipeline(tmp_path):
    compare = components.load_component_from_file(str(SPECS / "compare_models" / "component.yaml"))

    @dsl.pipeline(name="mixed")
    def mixed(model: str):
        imported = dsl.importer(artifact_uri=model, artifact_class=dsl.Artifact).output
        with dsl.If(model != ""):
            compare(candidate=imported, champion=imported)
        package.fetch_gcs_data(sources=["a.csv"])
        package.promote_model(model=imported, evaluation=imported, decision=imported, registry="r").set_container_image(
            "mine/fork:2"
        )
        say(text="hello")
        say_elsewhere(text="hello")

    ours = f"{PLACE}/python:{package.__version__}"
    executors = yaml.safe_load(use_images(mixed, PLACE).component_yaml)["deploymentSpec"]["executors"]
    assert {name: e["container"]["image"] for name, e in executors.items() if "container" in e} == {
        "exec-compare-models": ours,
        "exec-fetch-gcs-data": ours,
        "exec-promote-model": "mine/fork:2",
        "exec-say": "python:3.11",
        "exec-say-elsewhere": "someone/kfp-bert-components/python:0.1.0",
    }
    before = yaml.safe_load(compiled(mixed, tmp_path / "before.yaml"))
    after = yaml.safe_load(use_images(mixed, PLACE).component_yaml)
    for executor in (*before["deploymentSpec"]["executors"].values(), *after["deploymentSpec"]["executors"].values()):
        executor.get("container", {}).pop("image", None)
    assert after == before


def test_what_it_gives_is_a_step_for_a_pipeline():
    fetch = use_images(package.fetch_gcs_data, PLACE)

    @dsl.pipeline(name="fetch-only")
    def fetch_only():
        fetch(sources=["a.csv"])

    (executor,) = fetch_only.pipeline_spec.deployment_spec["executors"].values()
    assert executor["container"]["image"] == f"{PLACE}/python:{package.__version__}"


def test_a_pipeline_that_names_the_place_already_stays_as_it_is():
    once = use_images(pipelines.train_and_deploy, PLACE)
    assert use_images(once, PLACE).component_yaml == once.component_yaml


def test_another_version_keeps_its_number(tmp_path):
    text = (SPECS / "compare_models" / "component.yaml").read_text()
    older = tmp_path / "component.yaml"
    older.write_text(text.replace(f"python:{package.__version__}", "python:0.0.9"))
    assert images_of(use_images(older, PLACE)) == [f"{PLACE}/python:0.0.9"]


def test_settings_of_the_platform_stay(tmp_path):
    text = (SPECS / "compare_models" / "component.yaml").read_text()
    both = tmp_path / "component.yaml"
    both.write_text(f"{text}---\nplatforms:\n  kubernetes:\n    deploymentSpec:\n      executors: {{}}\n")
    documents = list(yaml.safe_load_all(use_images(both, PLACE).component_yaml))
    assert documents[1] == {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}


GOOD = ["my-team", "localhost/team", "localhost:5000", "europe-west4-docker.pkg.dev/my-project/bert", "ghcr.io/a/b__c"]


@pytest.mark.parametrize("place", GOOD)
def test_places_of_every_kind_of_registry(place):
    assert images_of(use_images(package.fetch_gcs_data, place)) == [f"{place}/python:{package.__version__}"]


BAD = [
    "",
    "/",
    " ",
    "my team",
    "my-team ",
    "my-team:1.0",
    "ghcr.io/my-team:1.0",
    "https://ghcr.io/a",
    "My-Team",
    "a//b",
    "ghcr.io/a@sha256:00",
    None,
    3,
]


@pytest.mark.parametrize("place", BAD)
def test_where_no_image_can_lie(place):
    with pytest.raises(UserError, match=r"No images can lie at .*registry\.example\.com/my-team"):
        use_images(package.fetch_gcs_data, place)


def test_the_variable_is_checked_too(tmp_path):
    done = compile_command(
        "kfp_bert_components.pipelines:train_and_deploy", tmp_path / "pipeline.yaml", KFP_BERT_IMAGES="my team"
    )
    assert done.returncode == 1
    assert "No images can lie at 'my team'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "pipeline.yaml").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "a: 1", "hello"])
def test_what_is_no_pipeline(tmp_path, text):
    (tmp_path / "other.yaml").write_text(text)
    with pytest.raises(UserError, match=r"other\.yaml is no compiled KFP pipeline"):
        use_images(tmp_path / "other.yaml", PLACE)


def test_a_default_with_a_line_break_of_which_kfp_makes_no_yaml_is_named(tmp_path):
    @dsl.pipeline
    def judged(rules: str = "alpha: 0.05\nmargin: 0.1"):
        say(text=rules)

    with pytest.raises(UserError, match="judged: the default of rules has a line break"):
        use_images(judged, PLACE)


@pytest.mark.parametrize("thing", [3, None, images_of, Path("missing.yaml")])
def test_what_is_not_even_a_file(thing):
    with pytest.raises(UserError, match="is no pipeline|missing.yaml can't be read"):
        use_images(thing, PLACE)


def test_a_pipeline_without_our_images_is_no_success():
    with pytest.raises(UserError, match=r"say has no image of kfp-bert-components.*it has python:3\.11"):
        use_images(say, PLACE)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("no_such_module:pipeline", "pipeline.yaml"), "no_such_module"),
        (("kfp_bert_components.pipelines:train_and_deploy", "pipeline.txt"), "pipeline.txt"),
        (("kfp_bert_components.pipelines:train_and_deploy", "missing/pipeline.yaml"), "missing/pipeline.yaml"),
        (
            ("kfp_bert_components.pipelines:train_and_deploy", "pipeline.yaml", "--images", ""),
            "No images can lie at ''",
        ),
    ],
)
def test_a_mistake_at_the_command_line_is_one_sentence(tmp_path, monkeypatch, words, named):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.chdir(tmp_path)
    done = compile_command(*words)
    assert done.returncode == 1
    (sentence,) = done.stderr.strip().splitlines()
    assert sentence.startswith("error: ") and named in sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [PLACE, f"{PLACE}/"])
def test_make_images_names_and_pushes_what_pipelines_ask_for(place):
    command = ["make", "--dry-run", "DOCKER=engine", "images", f"IMAGES={place}", "PUSH=1", "CUDA=1"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    tagged = [line.split("--tag ")[1].split()[0] for line in printed.splitlines() if "--tag" in line]
    assert {*images_of(use_images(pipelines.train_and_deploy, place))} | {f"{PLACE}/serve:{package.__version__}"} == {
        *tagged
    }
    assert printed.count("--build-arg CUDA=1") == 3
    assert f"for image in python python-tensorflow serve; do engine push {PLACE}/$image:" in printed
