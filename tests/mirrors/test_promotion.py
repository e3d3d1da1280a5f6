"""What people see of mirrors: in the step that promotes, in `registry list`, and with the command that tells them."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from kfp import compiler, dsl

import kfp_bert_components as package
from kfp_bert_components import pipelines
from kfp_bert_components.cli.registry import command
from kfp_bert_components.errors import UserError
from kfp_bert_components.mirrors import parse_mirrors
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.check_settings import check_settings
from kfp_bert_components.steps.promote_model import promote_model
from tests.support.model_registry_server import ModelRegistryServer
from tests.support.models import candidate_for, promote_next, write_candidate


@pytest.fixture
def server():
    with ModelRegistryServer() as running:
        yield running


@pytest.fixture
def address(server):
    return f"model-registry+{server.url}"


@pytest.fixture
def models(tmp_path):
    return Registry(str(tmp_path / "films"))


def run(*arguments, fails=False):
    result = CliRunner().invoke(command, list(arguments))
    assert isinstance(result.exception, UserError) if fails else result.exit_code == 0, result.output
    return result.output if not fails else str(result.exception)


def promote(models, folder, name, address):
    return promote_model(models.uri, *candidate_for(models, folder, name), mirror_to=[address])


def test_a_promotion_is_told(models, server, address, tmp_path, capsys):
    assert promote(models, tmp_path, "a", address).champion_version == "1"
    said = f"{address}#films knows that version 1 is champion: version 1 of films in Model Registry (API v1alpha3)."
    assert said in capsys.readouterr().out
    assert server.properties("registered_models", "films")["kfp_bert.champion"] == "1"
    listed = f"mirror {address}#films was told of version 1 (version 1 of films in Model Registry (API v1alpha3))"
    assert run("list", models.uri).splitlines()[-1] == listed
    assert json.loads(run("list", models.uri, "--json"))["mirrors"][f"{address}#films"]["champion"] == 1
    assert run("verify", models.uri).endswith("Everything is as it was stored.\n")


def test_a_mirror_that_fails_is_a_warning_until_a_run_that_promotes_nothing_tells_it(
    models, server, address, tmp_path, capsys
):
    server.faults[1] = 500
    assert promote(models, tmp_path, "a", address).champion_version == "1"
    out = capsys.readouterr().out
    assert f"Warning: {address}#films could not be told of the champion: GET {server.url}/api" in out
    assert f"The next run tries again, or: kfp-bert registry mirror {models.uri}" in out
    line = run("list", models.uri).splitlines()[-1]
    assert line.startswith(f"mirror {address}#films was told of no version yet; the last try failed: GET ")
    assert line.endswith(f'played fault 500"}}. Run kfp-bert registry mirror {models.uri}')
    hold = write_candidate(tmp_path / "hold", "b", outcome="HOLD", champion_version=1, champion_generation=1)
    promote_model(models.uri, *hold, mirror_to=[address])
    assert server.properties("registered_models", "films")["kfp_bert.champion"] == "1"
    assert "failed" not in run("list", models.uri)


def test_the_command_tells_all_mirrors_again_after_a_rollback(models, server, address, tmp_path):
    promote(models, tmp_path, "a", address)
    promote(models, tmp_path, "b", address)
    rolled = run("rollback", models.uri)
    assert f"Mirrors have to be told:\n\n    kfp-bert registry mirror {models.uri}\n" in rolled
    assert "was told of version 2 (" in (line := run("list", models.uri).splitlines()[-1])
    assert line.endswith(f"; the champion has changed since. Run kfp-bert registry mirror {models.uri}")
    assert "knows that version 1 is champion" in run("mirror", models.uri)
    assert server.properties("registered_models", "films")["kfp_bert.champion"] == "1"
    assert "has changed since" not in run("list", models.uri)


def test_the_command_tells_a_new_mirror_and_forgets_one(models, address, server, tmp_path):
    promote_next(models, tmp_path, "a")
    assert "has no mirror yet: name one with --to." in run("mirror", models.uri, fails=True)
    assert "knows that version 1 is champion" in run("mirror", models.uri, "--to", f"{address}#one")
    server.faults[len(server.calls) + 1] = 500
    assert "#two could not be told of the champion" in run("mirror", models.uri, "--to", f"{address}#two", fails=True)
    assert "did you mean" in run("mirror", models.uri, "--forget", f"{address}#tow", fails=True)
    assert "is forgotten here" in run("mirror", models.uri, "--forget", f"{address}#two")
    assert list(models.mirrors()) == [f"{address}#one"]


def test_a_registry_without_champion_tells_nobody(models, server, address, tmp_path):
    hold = write_candidate(tmp_path / "hold", "a", outcome="HOLD")
    assert promote_model(models.uri, *hold, mirror_to=[address]).champion_version == ""
    assert server.calls == [] and models.mirrors() == {}


def test_a_damaged_record_of_mirrors_stops_no_promotion(models, server, address, tmp_path, capsys):
    promote(models, tmp_path, "a", address)
    Path(models.uri, "mirrors.json").write_text("{")
    assert promote(models, tmp_path, "b", address).champion_version == "2"
    assert server.properties("registered_models", "films")["kfp_bert.champion"] == "2"
    assert "mirrors.json is damaged: it is no JSON object; delete it" in capsys.readouterr().out
    assert "mirrors.json is damaged" in run("list", models.uri, fails=True)
    assert "1 problem found" in run("verify", models.uri, fails=True)


# As it was written first: it is read for good.
FORMAT_1 = """{
 "format": 1,
 "mirrors": {
  "mlflow+https://mlflow.example.com#films": {
   "champion": 2,
   "named": "version 5 of films on MLflow",
   "problem": "API request failed with error code 503 != 200.",
   "at": "2026-11-29T14:00:00.000Z",
   "by": "ann on laptop",
   "origin": {
    "user": "ann"
   }
  }
 }
}
"""


def test_the_record_of_format_1_is_read_and_one_of_a_later_format_is_not(models, tmp_path):
    promote_next(models, tmp_path, "a")
    Path(models.uri, "mirrors.json").write_text(FORMAT_1)
    (record,) = models.mirrors().values()
    assert (record.champion, record.named, record.by) == (2, "version 5 of films on MLflow", "ann on laptop")
    Path(models.uri, "mirrors.json").write_text(FORMAT_1.replace('"format": 1', '"format": 2'))
    with pytest.raises(UserError, match="update kfp-bert-components"):
        models.mirrors()


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (
            "https://host",
            "is no address of a mirror: give mlflow+https://HOST for MLflow or model-registry+https://HOST",
        ),
        ("wandb+https://host", "is no address of a mirror"),
        ("mlflow+sqlite:///x", "is no address of a mirror"),
        ("mlflow+https://", "is no address of a mirror"),
        ("mlflow+https://host:port", "is no address of a mirror"),
        ("mlflow+https://host?x=1", "is no address of a mirror"),
        ("mlflow+https://ann:secret@host", "'mlflow+https://...@host' has a user in it"),
        ("mlflow+https://host#a/b", "'a/b' can't be the name of a registered model at host"),
        (f"model-registry+https://host#{'n' * 251}", "can't be the name of a registered model at host"),
    ],
)
def test_an_address_that_is_none_is_refused_before_anything_is_done(models, tmp_path, address, why):
    with pytest.raises(UserError) as refused:
        promote(models, tmp_path, "a", address)
    assert why in str(refused.value) and "secret" not in str(refused.value)
    assert not models.exists()
    with pytest.raises(UserError, match="promote_model would refuse its settings: "):
        check_settings({}, {}, {}, "", [address], models.uri)


def test_an_address_is_read_with_its_name_and_counts_once():
    given = ["mlflow+https://host/mlflow/", "mlflow+https://host/mlflow#films", "model-registry+http://h:8080#영화%20a"]
    found = parse_mirrors(given, "gs://bucket/films/")
    assert [str(one) for one in found] == ["mlflow+https://host/mlflow#films", "model-registry+http://h:8080#영화 a"]
    assert parse_mirrors([str(one) for one in found], "gs://bucket/other") == found


def test_the_component_tells_its_mirrors(models, server, address, tmp_path):
    given = [dsl.Artifact(uri=str(path)) for path in candidate_for(models, tmp_path, "a")]
    package.promote_model.python_func(*given, registry=models.uri, mirror_to=[address])
    assert server.properties("registered_models", "films")["kfp_bert.champion"] == "1"


@pytest.mark.parametrize("name", pipelines.__all__)
def test_a_ready_pipeline_gives_its_mirrors_to_the_steps_that_promote_and_check(name, tmp_path):
    compiler.Compiler().compile(getattr(pipelines, name), str(tmp_path / "pipeline.yaml"))
    spec = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    dags = [one["dag"]["tasks"] for one in spec["components"].values() if "dag" in one]
    for task in ("promote-model", "pin-data"):
        (inputs,) = (tasks[task]["inputs"]["parameters"] for tasks in dags if task in tasks)
        assert inputs["mirror_to"]["componentInputParameter"].endswith("mirror_to")
