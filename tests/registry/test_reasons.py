"""What a registry says about what it keeps, removes, finds wrong, and refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kfp_bert_components.errors import ConflictError, NotFoundError, UserError
from kfp_bert_components.registry import Registry
from tests.support.models import candidate_for, promote_next, write_candidate
from tests.support.promoters import interrupt


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry with the versions 1 to 5."""
    registry = Registry(str(tmp_path / "registry"))
    for name in "abcde":
        promote_next(registry, tmp_path, name)
    return registry


def hours_ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def claim(registry: Registry, number: int, **fields: object) -> None:
    data = json.dumps({"format": 1, "decision_id": f"d{number}", "by": "me", **fields}).encode()
    registry.store.write(f"versions/{number}/claim.json", data)


def test_gc_says_for_each_version_why_it_stays_or_goes(registry: Registry) -> None:
    registry.record_deployment("production", "live", 2)
    registry.record_deployment("production", "rolling", 3)
    claim(registry, 6, at=hours_ago(2.5))
    claim(registry, 7, at=hours_ago(49.5))
    registry.store.write("versions/8/bundle/part", b"half")
    found = registry.gc(keep=1, dry_run=True)
    assert found.keep == {
        2: "live on production",
        3: "rolling on production",
        4: "the newest former champion",
        5: "the champion",
        6: "never champion, but only 2.5 hours old: a run may be working on it",
        8: "never champion, and of unknown age: remove it by hand",
    }
    assert found.remove == {1: "older than the newest former champion", 7: "never became champion, 50 hours old"}
    found = registry.gc(keep=2, unfinished_hours=2, dry_run=True)
    assert found.keep[1] == found.keep[4] == "one of the 2 newest former champions"
    assert found.remove.keys() == {6, 7}
    assert registry.gc(keep=2, unfinished_hours=100).remove == {}
    with pytest.raises(UserError, match="keep is 0: keep at least 1 former champion, to roll back to"):
        registry.gc(keep=0)


def test_gc_counts_former_champions_from_the_newest_time_that_they_were_champion(registry: Registry) -> None:
    registry.rollback(1)
    registry.rollback(3)
    found = registry.gc(keep=2, dry_run=True)
    assert found.keep == {
        1: "one of the 2 newest former champions",
        3: "the champion",
        5: "one of the 2 newest former champions",
    }


@pytest.mark.parametrize(("rollbacks", "keep", "previous"), [(1, 1, 3), (2, 2, 2), (4, 1, None)])
def test_gc_keeps_what_rollback_goes_back_to(registry: Registry, rollbacks: int, keep: int, previous: int) -> None:
    for _ in range(rollbacks):
        registry.rollback(reason="it is bad")
    found = registry.gc(keep=keep)
    assert len(registry.numbers()) == keep + 1
    if previous is None:
        with pytest.raises(UserError, match="no champion before version 1"):
            registry.rollback()
        return
    assert found.keep[previous] == "the version that rollback goes back to"
    assert f"version {previous}, which rollback goes back to, is kept in its place" in found.remove.values()
    assert registry.rollback().version == previous


@pytest.mark.parametrize("hours", [-1.0, float("nan")])
def test_gc_refuses_ages_that_are_none(registry: Registry, hours: float) -> None:
    with pytest.raises(UserError, match=r"unfinished_hours is (-1|nan): give a number of hours, 0 or more"):
        registry.gc(unfinished_hours=hours)


def test_gc_removes_the_version_its_claim_and_its_note_and_the_history_tells(registry: Registry) -> None:
    claim(registry, 7, at=hours_ago(49))
    registry.store.write("versions/7/bundle/part", b"half")
    notes = len(registry.store.list("promotions/"))
    registry.gc(keep=3)
    assert registry.numbers() == [2, 3, 4, 5]
    assert not registry.store.list("versions/1/") and not registry.store.list("versions/7/")
    assert len(registry.store.list("promotions/")) == notes - 1
    told = [event.text for event in registry.history()][-2:]
    assert told == [
        "Version 1 was removed: older than the 3 newest former champions.",
        "Version 7 was removed: never became champion, 49 hours old.",
    ]


def test_notes_of_promotions_without_a_version_are_forgotten_after_a_day(registry: Registry) -> None:
    for name, number, hours in (("old", 90, 25), ("young", 91, 23), ("there", 5, 99)):
        data = json.dumps({"format": 1, "decision_id": name, "version": number, "at": hours_ago(hours)}).encode()
        registry.store.write(f"promotions/{name}.json", data)
    registry.gc()
    left = {entry.name for entry in registry.store.list("promotions/")}
    assert {"promotions/young.json", "promotions/there.json"} <= left and "promotions/old.json" not in left


