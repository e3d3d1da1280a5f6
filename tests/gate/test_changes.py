"""What the page of a comparison shows beside the decision."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kfp_bert_components.evaluation import read_evaluation, write_evaluation
from kfp_bert_components.evaluation.measure import measure
from kfp_bert_components.gate import Policy, compare
from kfp_bert_components.gate.changes import Flip, changes
from kfp_bert_components.steps.compare_models import compare_models
from tests.support.evaluations import write_nobody, write_numbers

LABELS = ["a", "b", "c"]
# Rows by (true class, candidate's answer, champion's answer); the candidate is sure of the later ones.
ROWS = [(0, 0, 0)] * 20 + [(0, 0, 1)] * 20 + [(1, 0, 1)] * 4 + [(1, 1, 1)] * 6 + [(1, 2, 0)] * 2


def sides():
    truth, new, old = np.array(ROWS).T
    sure = np.linspace(0.6, 0.9, len(truth))
    candidate = np.where(np.arange(3) == new[:, None], sure[:, None], (1 - sure[:, None]) / 2)
    return truth, candidate, 0.25 + 0.25 * np.eye(3)[old]


def look(folder, *, order=None, **options):
    truth, new, old = sides()
    candidate = write_numbers(folder / "new", truth, new, LABELS, order=order, **options)
    champion = write_numbers(folder / "old", truth, old, LABELS, version=4, **options)
    return changes(compare(read_evaluation(candidate), read_evaluation(champion), Policy().goal))


def test_rows_that_only_one_model_has_right_are_shown_with_the_largest_change_first(tmp_path):
    texts = [f"text {i}" for i in range(len(ROWS))]
    for name, order in (("as they are", None), ("turned", np.arange(len(ROWS))[::-1])):
        found = look(tmp_path / name, order=order, texts=texts)
        assert (found.newly_right, found.newly_wrong) == (20, 4)
        assert found.won[0] == Flip("text 39", "a", "b", "a") and found.won[14].text == "text 25"
        assert len(found.won) == 15
        assert [flip.text for flip in found.lost] == ["text 43", "text 42", "text 41", "text 40"]
        assert found.lost[0] == Flip("text 43", "b", "b", "a")


def test_the_changes_of_classes_and_slices_have_their_rows_and_intervals(tmp_path):
    found = look(tmp_path)
    assert [(one.name, one.rows) for one in found.classes] == [("a", 40), ("b", 12)]
    f1 = {"a": (80 / 84, 40 / 62), "b": (12 / 18, 20 / 42)}
    assert [one.value for one in found.classes] == pytest.approx([new - old for new, old in f1.values()])
    assert all(-1 <= one.low < one.value < one.high <= 1 for one in [*found.classes, *found.slices])
    truth, new, old = np.array(ROWS).T
    members = read_evaluation(tmp_path / "new")
    assert [one.name for one in found.slices] == members.slices
    for one in found.slices:
        rows = members.members(one.name)
        assert one.rows == rows.sum()
        assert one.value == pytest.approx((new == truth)[rows].mean() - (old == truth)[rows].mean())


def test_both_models_are_shown_or_the_candidate_alone_where_there_is_no_champion(tmp_path):
    found = look(tmp_path)
    assert found.confusions["candidate"].tolist() == [[40, 0, 0], [4, 6, 2], [0, 0, 0]]
    assert found.confusions["champion"].tolist() == [[20, 20, 0], [2, 10, 0], [0, 0, 0]]
    assert {name: sum(one["rows"] for one in bins) for name, bins in found.reliability.items()} == {
        "candidate": 52,
        "champion": 52,
    }
    assert [one["confidence"] for one in found.reliability["champion"]] == pytest.approx([0.5])
    nobody = read_evaluation(write_nobody(tmp_path / "nobody", LABELS))
    alone = changes(compare(read_evaluation(tmp_path / "new"), nobody, Policy().goal))
    assert list(alone.confusions) == list(alone.reliability) == ["candidate"]
    assert alone.confusions["candidate"].tolist() == found.confusions["candidate"].tolist()
    assert (alone.newly_right, alone.newly_wrong) == (6, 0)
    assert not (alone.classes or alone.slices or alone.won or alone.lost)


def test_many_classes_and_slices_are_cut_to_the_first_30(tmp_path):
    truth = np.repeat(np.arange(31), np.arange(31, 0, -1) + 3)
    labels = [f"class {k}" for k in range(31)]
    new = np.eye(31)[truth]
    old = np.vstack([new[-1:], new[1:]])  # wrong in the first row
    candidate = write_numbers(tmp_path / "new", truth, new, labels)
    champion = write_numbers(tmp_path / "old", truth, old, labels, version=4)
    found = changes(compare(read_evaluation(candidate), read_evaluation(champion), Policy().goal))
    assert [one.name for one in found.classes] == labels[:30]


def test_flips_are_shown_by_file_and_row_where_texts_were_left_out_and_beside_the_text_where_not(tmp_path):
    truth, new, old = sides()
    rows = range(len(truth))
    table = pa.table({"id": [f"{i:04}" for i in rows], "text": [f"secret {i}" for i in rows]})
    table = table.append_column("label", pa.array([LABELS[k] for k in truth]))
    table = table.append_column("source", pa.array(["a.csv"] * len(truth)))
    table = table.append_column("source_row", pa.array([i + 2 for i in rows]))
    found = {}
    for keep in (True, False):
        folders = []
        for name, probabilities in (("new", new), ("old", old)):
            made = measure(
                table, probabilities.astype("f4"), LABELS, slices={}, test_fingerprint="test", keep_texts=keep
            )
            write_evaluation(replace(made, model_version=4 if name == "old" else None), tmp_path / f"{name} {keep}")
            folders.append(tmp_path / f"{name} {keep}")
        paths = tmp_path / "decision", tmp_path / f"{keep}.html", tmp_path / "summary.md"
        found[keep] = compare_models(*folders, *paths, Policy())
        page = paths[1].read_text()
        assert "a.csv row 41" in page and ("secret 39" in page) == keep
    assert found[True].difference == found[False].difference


@pytest.mark.long
def test_pages_of_many_classes_list_the_worst_and_say_what_they_leave_out(tmp_path):
    classes, rng = 60, np.random.default_rng(0)
    labels = [f"class {i}" for i in range(classes)]
    truth = np.repeat(np.arange(classes), 2)
    wrong = rng.integers(0, classes, (2, len(truth)))
    said = [np.where(rng.random(len(truth)) < share, truth, one) for share, one in zip((0.8, 0.7), wrong, strict=True)]
    new, old = (
        write_numbers(tmp_path / name, truth, 0.999 * (np.arange(classes) == one[:, None]) + 0.001 / classes, labels)
        for name, one in zip(("new", "old"), said, strict=True)
    )
    page, summary = tmp_path / "page.html", tmp_path / "summary.md"
    made = compare_models(
        new, old, tmp_path / "decision", page, summary, Policy(primary_metric="mcc", max_class_drop=0.5, min_rows=2)
    )
    assert made.outcome in ("HOLD", "REJECT") and len(made.guardrails) == classes
    assert "Here are 40, those that fail first; decision.json has all." in page.read_text()
    assert "The matrix of 60 classes is too large for a page." in page.read_text()
    assert len(page.read_text()) < 200_000
    assert "- 20 more guardrails are in decision.json" in summary.read_text()
    assert len(summary.read_text().splitlines()) < 60
