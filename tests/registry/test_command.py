"""The command `kfp-bert registry`, as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.errors import UserError
from kfp_bert_components.registry import Registry
from tests.support.models import promote_next
from tests.support.s3_server import S3Server
from tests.support.stores import s3

__all__ = ["s3"]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    uri = str(tmp_path / "registry")
    for name in ("a", "b", "c"):
        promote_next(Registry(uri), tmp_path, name)
    Registry(uri).record_deployment("production", "live", 3)
    return uri


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_list_shows_champion_and_deployments(uri: str) -> None:
    lines = run("list", uri).splitlines()
    assert len(lines) == 4 and lines[3].endswith("Scores of different test sets can't be compared.")
    assert "champion, live on production" in lines[2] and "macro_f1 0.9100" in lines[2]
    value = json.loads(run("list", uri, "--json"))
    assert value["champion"] == 3 and [one["version"] for one in value["versions"]] == [1, 2, 3]


def test_list_names_a_variable_that_can_not_be_what_it_stands_for(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hunter2\n")
    result = CliRunner().invoke(command, ["list", "s3://bucket/registry"])
    assert isinstance(result.exception, UserError)
    assert "The value of AWS_SESSION_TOKEN has white space at an end" in str(result.exception)
    assert "hunter2" not in f"{result.exception} {result.output}"


def test_list_names_the_right_that_is_lacking_on_a_bucket(s3: S3Server) -> None:
    s3.create_bucket("bucket", forbidden={"LIST"})
    result = CliRunner().invoke(command, ["list", "s3://bucket/registry"])
    assert "lacks the permission s3:ListBucket on the bucket. Grant it" in str(result.exception)


def test_show_prints_the_card_of_the_champion_or_a_version(uri: str) -> None:
    assert "# Text classifier, version 3" in run("show", uri)
    assert json.loads(run("show", uri, "1", "--json"))["data_fingerprint"] == "data of a"


def test_rollback_says_what_is_left_to_do_and_history_why(uri: str) -> None:
    output = run("rollback", uri, "--reason", "wrong labels")
    assert output == (
        "The champion is version 2.\n"
        "A run that makes the model of version 3 again does not promote it. Other models are compared as usual.\n"
        "It has to be deployed to production.\n"
    )
    assert "rolled back from version 3 to version 2: wrong labels." in run("history", uri)


@pytest.mark.parametrize("verb", ["list", "verify", "history", "gc", "rollback"])
def test_a_record_that_can_not_be_looked_at_is_named_and_nothing_is_changed(uri: str, verb: str) -> None:
    record = Path(uri, "deployments/production.json")
    record.unlink()
    record.symlink_to(record.name)
    result = CliRunner().invoke(command, [verb, uri])
    assert isinstance(result.exception, UserError) and f"{record} can't be read: " in str(result.exception)
    assert Registry(uri).require_champion().version == 3


def test_rollback_names_damaged_mirrors_and_says_all_that_is_left_to_do(uri: str) -> None:
    Path(uri, "mirrors.json").write_text("{")
    output = run("rollback", uri)
    assert "The champion is version 2.\n" in output and "It has to be deployed to production.\n" in output
    assert f"Mirrors may have to be told: {uri}/mirrors.json is damaged" in output


def test_a_reason_and_a_user_of_another_encoding_damage_nothing(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "caf\udce9")
    Registry(uri).record_deployment("production", "failed", 3, reason="\udcb0")
    run("rollback", uri, "--reason", "\udcb0\udca1")
    assert "champion" in run("list", uri).splitlines()[1]
    assert r"\udcb0\udca1. (caf\udce9 on" in run("history", uri)
    run("verify", uri)


def test_verify_succeeds_or_names_each_problem(uri: str) -> None:
    assert "Everything is as it was stored." in run("verify", uri)
    assert json.loads(CliRunner().invoke(command, ["verify", uri, "--json"]).stdout) == {"problems": []}
    Path(uri, "versions/2/README.md").write_text("another card")
    result = CliRunner().invoke(command, ["verify", uri])
    assert isinstance(result.exception, UserError)
    assert "README.md was changed" in result.output
    result = CliRunner().invoke(command, ["verify", uri, "--json"])
    (problem,) = json.loads(result.stdout)["problems"]
    assert "README.md was changed" in problem and isinstance(result.exception, UserError)


def test_gc_says_what_it_keeps_and_removes(uri: str) -> None:
    assert "would remove  1: older than" in run("gc", uri, "--keep", "1", "--dry-run")
    assert "removed  1: older than" in run("gc", uri, "--keep", "1")
    assert len(run("list", uri).splitlines()) == 3  # two versions and a remark


@pytest.mark.parametrize("verb", ["list", "gc", "repair", "history", "verify"])
def test_a_folder_that_is_no_registry_is_named(tmp_path: Path, verb: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    result = CliRunner().invoke(command, [verb, str(tmp_path)])
    assert str(result.exception) == f"{tmp_path} is no registry: nothing is there that one holds. Check the address."


def test_an_empty_registry_says_so(tmp_path: Path) -> None:
    assert "holds no version yet" in run("list", str(tmp_path))
    assert "Nothing has happened yet" in run("history", str(tmp_path))
