"""A champion that is lost or damaged: everybody says so, nobody starts anew, and there is a way out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.errors import DamagedError, NotFoundError, UserError
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.evaluate_champion import evaluate_champion
from kfp_bert_components.steps.promote_model import promote_model
from tests.support.evaluations import some_test_set
from tests.support.models import candidate_for, promote_next, write_candidate
from tests.support.promoters import interrupt
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3"]

FORMAT_1 = Path(__file__).parents[1] / "records" / "format1" / "registry"


@pytest.fixture
def registry(place: str, tmp_path: Path) -> Registry:
    """A registry with the versions 1 and 2, the second one champion."""
    registry = Registry(place)
    for name in ("a", "b"):
        promote_next(registry, tmp_path, name)
    return registry


def run(*arguments: str, answer: str | None = None) -> tuple[str, str]:
    """The output of `kfp-bert registry`, and the sentence it ends with, if it fails."""
    result = CliRunner().invoke(command, list(arguments), input=answer)
    assert result.exception is None or isinstance(result.exception, UserError), result.exception
    return result.output, str(result.exception or "")


def damage(registry: Registry, version: int) -> None:
    registry.store.write(f"versions/{version}/bundle/saved_model/part0", b"something else")


def test_a_lost_pointer_is_damage_and_everybody_says_so(registry: Registry, tmp_path: Path) -> None:
    candidate = write_candidate(tmp_path / "c")  # compared with no champion, as evaluate_champion would have it
    registry.store.delete("champion.json")
    lost = r"champion\.json is lost.*kfp-bert registry repair"
    for call in (
        registry.champion,
        registry.gc,
        registry.rollback,
        registry.history,
        lambda: registry.promote(*candidate),
        lambda: promote_model(registry.uri, *candidate),
        lambda: evaluate_champion(registry.uri, tmp_path / "test", tmp_path / "evaluation", tmp_path / "r.html"),
        lambda: registry.deployment_pending("production"),
    ):
        with pytest.raises(DamagedError, match=lost):
            call()
    (problem,) = registry.verify()
    assert "champion.json is lost" in problem
    listed, error = run("list", registry.uri)
    assert [line.split()[0] for line in listed.splitlines()[:-1]] == ["1", "2"] and "champion.json is lost" in error
    assert registry.numbers() == [1, 2]  # nothing was removed


@pytest.mark.parametrize("number", [1, 2])
def test_repair_makes_a_version_champion_and_the_registry_goes_on(
    registry: Registry, tmp_path: Path, number: int
) -> None:
    done = candidate_for(Registry(f"{registry.uri}/other"), tmp_path / "again", "b")  # the decision of version 2
    registry.store.delete("champion.json")
    assert f"The champion is version {number}." in run("repair", registry.uri, "--version", str(number))[0]
    assert registry.require_champion().version == number and registry.verify() == []
    assert [event.text.partition(":")[0] for event in registry.history()] == [
        "Version 1 became champion, the first one",
        "Version 2 became champion, in place of version 1",
        f"Version {number} was made champion by a repair",
    ]
    assert registry.history()[-1].text.endswith("by a repair: champion.json was lost.")
    assert registry.promote(*done) == 2  # it has happened: it is not made twice
    assert promote_next(registry, tmp_path, "c") == 3
    assert registry.gc(keep=1, unfinished_hours=0).remove.keys() == {3 - number}
    assert registry.rollback().version == number


def test_repair_asks_which_version_and_changes_nothing_without_an_answer(registry: Registry) -> None:
    registry.store.delete("champion.json")
    output, error = run("repair", registry.uri, answer="")
    assert "version 1 is whole" in output and "version 2 is whole" in output
    assert "--version 2" in error and not registry.store.exists("champion.json")
    registry.record_deployment("production", "live", 1)
    output, _ = run("repair", registry.uri, answer="\n")  # what serves now is what it offers
    assert "live on production" in output and "The champion is version 1." in output


def test_repair_does_nothing_where_nothing_is_wrong(registry: Registry, tmp_path: Path) -> None:
    before = registry.store.list()
    assert "There is nothing to repair" in run("repair", registry.uri)[0]
    assert "There is nothing to repair" in run("repair", registry.uri, "--start-over")[0]
    for call in (lambda: registry.repair(1), registry.start_over):
        with pytest.raises(UserError, match="nothing to repair"):
            call()
    assert registry.store.list() == before
    (tmp_path / "new").mkdir()
    assert "it has no champion yet" in run("repair", str(tmp_path / "new"))[0]


@pytest.mark.parametrize("verb", ["list", "history", "gc", "repair", "verify", "rollback", "show"])
def test_a_folder_that_is_not_there_or_is_a_file_is_a_sentence(tmp_path: Path, verb: str) -> None:
    (tmp_path / "file").write_text("hello")
    for name in ("none", "file", "file/below"):
        assert str(tmp_path / name) in run(verb, str(tmp_path / name))[1]
    assert "control character" in run(verb, "file:///tmp/%00x")[1]


@pytest.mark.parametrize("version", [1, "2", 2.0, True, 77])
def test_a_pointer_that_contradicts_its_log_is_damaged(registry: Registry, version: object) -> None:
    pointer = json.loads(registry.store.read("champion.json").data)
    registry.store.write("champion.json", json.dumps({**pointer, "version": version}).encode())
    with pytest.raises(DamagedError, match="champion.json is damaged.*registry repair"):
        registry.champion()
    assert registry.repair(2).version == 2


def test_advice_about_a_damaged_version_helps(registry: Registry, tmp_path: Path) -> None:
    for number, name in ((1, "claim.json"), (1, "version.json"), (2, "claim.json")):
        registry.store.write(f"versions/{number}/{name}", b"{}")
    claims = [f"{registry.store.describe(f'versions/{number}/claim.json')} has" for number in (1, 2)]
    problems = registry.verify()
    assert [one.partition(" format")[0] for one in problems[:2]] == claims
    assert all("delete it" in one and "repair" not in one for one in problems[:2])
    assert "delete the folder" in problems[2] and "repair" not in problems[2] and len(problems) == 3
    for entry in registry.store.list("versions/1/"):
        registry.store.delete(entry.name)
    registry.store.delete("versions/2/claim.json")
    assert registry.verify() == [] and promote_next(registry, tmp_path, "c") == 3
    registry.store.write("versions/3/version.json", b"{}")
    assert any("version.json" in one and "kfp-bert registry repair" in one for one in registry.verify())
    assert registry.repair(2).version == 2


def test_rollback_to_a_version_with_a_missing_file_is_refused(registry: Registry) -> None:
    registry.store.delete("versions/1/bundle/saved_model/part0")
    for version in (1, None):
        with pytest.raises(UserError, match="Version 1 can't be champion: .*part0 is missing"):
            registry.rollback(version)
    assert registry.require_champion().version == 2


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 1}', b'{"format": 1, "version": 2, "log": [{}]}'])
def test_a_pointer_that_cannot_be_read_is_damage(registry: Registry, content: bytes) -> None:
    registry.store.write("champion.json", content)
    with pytest.raises(DamagedError, match=r"champion\.json.*kfp-bert registry repair"):
        registry.champion()
    assert any("champion.json" in problem for problem in registry.verify())
    with pytest.raises(UserError, match="Version 7 can't be champion: it is not there. Whole versions: 1, 2"):
        registry.repair(7)
    assert registry.repair(2).version == 2
    assert registry.verify() == []


def test_a_champion_whose_version_is_missing_is_shown_and_repaired(registry: Registry, tmp_path: Path) -> None:
    registry.record_deployment("production", "live", 2)
    registry.store.delete("versions/2/version.json")
    lines = run("list", registry.uri)[0].splitlines()
    assert lines[1].split("  ")[-1] == "champion, live on production" and "is not there" in lines[1]
    with pytest.raises(NotFoundError, match="no version 2.*kfp-bert registry repair"):
        registry.fetch_bundle(2, tmp_path / "out")
    assert any("champion is version 2, which is not there" in problem for problem in registry.verify())
    assert registry.repair(1).version == 1
    assert [event["event"] for event in registry.require_champion().log] == ["promoted", "promoted", "repaired"]
    assert registry.require_champion().log[-1]["reason"] == "version 2 was lost"


def test_a_champion_with_a_damaged_file_can_be_replaced(registry: Registry, tmp_path: Path) -> None:
    damage(registry, 2)
    with pytest.raises(UserError, match="SHA-256 differs.*kfp-bert registry repair"):
        registry.fetch_bundle(2, tmp_path / "out")
    with pytest.raises(UserError, match="Version 2 can't be champion: .*SHA-256 differs"):
        registry.repair(2)
    assert run("repair", registry.uri, "--start-over")[1].startswith("There is no need to start over")
    assert registry.repair(1).version == 1


def test_where_the_only_version_is_damaged_one_can_start_over(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    promote_next(registry, tmp_path, "a")
    registry.record_deployment("production", "live", 1)
    damage(registry, 1)
    output, error = run("repair", place)
    assert "version 1 can't be champion" in output and "--start-over" in error
    assert "Removed: 1." in run("repair", place, "--start-over")[0]
    assert registry.champion() is None
    assert re.search(r"starting over, because .*part0", registry.history()[-1].text)
    assert promote_next(registry, tmp_path, "b") == 2  # not 1, which the target serves
    assert registry.deployment_pending("production")


def test_starting_over_says_of_a_version_that_was_never_complete_that_it_was_not(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    promote_next(registry, tmp_path, "a")
    registry.store.delete("versions/1/version.json")
    assert registry.start_over() == [1]
    assert registry.history()[-1].text.endswith("starting over, because it never became complete.")


def test_a_version_without_a_claim_may_have_been_champion(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    promote_next(registry, tmp_path, "a")
    for lost in ("champion.json", "versions/1/claim.json"):
        registry.store.delete(lost)
    with pytest.raises(DamagedError, match=r"champion\.json is lost"):
        registry.champion()


def test_a_rollback_tells_a_file_of_another_size_from_one_that_is_missing(registry: Registry) -> None:
    damage(registry, 1)
    with pytest.raises(UserError, match="part0 has another size than when it was stored"):
        registry.rollback()
    registry.store.delete("versions/1/bundle/saved_model/part0")
    with pytest.raises(UserError, match="part0 is missing"):
        registry.rollback()


def test_a_first_promotion_that_was_killed_is_no_damage(place: str, tmp_path: Path) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    registry = Registry(place)
    candidate = candidate_for(registry, tmp_path, "a")
    interrupt(registry, "write", "champion.json", die)
    with pytest.raises(KeyboardInterrupt):
        registry.promote(*candidate)
    registry = Registry(place)
    assert registry.champion() is None and registry.verify() == []
    assert promote_next(registry, tmp_path, "rival") == 2


def test_a_lost_pointer_is_seen_with_a_single_version(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    promote_next(registry, tmp_path, "a")
    registry.store.delete("champion.json")
    with pytest.raises(DamagedError, match="is lost"):
        registry.champion()


def test_a_lost_pointer_is_seen_in_a_registry_of_format_1(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1, tmp_path / "registry")
    registry = Registry(str(tmp_path / "registry"))
    (tmp_path / "registry" / "champion.json").unlink()
    with pytest.raises(DamagedError, match="is lost"):
        registry.champion()
    assert registry.repair(1).version == 1 and registry.verify() == []


def test_an_older_champion_that_was_put_back_is_named_and_nothing_is_lost(place: str, tmp_path: Path) -> None:
    registry = Registry(place)
    registry.promote(*write_candidate(tmp_path / "first", "first"))
    old = registry.store.read("champion.json").data
    champion = registry.champion()
    assert champion
    second = write_candidate(tmp_path / "second", "second", champion_version=1, champion_generation=champion.generation)
    registry.promote(*second)
    assert registry.verify() == []
    registry.store.write("champion.json", old)
    (problem,) = registry.verify()
    assert problem.startswith("Version 2 was promoted, but") and "--to 2" in problem
    assert "champion.json does not know of it" in registry.gc(unfinished_hours=0).keep[2]
    registry.rollback(2, "put back")
    assert registry.verify() == []


def test_a_folder_that_is_no_registry_does_not_verify(place: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no registry"):
        Registry(f"{place}/typo").verify()
    Registry(place).store.write("notes.txt", b"hello")
    assert "is no registry" in run("verify", place)[1]
    for name in ("show", "rollback"):
        assert "is no registry: there is no such folder" in run(name, f"{place}/typo")[1]
    with pytest.raises(UserError, match="typo is no registry: there is no such folder"):
        Registry(f"{place}/typo").require_champion()
    Registry(place).count_use(some_test_set(["one", "two"]), 0.05, {})
    assert [one.partition(" does")[0][-9:] for one in Registry(place).verify()] == ["notes.txt"]


STRANGERS = (
    ".DS_Store",
    "bundle.json",
    "deployments/.DS_Store",
    "deployments/old production.json",
    "deployments/x.json.bak",
    "promotions/.DS_Store",
    "removed/x.json.bak",
    "removed/²:.json",
    "test_sets/.DS_Store",
    "versions/.DS_Store",
    "versions/3/.DS_Store",
    "versions/²/bundle.json",
    "other/a",
)


def test_strangers_are_passed_over_and_named(registry: Registry, tmp_path: Path) -> None:
    registry.record_deployment("production", "live", 2)
    for name in STRANGERS:
        registry.store.write(name, b"")
    assert registry.targets() == ["production"] and registry.numbers() == [1, 2, 3]
    assert len(registry.history()) == 3 and registry.gc().remove == {}
    named = {"versions/²/bundle.json": "versions/²", "versions/3/.DS_Store": "versions/3", "other/a": "other"}
    assert set(registry.verify()) == {
        f"{registry.store.describe(named.get(name, name))} does not belong to a registry: move it elsewhere."
        for name in STRANGERS
    }
    assert promote_next(registry, tmp_path, "c") == 4
    assert len(run("list", registry.uri)[0].splitlines()) == 4


def test_an_empty_folder_with_a_strange_name_is_named(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    promote_next(registry, tmp_path, "a")
    (tmp_path / "registry" / "versions" / "²").mkdir()
    (problem,) = registry.verify()
    assert "versions/² does not belong" in problem


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("versions/2/version.json", "lacks 'version', 'at', 'by'"),
        ("versions/2/claim.json", "lacks 'decision_id', 'at', 'by'"),
        ("versions/2/claim.json", "its fields are not as expected"),
        ("promotions/abandoned.json", "its fields are not as expected"),
        ("removed/1.json", "lacks 'version', 'at', 'by', 'reason'"),
        ("promotions/abandoned.json", "lacks 'decision_id', 'version', 'at'"),
        ("test_sets/test.json", "lacks 'uses'"),
    ],
)
def test_a_record_that_lacks_fields_is_damaged(registry: Registry, name: str, says: str) -> None:
    wrong = {"decision_id": "x", "version": 7, "by": "me", "at": "yesterday"} if says.startswith("its") else {}
    registry.store.write(name, json.dumps({"format": 1, **wrong}).encode())
    assert [one for one in registry.verify() if f"{registry.store.describe(name)} is damaged: {says}" in one]
    assert "2" in run("list", registry.uri)[0]
    registry.gc(dry_run=True)


def test_a_version_that_cannot_be_read_is_in_the_list(registry: Registry) -> None:
    registry.store.write("versions/1/version.json", b'{"format": 1}')
    assert run("list", registry.uri)[0].splitlines()[0].split(maxsplit=1) == ["1", "is damaged"]
    listed = json.loads(run("list", registry.uri, "--json")[0])
    assert listed["damaged"].keys() == {"1"} and [one["version"] for one in listed["versions"]] == [2]
    with pytest.raises(UserError, match="no champion before version 2"):
        registry.rollback()