def test_a_version_number_is_never_used_again(registry: Registry, tmp_path: Path) -> None:
    registry.rollback(4)
    registry.gc(keep=1)
    claim(registry, 9, at=hours_ago(1))
    assert promote_next(registry, tmp_path, "f") == 10
    for number in (9, 10):
        for entry in registry.store.list(f"versions/{number}/"):
            registry.store.delete(entry.name)
    assert promote_next(registry, tmp_path, "g") == 11


def test_rollback_goes_back_in_the_path_and_leaves_out_what_was_removed(registry: Registry) -> None:
    registry.rollback(2)
    assert registry.rollback().version == 1
    registry.rollback(4)
    for entry in registry.store.list("versions/1/"):
        registry.store.delete(entry.name)
    with pytest.raises(UserError, match="There is no champion before version 4 to go back to"):
        registry.rollback()
    champion = registry.rollback(5, "back again")
    assert champion == registry.champion() and champion.version == 5
    assert {name: champion.log[-1][name] for name in ("event", "version", "previous", "reason")} == {
        "event": "rolled back",
        "version": 5,
        "previous": 4,
        "reason": "back again",
    }
    assert champion.decision_id == champion.log[-1]["decision_id"] and champion.decision_id.startswith("rollback-")
    assert len(champion.log) == 9


def test_what_is_wrong_is_said_in_a_sentence_with_the_place(registry: Registry) -> None:
    store = registry.store
    registry.record_deployment("production", "live", 3)
    registry.record_deployment("staging", "live", 9)
    store.write("deployments/test.json", b"nonsense")
    store.write("versions/1/version.json", b"nonsense")
    store.write("versions/2/bundle/saved_model/part0", b"other")
    store.delete("versions/4/README.md")
    store.write("versions/4/bundle/more", b"x")
    claim(registry, 6, at=hours_ago(1))
    found = registry.verify()
    for said in (
        "Version 9 is live on staging, but the registry does not hold it.",
        f"{store.describe('versions/2/bundle/saved_model/part0')} was changed since it was stored: its SHA-256 "
        "differs.",
        f"{store.describe('versions/4/README.md')} is missing.",
        f"{store.describe('versions/4/bundle/more')} does not belong to version 4.",
    ):
        assert said in found
    assert len(found) == 6 and sum("no JSON" in one for one in found) == 2
    assert len(registry.verify(4)) == 2 and registry.verify(5) == []
    with pytest.raises(NotFoundError, match="has no version 6"):
        registry.verify(6)
    store.delete("versions/5/version.json")
    assert any(one.startswith("The champion is version 5, which is not there") for one in registry.verify())
    store.write("champion.json", b"nonsense")
    assert "no JSON" in registry.verify()[0]


def test_the_history_tells_of_rollouts_that_wait_and_fail(registry: Registry) -> None:
    for state, version, reason in (
        ("pending", 4, ""),
        ("failed", 4, "no room."),
        ("live", 4, ""),
        ("rolling", 5, "too slow"),
        ("failed", 5, "too slow"),
        ("rolling", 5, "waits"),
        ("failed", 4, "waits"),
    ):
        registry.record_deployment("production", state, version, reason)
    assert [event.text for event in registry.history()][5:] == [
        "Version 4 is waiting to be deployed to production.",
        "The rollout of version 4 to production failed: no room.",
        "Version 4 went live on production.",
        "The rollout of version 5 to production failed, and version 4 serves as before: too slow.",
        "The rollout of version 5 to production is under way: waits.",
        "The rollout of version 4 to production failed, and version 4 serves as before: waits.",
    ]


def test_the_history_says_of_each_place_what_serves_there(registry: Registry) -> None:
    for state, version, reason, uri, live in (
        ("live", 4, "", "/a", 4),
        ("failed", 4, "no room", "/b", None),
        ("failed", 5, "too slow", "/a", 4),
        ("live", 5, "", "/b", 5),
        ("failed", 4, "taken over", "/a", None),
    ):
        place = {"kind": "serving directory", "uri": uri}
        seen = {"version": live, "facts": {"number": 1, "served": "1"}} if live else {}
        registry.record_deployment("production", state, version, reason, details={"live": seen}, place=place)
    assert [event.text for event in registry.history()][5:] == [
        "Version 4 went live on production.",
        "The rollout of version 4 to production failed: no room.",
        "The rollout of version 5 to production failed, and version 4 serves as before: too slow.",
        "Version 5 went live on production.",
        "The rollout of version 4 to production failed, and version 4 does not serve there any more: taken over.",
    ]


