"""Uses of test sets: what belongs together, what a use may spend, which rows decide, and what is lost is said."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from kfp_bert_components.cli.registry import command
from kfp_bert_components.data.ids import hash_texts, ids_of
from kfp_bert_components.errors import DamagedError
from kfp_bert_components.evaluation import Evaluation, write_evaluation
from kfp_bert_components.evaluation.text_keys import with_text_keys
from kfp_bert_components.registry import Registry
from tests.support.evaluations import some_test_set
from tests.support.models import write_candidate
from tests.support.promoters import PausedStore, interrupt
from tests.support.stores import gcs, place, s3

__all__ = ["gcs", "place", "s3"]

RECORD = "test_sets/lineages.json"


def texts(first: int, last: int) -> list[str]:
    return [f"text {number}" for number in range(first, last)]


def count(registry: Registry, rows: list[str], candidate: str = "", labels=("no", "yes")):
    """A use by this candidate, by default one that was never seen."""
    test = some_test_set(rows, f"{len(rows)} rows from {rows[0]}", labels)
    return registry.count_use(test, 0.06, {"candidate": candidate or uuid.uuid4().hex})


@pytest.fixture
def registry(place: str) -> Registry:
    return Registry(place)


def test_a_test_set_that_grows_by_a_row_has_no_new_alpha(registry: Registry) -> None:
    uses = [count(registry, texts(0, 100 + run))[0] for run in range(4)]
    assert [use.number for use in uses] == [1, 2, 3, 4]
    assert [use.alpha for use in uses] == pytest.approx([0.03, 0.01, 0.005, 0.003])
    assert [use.left for use in uses] == pytest.approx([0.03, 0.02, 0.015, 0.012])
    assert [(use.rows, use.fresh) for use in uses] == [(100, 100), (101, 1), (102, 1), (103, 1)]
    assert {use.left_out for use in uses} == {0}
    assert {use.lineage for use in uses} == {1} and registry.verify() == []


def test_rows_in_another_order_copies_and_other_labels_are_the_same_test_set(registry: Registry) -> None:
    rows = texts(0, 60)
    others = rows[::-1], rows + rows[:9], rows[:50]
    assert [count(registry, one)[0].number for one in (rows, *others)] == [1, 2, 3, 4]
    use, _ = count(registry, rows, labels=("yes", "no"))
    assert (use.number, use.fresh) == (5, 0)


def with_keys(rows: list[str]) -> Evaluation:
    """A test set of texts whose ids are their hashes, as prepare_text_data gives them."""
    table = some_test_set(rows).predictions
    table = table.set_column(0, "id", ids_of(hash_texts(pa.array(rows)))).append_column("text", pa.array(rows))
    return replace(some_test_set(rows, f"{len(rows)} rows from {rows[0]}"), predictions=with_text_keys(table))


def test_texts_in_another_spelling_have_decided(registry: Registry) -> None:
    rows = texts(0, 60)
    spellings = rows, [text.upper() for text in rows], [f"{text} !" for text in rows], [*rows, "TEXT  1", "Text 2"]
    for number, one in enumerate(spellings, 1):
        use, _ = registry.count_use(with_keys(one), 0.06, {"candidate": uuid.uuid4().hex})
        assert (use.number, use.fresh) == (number, 60 if number == 1 else 0)


def test_texts_of_which_an_older_version_recorded_the_ids_have_decided(registry: Registry) -> None:
    rows = texts(0, 60)
    before = with_keys(rows)
    before = replace(before, predictions=before.predictions.drop_columns(["text_key"]))
    assert registry.count_use(before, 0.06, {"candidate": "a"})[0].number == 1
    grown = with_keys([*rows, "TEXT  1", "fresh"])
    use, _ = registry.count_use(grown, 0.06, {"candidate": "b"})
    assert (use.number, use.rows, use.fresh) == (2, 62, 1)
    use, _ = registry.count_use(grown, 0.06, {"candidate": "c"})
    assert (use.number, use.fresh) == (3, 0) and registry.verify() == []


def test_a_test_set_that_is_replaced_has_a_full_alpha(registry: Registry) -> None:
    for first in (0, 100, 200):
        use, rows = count(registry, texts(first, first + 100))
        assert (use.number, use.fresh, use.left_out, use.alpha) == (1, 100, 0, pytest.approx(0.03)) and rows.all()
    assert use.lineage == 3
    assert count(registry, texts(0, 100))[0].number == 2  # and the first one keeps its uses


def test_the_same_comparison_again_spends_nothing_and_rests_on_the_same_rows(registry: Registry) -> None:
    count(registry, texts(0, 100))
    rows = texts(90, 400)
    first, mask = count(registry, rows, "a")
    count(registry, texts(390, 800))
    before = registry.store.stat(RECORD).generation
    again, same = count(registry, rows, "a")
    assert again == first and np.array_equal(mask, same) and registry.store.stat(RECORD).generation == before
    grown, _ = count(registry, [*rows, "one more"], "a")
    assert (grown.number, grown.lineage) == (2, first.lineage)


def test_a_few_known_texts_are_left_out_and_do_not_bind_two_test_sets(registry: Registry) -> None:
    common = ["NIGHT", "DAY", "EXT.", "INT."]
    assert count(registry, [*common, *texts(0, 200)])[0].number == 1
    film = [*common * 20, *texts(200, 500)]
    use, rows = count(registry, film)
    assert (use.number, use.rows, use.fresh, use.left_out) == (1, 300, 300, 80)
    assert not rows[:80].any() and rows[80:].all()
    # The first test set again: the common lines are its own.
    use, rows = count(registry, [*common, *texts(0, 200)])
    assert (use.number, use.left_out) == (2, 0) and rows.all()


def test_known_texts_stay_where_a_class_would_be_lost_without_them(registry: Registry) -> None:
    count(registry, ["NIGHT", "DAY", *texts(0, 200)])
    labels = ["time", "time", *["other"] * 298]
    use, rows = count(registry, ["NIGHT", "DAY", *texts(200, 498)], labels=labels)
    assert (use.number, use.fresh, use.left_out) == (2, 298, 0) and rows.all()


def test_rows_of_two_lineages_decide_together_where_none_has_every_class(registry: Registry) -> None:
    count(registry, texts(0, 100))
    count(registry, texts(0, 100))
    count(registry, texts(100, 200))
    use, rows = count(registry, texts(0, 200), labels=[*["no"] * 100, *["yes"] * 100])
    assert (use.number, use.fresh, use.left_out) == (3, 0, 0) and rows.all()
    assert [count(registry, texts(*part))[0].number for part in ((0, 100), (100, 200))] == [4, 4]


def test_fresh_rows_alone_decide_as_soon_as_they_resolve_more(registry: Registry) -> None:
    last = 1000
    for run in range(12):  # a tenth more each time is never enough
        use, _ = count(registry, texts(0, last))
        assert (use.number, use.lineage, use.left_out) == (run + 1, 1, 0)
        known, last = last, last * 11 // 10
    use, rows = count(registry, texts(0, 3 * known))
    assert (use.number, use.lineage, use.rows, use.fresh) == (1, 2, 2 * known, 2 * known)
    assert use.alpha == pytest.approx(0.03) and not rows[:known].any()
    # From now on the new lineage grows, and the old one is left out.
    use, _ = count(registry, texts(0, 3 * known + 10))
    assert (use.number, use.lineage, use.fresh, use.left_out) == (2, 2, 10, known)


def count_groups(registry: Registry, rows: list[str], groups: list[str]):
    """A use of a test set where the groups are the evidence."""
    test = some_test_set(rows, f"{len(rows)} rows from {rows[0]}")
    table = test.predictions.append_column("cluster", pa.array(groups))
    return registry.count_use(replace(test, predictions=table), 0.06, {"candidate": uuid.uuid4().hex})


def test_new_texts_of_a_known_group_are_not_fresh(registry: Registry) -> None:
    def use(first: int, last: int, groups: int):
        return count_groups(registry, texts(first, last), [f"customer {i % groups}" for i in range(first, last)])

    assert use(0, 1000, 50)[0].number == 1
    again, rows = use(1000, 2000, 50)
    assert (again.number, again.fresh, again.left_out) == (2, 0, 0) and rows.all()
    others, rows = use(2000, 3000, 500)  # every tenth customer is known
    assert (others.number, others.rows, others.fresh, others.left_out) == (1, 900, 900, 100)
    assert registry.verify() == []


@pytest.mark.parametrize("nothing", ["", " ", None])
def test_rows_without_a_group_bind_no_other_rows(registry: Registry, nothing: str | None) -> None:
    def use(first: int, last: int):
        groups = [nothing if i % 2 else f"customer {i}" for i in range(first, last)]
        return count_groups(registry, texts(first, last), groups)

    assert use(0, 200)[0].number == 1
    other, rows = use(200, 400)
    assert (other.number, other.lineage, other.fresh, other.left_out) == (1, 2, 200, 0) and rows.all()
    again, rows = use(0, 190)
    assert (again.number, again.lineage, again.fresh, again.left_out) == (2, 1, 0, 0) and rows.all()


def test_a_known_text_of_a_new_group_is_left_out_and_binds_the_group_to_nothing(registry: Registry) -> None:
    old, customers = ["NIGHT", *texts(0, 199)], [f"old {i}" for i in range(200)]
    count_groups(registry, old, customers)
    new = [f"new {i}" for i in range(300)]
    use, rows = count_groups(registry, ["NIGHT", "NIGHT", *texts(200, 500)], ["new 0", "another", *new])
    assert (use.number, use.rows, use.fresh, use.left_out) == (1, 300, 300, 2) and not rows[:2].any()
    use, rows = count_groups(registry, [*old, "NIGHT"], [*customers, "another"])
    assert (use.number, use.left_out) == (2, 0) and rows.all()


def test_the_choice_looks_at_no_answer(registry: Registry) -> None:
    """Ids and labels are enough."""
    test = some_test_set(texts(0, 50))
    test = replace(test, predictions=test.predictions.select(["id", "label"]))
    assert registry.count_use(test, 0.06, {})[0].number == 1


def test_two_uses_at_the_same_moment_are_both_counted(registry: Registry) -> None:
    count(registry, texts(0, 50))
    other = []
    for number, call in ((3, "read"), (5, "write")):
        again = Registry(registry.uri)
        interrupt(again, call, RECORD, lambda: other.append(count(registry, texts(0, 51))[0].number))
        assert count(again, texts(0, 52))[0].number == number
    assert other == [2, 4] and registry.verify() == []


def test_a_use_whose_reply_was_lost_is_counted_once(registry: Registry) -> None:
    def kill() -> None:
        raise KeyboardInterrupt

    count(registry, texts(0, 50))
    for number, after in ((2, False), (3, True)):
        again = Registry(registry.uri)
        interrupt(again, "write", RECORD, kill, after=after)
        with pytest.raises(KeyboardInterrupt):
            count(again, texts(0, 50 + number), f"{after}")
        assert count(registry, texts(0, 50 + number), f"{after}")[0].number == number
    assert count(registry, texts(0, 50))[0].number == 4 and registry.verify() == []


def test_killed_after_any_call_a_use_is_counted_once_and_nothing_is_damaged(tmp_path: Path) -> None:
    def kill() -> None:
        raise KeyboardInterrupt

    for last in range(1, 100):
        registry = Registry(str(tmp_path / f"registry {last}"))
        registry.store = PausedStore(registry.store, last, kill)  # type: ignore[assignment]
        with suppress(KeyboardInterrupt):
            count(registry, texts(0, 50), "a")
        again = Registry(registry.uri)
        assert count(again, texts(0, 50), "a")[0].number == 1
        assert count(again, texts(0, 51), "b")[0].number == 2 and again.verify() == []
        if not registry.store.paused:  # type: ignore[attr-defined]
            break
    assert last > 5


def test_many_comparisons_at_once_are_as_many_uses(registry: Registry) -> None:
    with ThreadPoolExecutor(8) as pool:
        uses = list(pool.map(lambda run: count(Registry(registry.uri), texts(0, 100 + run))[0], range(8)))
    assert sorted(use.number for use in uses) == list(range(1, 9)) and registry.verify() == []


def test_gc_and_rollback_leave_the_uses_alone(registry: Registry, tmp_path: Path) -> None:
    for name in "abcd":
        promote(registry, tmp_path, name, texts(0, 50))
    before = [entry for entry in registry.store.list() if entry.name.startswith("test_sets/")]
    assert registry.gc(keep=1).remove.keys() == {1, 2}
    registry.rollback()
    assert [entry for entry in registry.store.list() if entry.name.startswith("test_sets/")] == before
    assert len(before) == 2 and registry.verify() == []
    assert count(registry, texts(0, 50))[0].number == 5


def promote(registry: Registry, folder: Path, name: str, rows: list[str]) -> None:
    """Promote a model by a use of a test set."""
    champion = registry.champion()
    version, generation = (champion.version, champion.generation) if champion else (None, 0)
    paths = write_candidate(folder / name, name, champion_version=version, champion_generation=generation)
    fingerprint = f"{len(rows)} rows from {rows[0]}"
    record = json.loads((paths[1] / "evaluation.json").read_text())
    test = replace(some_test_set(rows, fingerprint), model_fingerprint=record["model_fingerprint"])
    write_evaluation(test, paths[1])
    decision = json.loads((paths[2] / "decision.json").read_text())
    use = asdict(count(registry, rows)[0])
    (paths[2] / "decision.json").write_text(json.dumps({**decision, "test_fingerprint": fingerprint, "test_set": use}))
    registry.promote(*paths)


def lose_record(registry: Registry) -> None:
    registry.store.delete(RECORD)


def lose_folder(registry: Registry) -> None:
    for entry in registry.store.list("test_sets/"):
        registry.store.delete(entry.name)


def damage_record(registry: Registry) -> None:
    registry.store.write(RECORD, registry.store.read(RECORD).data[:40])


def lose_texts(registry: Registry) -> None:
    registry.store.delete(registry.store.list("test_sets/texts/")[0].name)


def damage_texts(registry: Registry) -> None:
    registry.store.write(registry.store.list("test_sets/texts/")[0].name, b"12345678")


def restore_an_old_record(registry: Registry) -> None:
    found = json.loads(registry.store.read(RECORD).data)
    registry.store.write(RECORD, json.dumps({**found, "decisions": found["decisions"][:1]}).encode())


DAMAGES = {
    lose_record: r"lineages\.json is lost: the texts of decisions are beside it",
    lose_folder: r"lineages\.json lacks uses of a test set: version 1 was promoted by use 1 .* none is recorded",
    damage_record: r"lineages\.json is damaged: it is no JSON object",
    lose_texts: r"texts/1-1-[0-9a-f]{32}\.bin is missing: it says which texts have decided",
    damage_texts: r"texts/1-1-[0-9a-f]{32}\.bin was changed since it was stored",
    restore_an_old_record: r"lacks uses of a test set: version 2 was promoted by use 3 .* none is recorded",
}


@pytest.mark.parametrize(("harm", "says"), DAMAGES.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_lost_counters_are_damage_and_are_rebuilt_from_the_versions(
    registry: Registry, tmp_path: Path, harm: Callable[[Registry], None], says: str
) -> None:
    promote(registry, tmp_path, "a", texts(0, 100))
    count(registry, texts(0, 101))
    promote(registry, tmp_path, "b", texts(0, 110))
    assert registry.repair_test_sets() == []
    harm(registry)
    with pytest.raises(DamagedError, match=f"{says}.*kfp-bert registry repair"):
        count(registry, texts(0, 110))
    assert [problem for problem in registry.verify() if re.search(says, problem)]
    result = CliRunner().invoke(command, ["repair", registry.uri])
    assert result.exit_code == 0 and "Decisions that promoted nothing may be missing" in result.output
    assert "nothing to repair" not in result.output
    assert registry.verify() == [] and registry.repair_test_sets() == []
    use, _ = count(registry, texts(0, 111))
    assert (use.number, use.fresh, use.lineage) == (4, 1, 1)


def test_decisions_that_promoted_nothing_are_rebuilt_from_the_texts_that_they_saw_first(registry: Registry) -> None:
    for last in (100, 101, 102):
        count(registry, texts(0, last))
    lose_record(registry)
    with pytest.raises(DamagedError, match="is lost"):
        count(registry, texts(0, 103))
    assert registry.repair_test_sets() and registry.verify() == []
    use, _ = count(registry, texts(0, 103))
    assert (use.number, use.fresh) == (4, 1)


def test_a_file_that_a_killed_comparison_left_takes_no_texts_away(registry: Registry) -> None:
    for last in (100, 101, 102):
        count(registry, texts(0, last))
    first, second, _ = registry.store.list("test_sets/texts/")
    registry.store.write(first.name.replace("/1-1-", "/2-1-"), registry.store.read(first.name).data)
    registry.store.delete(second.name)
    (said, lost) = registry.repair_test_sets()
    assert "as the versions and the texts beside it tell: 1." in said
    assert lost == "Decisions whose texts are lost, but for those of promoted versions: 1."
    use, _ = count(registry, texts(0, 100))
    assert (use.number, use.lineage, use.fresh) == (4, 1, 0) and registry.verify() == []


def test_a_version_without_predictions_still_tells_how_often_its_test_set_decided(
    registry: Registry, tmp_path: Path
) -> None:
    promote(registry, tmp_path, "a", texts(0, 100))
    lose_folder(registry)
    registry.store.delete("versions/1/evaluation/predictions.parquet")
    assert registry.repair_test_sets()
    assert count(registry, texts(0, 100))[0].number == 2


def test_uses_that_an_older_version_counted_are_among_what_is_rebuilt(registry: Registry, tmp_path: Path) -> None:
    promote(registry, tmp_path, "a", texts(0, 100))
    lose_folder(registry)
    uses = [{"candidate": name} for name in "abc"]
    old = json.dumps({"format": 1, "uses": uses}).encode()
    registry.store.write("test_sets/100 rows from text 0.json", old)
    count(registry, texts(500, 600))
    lose_texts(registry)
    assert registry.repair_test_sets() and registry.verify() == []
    assert count(registry, texts(0, 100))[0].number == 4
    assert registry.store.read("test_sets/100 rows from text 0.json").data == old


def test_a_decision_that_was_not_counted_needs_no_record(registry: Registry, tmp_path: Path) -> None:
    registry.promote(*write_candidate(tmp_path / "a"))
    assert count(registry, texts(0, 100))[0].number == 1
