"""Rollback, verification, garbage collection, history and the model card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.registry import Registry
from tests.support.models import promote_next, write_candidate
from tests.support.promoters import interrupt
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3"]


@pytest.fixture
def registry(place: str, tmp_path: Path) -> Registry:
    """A registry with the versions 1, 2 and 3, the last of them live."""
    registry = Registry(place)
    for name in ("a", "b", "c"):
        promote_next(registry, tmp_path, name)
    registry.record_deployment("production", "live", 3)
    return registry


def rewrite(path: Path, **fields: object) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_rollback_makes_the_older_version_champion_and_pending(registry: Registry) -> None:
    assert not registry.deployment_pending("production")
    assert registry.rollback(reason="too many complaints").version == 2
    assert registry.deployment_pending("production")
    assert registry.rollback().version == 1
    with pytest.raises(UserError, match="no champion before version 1"):
        registry.rollback()
    assert registry.rollback(3).version == 3


def test_rollback_to_what_is_not_there_is_refused(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="no version 9"):
        registry.rollback(9)
    with pytest.raises(UserError, match="champion already"):
        registry.rollback(3)


def test_a_comparison_made_before_a_rollback_does_not_promote(registry: Registry, tmp_path: Path) -> None:
    champion = registry.champion()
    assert champion
    candidate = write_candidate(tmp_path / "d", champion_version=3, champion_generation=champion.generation)
    registry.rollback()
    with pytest.raises(ConflictError, match="Version 2 became champion first"):
        registry.promote(*candidate)


def test_a_model_that_was_rolled_back_from_is_known_until_it_is_champion_again(registry: Registry) -> None:
    assert registry.rolled_back_from("model c") is None
    registry.rollback(1, reason="too many complaints")
    move = registry.rolled_back_from("model c")
    assert move and (move["previous"], move["version"], move["reason"]) == (3, 1, "too many complaints")
    assert registry.rolled_back_from("model b") is None and registry.rolled_back_from("model a") is None
    registry.rollback(3)
    assert registry.rolled_back_from("model c") is None
    assert registry.rolled_back_from("model a") == registry.require_champion().log[-1]


@pytest.mark.parametrize("damage", [b"{}", None], ids=["damaged", "removed"])
def test_a_version_that_was_rolled_back_from_because_it_is_damaged_stops_nothing(tmp_path: Path, damage) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for name in ("a", "b"):
        promote_next(registry, tmp_path, name)
    registry.rollback()
    record = tmp_path / "registry/versions/2/version.json"
    record.write_bytes(damage) if damage else record.unlink()
    assert registry.rolled_back_from("model b") is None


def test_the_history_tells_the_story_in_plain_words(registry: Registry) -> None:
    registry.rollback(reason="too many complaints.")
    registry.record_deployment("production", "rolling", 2)
    registry.record_deployment("production", "rolling", 2, "the smoke test failed")
    registry.record_deployment("production", "failed", 2, "the smoke test failed")
    assert [event.text for event in registry.history()] == [
        "Version 1 became champion, the first one: macro F1 is 0.05 higher.",
        "Version 2 became champion, in place of version 1: macro F1 is 0.05 higher.",
        "Version 3 became champion, in place of version 2: macro F1 is 0.05 higher.",
        "Version 3 went live on production.",
        "The champion was rolled back from version 3 to version 2: too many complaints.",
        "The rollout of version 2 to production is under way.",
        "The rollout of version 2 to production failed, and version 3 serves as before: the smoke test failed.",
    ]


def test_the_history_keeps_the_order_of_moves_whatever_the_clocks_said(registry: Registry, monkeypatch) -> None:
    monkeypatch.setattr("kfp_bert_components.registry._records.now", lambda: "2020-01-01T00:00:00.000000Z")
    registry.rollback(reason="by a machine whose clock is behind")
    moves = [event for event in registry.history() if "champion" in event.text]
    assert [event.text.split(" became")[0] for event in moves[:3]] == ["Version 1", "Version 2", "Version 3"]
    assert moves[3].text.startswith("The champion was rolled back") and moves[3].at.startswith("2020")


def test_repeated_signs_of_life_are_one_line_of_history(registry: Registry) -> None:
    for beat in range(5):
        registry.record_deployment("staging", "rolling", 3, details={"beat": beat})
    assert [event.text for event in registry.history() if "staging" in event.text] == [
        "The rollout of version 3 to staging is under way."
    ]


def test_an_untouched_registry_verifies(registry: Registry) -> None:
    assert registry.verify() == []


def test_pins_are_verified_too(registry: Registry) -> None:
    registry.keep_pin("f" * 16, {"sources": ["a"], "objects": []}, "run")
    assert registry.verify() == []
    (pin,) = registry.store.list("pins/", checksums=False)
    registry.store.write(pin.name, json.dumps({"format": 1, "run": "run"}).encode())
    (problem,) = registry.verify()
    assert pin.name in problem and "at" in problem


def test_of_the_champion_a_lost_file_is_told_with_the_command_that_repairs(registry: Registry) -> None:
    registry.store.delete("versions/2/bundle/saved_model/part0")
    registry.store.write("versions/3/README.md", b"another card")
    of_another, of_the_champion = registry.verify()
    assert of_another.endswith("part0 is missing.")
    assert of_the_champion.endswith(f"or choose another champion with `kfp-bert registry repair {registry.uri}`.")
    assert registry.verify(3) == [of_the_champion]


@pytest.mark.parametrize("file", ["bundle/saved_model/part0", "evaluation/evaluation.json", "README.md"])
def test_one_changed_byte_is_found(registry: Registry, tmp_path: Path, file: str) -> None:
    name = f"versions/2/{file}"
    data = bytearray(registry.store.read(name).data)
    data[-1] ^= 1
    registry.store.write(name, bytes(data))
    (problem,) = registry.verify()
    assert name in problem and "SHA-256 differs" in problem


def test_missing_and_foreign_files_and_lost_versions_are_found(registry: Registry) -> None:
    registry.store.delete("versions/1/bundle/saved_model/part0")
    registry.store.write("versions/2/bundle/note.txt", b"hello")
    registry.store.delete("versions/3/version.json")
    problems = "\n".join(registry.verify())
    for expected in (
        "part0 is missing",
        "note.txt does not belong",
        "champion is version 3, which is not there",
        "live on production",
    ):
        assert expected in problems


def test_a_changed_bundle_is_not_handed_out(registry: Registry, tmp_path: Path) -> None:
    registry.store.write("versions/3/bundle/saved_model/part1", b"something else")
    with pytest.raises(UserError, match="SHA-256 differs"):
        registry.fetch_bundle(3, tmp_path / "out")


def test_gc_keeps_champion_deployed_and_newest_and_removes_the_rest(registry: Registry, tmp_path: Path) -> None:
    for name in ("d", "e", "f"):
        promote_next(registry, tmp_path, name)
    registry.record_deployment("staging", "live", 1)
    assert registry.gc(keep=1, dry_run=True).remove.keys() == {2, 4}
    assert [one.version for one in registry.versions()] == [1, 2, 3, 4, 5, 6]
    swept = registry.gc(keep=1)
    assert swept.remove.keys() == {2, 4}
    assert swept.keep[6] == "the champion" and "live on staging" in swept.keep[1]
    assert [one.version for one in registry.versions()] == [1, 3, 5, 6]
    assert registry.verify() == []
    assert "Version 2 was removed: older than" in registry.history()[-2].text
    assert promote_next(registry, tmp_path, "g") == 7


def test_gc_leaves_young_unfinished_versions_and_removes_old_ones(registry: Registry) -> None:
    claim = {"format": 1, "decision_id": "x", "by": "me"}
    registry.store.write("versions/8/claim.json", json.dumps({**claim, "at": "2020-01-01T00:00:00.000Z"}).encode())
    registry.store.write("versions/8/bundle/part", b"half")
    registry.store.write("versions/9/claim.json", json.dumps({**claim, "at": "2999-01-01T00:00:00.000Z"}).encode())
    assert [one.version for one in registry.versions()] == [1, 2, 3]
    swept = registry.gc()
    assert swept.remove.keys() == {8} and 9 in swept.keep
    assert registry.numbers() == [1, 2, 3, 9]


def test_gc_puts_a_version_back_that_a_rollback_chose_meanwhile(registry: Registry) -> None:
    assert registry.gc(keep=1, dry_run=True).remove.keys() == {1}
    interrupt(registry, "delete", "versions/1/version.json", lambda: Registry(registry.uri).rollback(1))
    assert not registry.gc(keep=1).remove
    assert registry.require_champion().version == 1
    assert registry.verify() == []


def test_gc_leaves_what_rollback_goes_back_to_since_the_pointer_was_moved(registry: Registry) -> None:
    interrupt(registry, "write", "versions/1/claim.json", lambda: Registry(registry.uri).rollback())
    assert not registry.gc(keep=1).remove
    assert registry.verify() == [] and registry.rollback().version == 1


def test_the_model_card_is_one_that_the_hub_reads(registry: Registry) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    card = huggingface_hub.ModelCard(registry.card(2))
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.base_model == "tiny"
    (result,) = [one for one in card.data.eval_results if one.metric_type == "f1"]
    assert result.metric_value == 0.91
    for expected in ("data of b", "learning_rate", "macro F1 is 0.05 higher.", "version 1"):
        assert expected in card.text


@pytest.mark.parametrize("label", ["\U0001f600", "a|b", "`x`", "né", "\\ud83d\\ude00", 'say "x": y', "\x85"])
def test_labels_of_any_kind_leave_the_card_readable(tmp_path: Path, label: str) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    registry, candidate = Registry(str(tmp_path / "registry")), write_candidate(tmp_path / "c")
    bundle, evaluation, decision = candidate
    rewrite(bundle / "bundle.json", labels=["ham", label])
    metrics = {f"f1:{label}": {"value": 0.5, "low": 0.4, "high": 0.6}}
    rewrite(evaluation / "evaluation.json", labels=["ham", label], metrics=metrics)
    rewrite(decision / "decision.json", reason=f"f1:{label}\nis higher")
    card = huggingface_hub.ModelCard(registry.card(registry.promote(*candidate)))
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_name, result.metric_value) == ("f1", f"f1:{label}", 0.5)
    (row,) = [line for line in card.text.splitlines() if "0.5000" in line]
    assert row.count("|") == 4
