"""Which rows of a test set decide, and how decision and page say it."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import read_evaluation, write_evaluation
from kfp_bert_components.gate import Policy, Use, choose_lineages, read_decision, uncounted
from kfp_bert_components.gate.paired import pair_predictions
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.compare_models import compare_models
from tests.support.evaluations import scores, write_numbers

LABELS = ["calm", "loud", "other"]


def choose(sizes, numbers=None, classes=2, alpha=0.05):
    """The choice on a test set with so many texts of each lineage (0: fresh), the classes in turn."""
    owners = np.repeat(list(sizes), list(sizes.values()))
    rows = np.arange(len(owners))
    return choose_lineages(rows[:, None], owners[:, None], rows % classes, numbers or {}, alpha)


@pytest.mark.parametrize(
    ("sizes", "numbers", "chosen"),
    [
        ({0: 1000}, {}, []),
        ({1: 1000}, {1: 7}, [1]),
        ({1: 1000, 0: 1}, {1: 7}, [1]),
        ({1: 1000, 0: 100}, {1: 49}, [1]),
        ({1: 600, 0: 400}, {1: 15}, [1]),  # 40.5 % are needed instead of use 16, 39.9 % instead of use 17
        ({1: 600, 0: 400}, {1: 16}, []),
        ({1: 260, 0: 740}, {1: 1}, [1]),  # 75.0 % instead of use 2
        ({1: 240, 0: 760}, {1: 1}, []),
        ({1: 500, 2: 400, 0: 100}, {1: 20, 2: 1}, [2]),
        ({1: 500, 2: 400, 0: 100}, {1: 1, 2: 20}, [1]),
    ],
)
def test_the_rows_that_resolve_the_smaller_difference_decide(sizes, numbers, chosen):
    assert choose(sizes, numbers) == chosen


def test_a_copy_counts_once_so_that_leaving_out_a_frequent_text_is_no_gain():
    texts = np.append(np.zeros(5000, int), np.arange(1, 401))
    owners = np.where(texts <= 200, 1, 0)
    assert choose_lineages(texts[:, None], owners[:, None], texts % 2, {1: 3}, 0.05) == [1]
    rows_alone = np.arange(len(texts))
    assert choose_lineages(rows_alone[:, None], 1 - owners[:, None], rows_alone % 2, {1: 3}, 0.05) == []


def test_fresh_rows_need_20_texts_of_each_class_or_half_of_them():
    owners, rows = np.repeat([1, 0], [100, 900])[:, None], np.arange(1000)[:, None]
    for rare, chosen in ((19, [1]), (20, [])):
        classes = np.append(np.arange(100) % 2, np.arange(900) < rare)
        assert choose_lineages(rows, owners, classes, {1: 5}, 0.05) == chosen, rare
    few = np.append(np.arange(100) < 3, np.arange(900) < 3)  # 3 of 6
    assert choose_lineages(rows, owners, few, {1: 5}, 0.05) == []


def test_all_lineages_decide_where_each_lacks_a_class():
    owners = np.repeat([1, 2], 100)
    assert choose_lineages(np.arange(200)[:, None], owners[:, None], owners - 1, {1: 1, 2: 3}, 0.05) == [1, 2]


def test_where_groups_are_the_evidence_they_are_counted_and_a_row_of_a_known_group_is_not_fresh():
    groups = np.append(np.arange(700) // 70, 10 + np.arange(300) % 90)  # ten large ones and 90 small ones
    keys = np.stack([np.arange(1000), 5000 + groups], 1)
    for known, chosen in ((10, []), (30, [1])):  # groups that have decided; 75 % must be fresh instead of use 2
        owners = np.stack([np.zeros(1000, int), np.where(groups < known, 1, 0)], 1)
        assert choose_lineages(keys, owners, np.arange(1000) % 2, {1: 1}, 0.05) == chosen
    torn = np.tile([1, 2], (1000, 1))  # text and group have decided for different test sets
    assert choose_lineages(keys, torn, np.arange(1000) % 2, {1: 1, 2: 1}, 0.05) == [1, 2]


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (uncounted(0.05), ""),
        (Use(1, 0.025, 0.025, True, 1, 100, 100, 0), ""),
        (
            Use(7, 0.001, 0.01, True, 1, 1060, 20, 0),
            "Use 7 of this test set: 1,040 of the 1,060 rows that decide are known from earlier decisions.",
        ),
        (
            Use(2, 0.01, 0.01, True, 1, 100, 0, 1),
            "Use 2 of this test set: all 100 rows that decide are known from earlier decisions. 1 row of this test set "
            "is left out: their texts or groups belong to decisions on another test set.",
        ),
        (
            Use(1, 0.025, 0.025, True, 2, 2900, 2900, 1392),
            "1,392 rows of this test set are left out: their texts or groups belong to decisions on another test set.",
        ),
    ],
)
def test_a_use_in_words(use, says):
    assert use.in_words() == says


def models(folder, first, last, fingerprint, names=("old", "new")):
    """A champion and a better candidate on rows of a data set that grows, each in an order of its own."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 2000)
    common = rng.standard_normal((2000, 3))
    made = []
    for name, strength in zip(names, (1.5, 3.0), strict=True):
        probabilities = scores(np.random.default_rng(len(name)), truth, 3, strength, common)
        place = write_numbers(folder / name, truth, probabilities, LABELS, version=1 if name == "old" else None)
        found = read_evaluation(place)
        kept = found.predictions.slice(first, last - first)
        if name == "old":
            kept = kept.take(pa.array(np.arange(kept.num_rows)[::-1]))
        write_evaluation(replace(found, test_fingerprint=fingerprint, predictions=kept), place)
        made.append(place)
    return made


