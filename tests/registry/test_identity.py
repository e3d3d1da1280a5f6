"""The registry's id: lost or damaged it is named before anything is moved, and written anew where it is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.deployment import deploy_to_serving_directory
from kfp_bert_components.errors import DamagedError, UserError
from kfp_bert_components.registry import Registry
from tests.support.directories import promote_graph

DAMAGED = [b"", b"{}", b'{"format": 1, "id": ""}', None]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry whose version 1 is deployed to the folder `served`."""
    registry = Registry(str(tmp_path / "registry"))
    promote_graph(registry, tmp_path, "a")
    deploy_to_serving_directory(registry.uri, str(tmp_path / "served"))
    return registry


def damage(registry: Registry, content: bytes | None) -> str:
    """Damage registry.json, or with None delete it; returns what is said of it."""
    if content is None:
        registry.store.delete("registry.json")
        return "registry.json is lost"
    registry.store.write("registry.json", content)
    return "registry.json has format None" if content == b"{}" else "registry.json is damaged"


def run(*arguments: str) -> tuple[str, str]:
    """The output of `kfp-bert registry`, and the sentence it ends with, if it fails."""
    result = CliRunner().invoke(command, list(arguments))
    assert result.exception is None or isinstance(result.exception, UserError), result.exception
    return result.output, str(result.exception or "")


@pytest.mark.parametrize("content", DAMAGED)
def test_nothing_is_promoted_and_repair_writes_what_the_records_say(
    registry: Registry, tmp_path: Path, content: bytes | None
) -> None:
    identity = registry.id()
    problem = damage(registry, content)
    with pytest.raises(DamagedError, match=f"{problem}.*kfp-bert registry repair"):
        promote_graph(registry, tmp_path, "b")
    assert registry.require_champion().version == 1 and registry.numbers() == [1]
    (said,) = registry.verify()
    assert problem in said
    output, error = run("repair", registry.uri)
    assert f"registry.json is written anew: the registry's id is {identity}." in output and error == ""
    assert "nothing to repair" not in output
    assert registry.id() == identity and registry.verify() == []
    assert "There is nothing to repair" in run("repair", registry.uri)[0]
    promote_graph(registry, tmp_path, "b")
    assert deploy_to_serving_directory(registry.uri, str(tmp_path / "served")).version == 2


def test_where_no_record_names_the_id_repair_says_what_to_do(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "registry" / "deployments" / "production.json").unlink()
    damage(registry, b"{}")
    _, error = run("repair", registry.uri)
    assert "no deployment record names it" in error and "take_over=true" in error
    registry.store.delete("registry.json")  # as it says
    promote_graph(registry, tmp_path, "b")
    with pytest.raises(UserError, match="take_over"):
        deploy_to_serving_directory(registry.uri, str(tmp_path / "served"))
    assert deploy_to_serving_directory(registry.uri, str(tmp_path / "served"), take_over=True).version == 2


@pytest.mark.parametrize("content", [b"{}", None])
def test_where_records_name_two_ids_repair_says_which_ones_to_delete(
    registry: Registry, tmp_path: Path, content: bytes | None
) -> None:
    identity, other = registry.id(), Registry(str(tmp_path / "other"))
    promote_graph(other, tmp_path / "of the other", "a")
    deploy_to_serving_directory(other.uri, str(tmp_path / "served by the other"), "staging")
    registry.store.write("deployments/staging.json", other.store.read("deployments/staging.json").data)
    damage(registry, content)
    _, error = run("repair", registry.uri)
    assert f"{identity} (production.json)" in error and f"{other.id()} (staging.json)" in error
    assert "delete the records that are not this registry's" in error
    registry.store.delete("deployments/staging.json")  # as it says
    output, error = run("repair", registry.uri)
    assert f"the registry's id is {identity}." in output and error == ""
    promote_graph(registry, tmp_path, "b")
    assert deploy_to_serving_directory(registry.uri, str(tmp_path / "served")).version == 2


def test_a_registry_that_never_had_an_id_gets_one(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    registry.record_deployment("production", "live", 1)
    assert registry.id(create=False) == "" and registry.id() == registry.id() != ""
    assert registry.record_deployment("production", "live", 2).registry == registry.id()