def test_a_deployment_record_keeps_what_is_live_its_details_and_its_newest_200_moves(registry: Registry) -> None:
    registry.record_deployment("production", "live", 1, details={"a": 1})
    for number in range(202):
        made = registry.record_deployment("production", "rolling", 2, f"{number}")
    assert made == registry.deployment("production")
    assert (made.state, made.version, made.live_version, made.details, made.reason) == (
        "rolling",
        2,
        1,
        {"a": 1},
        "201",
    )
    assert [one["reason"] for one in made.log] == [str(number) for number in range(2, 202)]
    assert (made.log[-1]["at"], made.log[-1]["by"]) == (made.at, made.by) and " on " in made.by
    assert registry.record_deployment("production", "live", 2, details={}).details == {}
    assert registry.targets() == ["production"]
    with pytest.raises(
        UserError, match="'ready' is no state of a deployment: give one of pending, rolling, live, failed"
    ):
        registry.record_deployment("production", "ready", 2)
    with pytest.raises(ConflictError, match=r"The deployment record of new was removed since it was read: run again"):
        registry.record_deployment("new", "live", 2, if_generation=5)


@pytest.mark.parametrize("target", ["production", "a.b_c-d", "9", "x" * 63])
def test_a_target_may_be_of_letters_digits_and_a_few_marks(tmp_path: Path, target: str) -> None:
    assert Registry(str(tmp_path)).deployment(target).target == target
    for wrong in ("x" * 64, f"{target}\n", f"{target}/", f" {target}"):
        with pytest.raises(UserError, match="is no usable deployment target: give up to 63 letters"):
            Registry(str(tmp_path)).deployment(wrong)


def test_a_promotion_that_comes_too_late_is_told_what_was_compared_and_what_happened(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    late = write_candidate(tmp_path / "late", "late", champion_version=3, champion_generation=7)
    with pytest.raises(ConflictError, match="has no champion, but the decision compared with version 3: check that it"):
        registry.promote(*late)
    early = write_candidate(tmp_path / "early", "early")
    promote_next(registry, tmp_path, "first")
    with pytest.raises(
        ConflictError,
        match=r"Version 1 became champion first \(promoted at .* by .*, decision first\), wh"
        "ile this model was compared with no champion",
    ):
        registry.promote(*early)


@pytest.mark.parametrize("field", ["test_fingerprint", "model_fingerprint"])
def test_an_evaluation_of_another_model_or_test_set_is_refused(tmp_path: Path, field: str) -> None:
    registry = Registry(str(tmp_path / "registry"))
    bundle, evaluation, decision = candidate_for(registry, tmp_path, "a")
    path = evaluation / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: "another"}))
    with pytest.raises(UserError, match=f"The evaluation in {evaluation} is of another model or test set than the dec"):
        registry.promote(bundle, evaluation, decision)
    assert registry.champion() is None


def test_a_rollback_to_a_version_that_gc_removes_at_the_same_moment_is_taken_back(registry: Registry) -> None:
    interrupt(registry, "write", "champion.json", lambda: registry.store.delete("versions/2/version.json"))
    with pytest.raises(ConflictError, match="Version 2 was removed at the same moment: choose another one"):
        registry.rollback(2)
    champion = registry.require_champion()
    assert champion.version == 5
    assert champion.log[-1]["reason"] == "version 2 was removed at the same moment"
    assert [event["version"] for event in champion.log[-2:]] == [2, 5]


def test_a_bundle_with_folders_in_folders_comes_back_whole(tmp_path: Path) -> None:
    registry, candidate = Registry(str(tmp_path / "registry")), write_candidate(tmp_path / "c", files=0)
    deep = candidate[0] / "saved_model/variables/of/it"
    deep.mkdir(parents=True)
    (deep / "data").write_text("weights")
    registry.promote(*candidate)
    registry.fetch_bundle(1, tmp_path / "out")
    assert (tmp_path / "out/saved_model/variables/of/it/data").read_text() == "weights"


def test_a_file_of_a_promotion_that_was_killed_is_never_overwritten_with_other_bytes(tmp_path: Path) -> None:
    registry, candidate = Registry(str(tmp_path / "registry")), write_candidate(tmp_path / "c")

    def kill() -> None:
        raise KeyboardInterrupt

    interrupt(registry, "write", "versions/1/version.json", kill)
    with pytest.raises(KeyboardInterrupt):
        registry.promote(*candidate)
    (candidate[0] / "saved_model/part1").write_text("weights of another training")
    with pytest.raises(
        ConflictError, match=r"part1 exists with other bytes: two runs use the same decision for differe"
    ):
        registry.promote(*candidate)
    assert registry.champion() is None