def run(folder, champion, candidate, registry, policy=None):
    compare_models(
        candidate,
        champion,
        folder / "decision",
        folder / "page.html",
        folder / "summary.md",
        policy or Policy(),
        registry,
    )
    return read_decision(folder / "decision")


def test_a_growing_test_set_spends_one_alpha_and_reason_and_page_say_so(tmp_path):
    registry = str(tmp_path / "registry")
    first = run(tmp_path, *models(tmp_path, 0, 400, "a"), registry)
    assert "Use" not in first.reason and first.test_set["alpha"] == pytest.approx(0.025)
    second = run(tmp_path, *models(tmp_path, 0, 401, "b"), registry)
    assert second.test_set["number"] == 2 and second.test_set["alpha"] == pytest.approx(0.05 / 6)
    assert second.difference["rows"] == 401 and second.difference["confidence"] == pytest.approx(1 - 0.1 / 6)
    assert "Use 2 of this test set: 400 of the 401 rows that decide are known from earlier decisions." in second.reason
    page = (tmp_path / "page.html").read_text()
    assert "number 2, alpha left for later uses 0.01667" in page
    assert "401, of which 1 is in no earlier decision" in page


def test_the_champion_compared_with_itself_spends_nothing(tmp_path):
    registry, (champion, candidate) = str(tmp_path / "registry"), models(tmp_path, 0, 400, "a")
    itself = replace(read_evaluation(champion), model_version=None, champion_generation=0)
    write_evaluation(itself, tmp_path / "itself")
    made = run(tmp_path, champion, tmp_path / "itself", registry)
    assert made.outcome == "REJECT" and made.reason.startswith(
        "Nothing has changed: the candidate is version 1 itself. There is nothing to promote."
    )
    assert run(tmp_path, champion, candidate, registry).test_set["number"] == 1


def test_the_same_models_compared_again_after_a_rollback_are_the_same_use(tmp_path):
    registry, (champion, candidate) = str(tmp_path / "registry"), models(tmp_path, 0, 400, "a")
    assert run(tmp_path, champion, candidate, registry).test_set["number"] == 1
    # A rollback makes the same version champion again, and its pointer has another generation.
    write_evaluation(replace(read_evaluation(champion), champion_generation=99), champion)
    assert run(tmp_path, champion, candidate, registry).test_set["number"] == 1
    write_evaluation(replace(read_evaluation(champion), model_version=2), champion)
    assert run(tmp_path, champion, candidate, registry).test_set["number"] == 2


def test_evidence_counted_in_another_way_is_another_use(tmp_path):
    registry, folders = str(tmp_path / "registry"), models(tmp_path, 0, 400, "a")
    assert run(tmp_path, *folders, registry).test_set["number"] == 1
    for folder in folders:
        write_evaluation(replace(read_evaluation(folder), evidence_by="row"), folder)
    assert run(tmp_path, *folders, registry).test_set["number"] == 2


def by_film(folder, films):
    """Champion and candidate on the same 400 rows, where each row's film is the evidence."""
    places = models(folder, 0, 400, "a")
    for place in places:
        found = read_evaluation(place)
        films_here = pa.array(films if found.model_version is None else films[::-1], pa.string())
        table = found.predictions.append_column("cluster", films_here)
        write_evaluation(replace(found, evidence_by="film", predictions=table), place)
    return places


FILMS = [f"{'Ff'[i % 2]}ilm {i // 20}" for i in range(400)]
OTHER_FILMS = {
    "renamed": [f"movie {i // 20}" for i in range(400)],
    "one renamed": ["movie" if film == "Film 3" else film for film in FILMS],
    "two made one": [film.lower() for film in FILMS],
    "left out": [None if i % 2 else film for i, film in enumerate(FILMS)],
    "all left out": [None] * 400,
}


@pytest.mark.parametrize("films", OTHER_FILMS.values(), ids=OTHER_FILMS)
def test_other_groups_of_the_same_rows_are_another_use(tmp_path, films):
    registry = str(tmp_path / "registry")
    numbers = [run(tmp_path, *by_film(tmp_path, some), registry).test_set for some in (FILMS, films, films, FILMS)]
    assert [(one["number"], one["rows"], one["left_out"]) for one in numbers] == [
        (1, 400, 0),
        (2, 400, 0),
        (2, 400, 0),
        (1, 400, 0),
    ]
    assert {one["lineage"] for one in numbers} == {1}


def test_a_use_by_groups_that_an_older_version_recorded_is_the_same_where_its_groups_are_known(tmp_path):
    registry = Registry(str(tmp_path / "registry"))
    assert run(tmp_path, *by_film(tmp_path, FILMS), registry.uri).test_set["number"] == 1
    name = "test_sets/lineages.json"
    record = json.loads(registry.store.read(name).data)
    del record["decisions"][0]["identity"]["groups"]
    registry.store.write(name, json.dumps(record).encode())
    assert run(tmp_path, *by_film(tmp_path, FILMS), registry.uri).test_set["number"] == 1
    renamed = run(tmp_path, *by_film(tmp_path, OTHER_FILMS["renamed"]), registry.uri).test_set
    assert (renamed["number"], renamed["rows"], renamed["left_out"]) == (2, 400, 0)


def test_a_test_set_without_rows_is_refused_in_a_sentence(tmp_path):
    one, other = (read_evaluation(place) for place in by_film(tmp_path, FILMS))
    with pytest.raises(UserError, match="There is no test row to compare the models on"):
        pair_predictions(*(replace(found, predictions=found.predictions.slice(0, 0)) for found in (other, one)))


def test_fresh_rows_decide_alone_in_both_evaluations_and_what_is_left_out_is_said(tmp_path):
    registry = str(tmp_path / "registry")
    run(tmp_path, *models(tmp_path, 0, 100, "a"), registry)
    made = run(tmp_path, *models(tmp_path, 20, 1200, "b"), registry)
    assert (made.test_set["number"], made.test_set["rows"], made.test_set["left_out"]) == (1, 1100, 80)
    assert made.difference["rows"] == 1100 and made.outcome == "PROMOTE"
    alone = run(tmp_path, *models(tmp_path, 100, 1200, "c"), "")
    for name in ("value", "candidate", "champion"):
        assert made.difference[name] == pytest.approx(alone.difference[name]), name
    assert made.reason.endswith(
        "80 rows of this test set are left out: their texts or groups belong to decisions on another test set."
    )
    page = (tmp_path / "page.html").read_text()
    assert page and "80 rows" not in page  # that of the last comparison, without a registry


def test_a_text_may_decide_for_one_group_and_be_left_out_for_another(tmp_path):
    registry = str(tmp_path / "registry")

    def use(fingerprint, ids, groups):
        places = models(tmp_path, 0, len(ids), fingerprint)
        for place in places:
            found = read_evaluation(place)
            numbers = np.arange(len(ids)) if found.model_version is None else np.arange(len(ids))[::-1]
            table = found.predictions.drop_columns(["id", "text_key"])
            for name, values in (("id", ids), ("text_key", ids), ("cluster", groups)):
                table = table.append_column(name, pa.array(values).take(numbers))
            write_evaluation(replace(found, evidence_by="customer", predictions=table), place)
        return run(tmp_path, *places, registry)

    old, customers = ["NIGHT", *map(str, range(299))], [f"a {i}" for i in range(300)]
    use("a", old, customers)
    assert use("b", list(map(str, range(300, 600))), [f"b {i}" for i in range(300)]).test_set["lineage"] == 2
    made = use("c", [*old, "NIGHT"], [*customers, "b 0"])
    assert (made.test_set["number"], made.difference["rows"], made.test_set["left_out"]) == (2, 300, 1)


def test_a_comparison_with_an_override_is_the_same_use(tmp_path):
    registry, pair = str(tmp_path / "registry"), models(tmp_path, 0, 300, "a")
    by_hand = Policy(override="HOLD", override_by="Ada", override_reason="wait")
    numbers = [run(tmp_path, *pair, registry, policy).test_set["number"] for policy in (by_hand, None, by_hand)]
    assert numbers == [1, 1, 1]


def test_a_decision_is_kept_in_the_registry_with_the_address_of_its_page(tmp_path):
    registry = Registry(str(tmp_path / "registry"))
    made = run(tmp_path, *models(tmp_path, 0, 400, "a"), registry.uri)
    (kept,) = registry.decisions()
    assert (kept.decision_id, kept.outcome, kept.reason) == (made.decision_id, made.outcome, made.reason)
    assert kept.report.endswith(".html") and kept.approval is None
    assert registry.verify() == []
