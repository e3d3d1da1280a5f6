"""Likely wrong labels: found, listed with file and row, and without looking at the labels of the rows themselves."""

import base64
import csv
import io
import json
import re

import numpy as np
import pyarrow as pa
import pytest

from kfp_bert_components.data.splits import read_split
from kfp_bert_components.training import TrainingSettings, finetune
from kfp_bert_components.training.label_errors import confident_errors, find_label_errors, fold_probabilities
from tests.support.peers import ROOT, run_peer
from tests.support.splits import write_split
from tests.support.training import LABELS, make_base_model, make_splits

FLIPPED = [7, 50, 101, 150, 222]
SETTINGS = {"layers": 1, "width": 32, "heads": 2, "max_length": 32, "epochs": 1}


def relabelled(folder, change, **columns):
    """The training split of `make_splits`, of 240 rows, with changed labels and further columns."""
    table = read_split(make_splits(folder, rows=240) / "train").table
    labels = change(table.column("label").to_pylist())
    table = table.set_column(table.column_names.index("label"), "label", pa.array(labels))
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    write_split(folder / "train", "train", sorted(set(labels)), table)
    return folder


def flipped_one(label):
    return LABELS[(LABELS.index(label) + 1) % 3]


def flipped(labels):
    return [flipped_one(one) if row in FLIPPED else one for row, one in enumerate(labels)]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    names = [f"<b>{row // 100}.csv" for row in range(240)]
    return relabelled(
        tmp_path_factory.mktemp("noisy"), flipped, source=names, source_row=[row % 100 + 2 for row in range(240)]
    )


def check(folder, rows=1_000, **settings):
    return find_label_errors(
        read_split(folder / "train"), TrainingSettings(**{**SETTINGS, **settings}, label_check_rows=rows)
    )


def test_a_label_is_wrong_where_another_is_as_probable_as_it_is_for_its_own_rows():
    rows = [(0.9, 0.1), (0.8, 0.2), (0.3, 0.7), (0.05, 0.95), (0.4, 0.6), (0.1, 0.9), (0.5, 0.5)]
    codes = [0, 0, 0, 0, 1, 1, 1]  # the means of their own: 0.5125 and 0.667
    assert confident_errors(np.array(rows), np.array(codes)).tolist() == [3, 2]


def test_copies_of_a_text_say_nothing_about_each_other():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 5)
    codes = rng.permutation(np.repeat([0, 1], 100))[groups]
    one_hot = np.eye(200)[groups]
    found = fold_probabilities((one_hot - one_hot.mean()) / one_hot.std(axis=0), codes, groups)
    assert np.allclose(found.sum(axis=1), 1)
    assert abs((found.argmax(axis=1) == codes).mean() - 0.5) < 0.15  # nothing but the copies could tell


@pytest.mark.parametrize("start", ["scratch", "checkpoint"])
def test_flipped_labels_are_found_with_the_right_ones(noisy, tmp_path, start, capsys):
    base = {"base_model": str(make_base_model(tmp_path / "base"))} if start == "checkpoint" else {}
    found = check(noisy, **base)
    assert found.checked == 240 and found.skipped == []
    assert set(found.rows.tolist()) <= set(FLIPPED) and len(found.rows) >= 3
    before = read_split(noisy / "train").table.column("label").to_pylist()
    given = dict(zip(found.rows.tolist(), found.suggested.tolist(), strict=True))
    assert all(flipped_one(LABELS[label]) == before[row] for row, label in given.items())
    assert found.certainty.max() <= 1 and found.certainty.min() > 0.5
    assert re.search(r"checking labels 5/5 folds \(100 %\)", capsys.readouterr().out)
    assert check(noisy, **base).rows.tolist() == found.rows.tolist()


def test_the_base_model_is_what_sees_the_texts(noisy, tmp_path, capsys):
    check(noisy, base_model=str(make_base_model(tmp_path / "base")))
    assert "reading the base model's states of the rows" in capsys.readouterr().out


@pytest.mark.parametrize("rare", [0, 40])
def test_as_many_rows_are_checked_as_asked_for_where_so_many_can_be(tmp_path, rare):
    labels = ["a", "b"] * 180 + [*["rare"] * rare, *["a"] * (40 - rare)]
    table = pa.table({"id": [""] * 400, "text": [f"text {i // 10}" for i in range(400)], "label": labels})
    write_split(tmp_path / "train", "train", ["a", "b", "rare"], table)
    for asked in (105, 355, 360 if rare else 400, 1_000):
        found = check(tmp_path, asked)
        assert found.checked == min(asked, 400 - rare)
    assert found.skipped == (["rare"] if rare else [])


def test_labels_with_too_few_texts_are_named_and_not_checked(tmp_path):
    folder = relabelled(tmp_path, lambda labels: ["a rare one"] * 4 + flipped(labels)[4:])
    found, split = check(folder), read_split(folder / "train")
    assert found.skipped == ["a rare one"] and found.checked == 236
    assert len(found.rows) >= 3 and set(found.rows.tolist()) <= set(FLIPPED)
    given = split.table.column("label").to_pylist()
    assert all(
        given[row] == flipped_one(split.labels[label]) for row, label in zip(found.rows, found.suggested, strict=True)
    )


def test_one_label_alone_is_not_checked(tmp_path):
    found = check(relabelled(tmp_path, lambda labels: ["rare"] * 4 + ["other"] * 236))
    assert found.checked == 0 and len(found.rows) == 0


def test_a_pair_is_checked_as_one_text(tmp_path):
    assert check(make_splits(tmp_path, rows=240, pair=True)).checked == 240


def test_the_report_lists_them_with_file_and_row_and_holds_the_whole_list(noisy, tmp_path):
    places = [noisy / "train", noisy / "validation", tmp_path / "model", tmp_path / "report.html"]
    finetune(*places, TrainingSettings(**SETTINGS, label_check_rows=1_000))
    page = (tmp_path / "report.html").read_text()
    section = page.split("Labels that are likely wrong</h2>")[1].split("<h2>")[0]
    assert "of the 240 training rows" in section and "<b>" not in section
    (link,) = re.findall(r'href="data:text/csv;base64,([^"]+)"', section)
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(link).decode())))
    table = read_split(noisy / "train").table.to_pylist()
    wrong = {(table[row]["source"], table[row]["source_row"]): table[row] for row in FLIPPED}
    assert len(rows) >= 3
    for one in rows:
        row = wrong[one["file"], int(one["row"])]
        assert (row["id"], row["label"]) == (one["id"], one["label"]) and float(one["certainty"]) > 0.5
        place = f"&lt;b&gt;{row['source'][3:]} row {row['source_row']}</div></td>"
        assert f'{row["text"]}<div class="note">{place}<td class="text">{row["label"]}<br>' in section
        assert f"</span> {one['suggested']} <span" in section and row["label"] == flipped_one(one["suggested"])
    assert "label_check_rows" not in json.loads((tmp_path / "model" / "bundle.json").read_text())["parameters"]


@pytest.mark.long
def test_a_split_that_does_not_know_the_rows_of_its_files_is_said_to_have_other_numbers(tmp_path):
    folder = relabelled(tmp_path, flipped, source=["a.csv"] * 240)
    places = [folder / "train", folder / "validation", tmp_path / "model", tmp_path / "report.html"]
    finetune(*places, TrainingSettings(**SETTINGS, label_check_rows=1_000))
    numbers = re.findall(r"a\.csv \(training split\) row (\d+)<", (tmp_path / "report.html").read_text())
    assert len(numbers) >= 3 and {int(number) - 1 for number in numbers} <= set(FLIPPED)


@pytest.mark.peers
@pytest.mark.parametrize("classes", [2, 7, 60])
def test_cleanlab_lists_the_same_rows(classes, tmp_path):
    rng = np.random.default_rng(classes)
    codes = np.concatenate([np.arange(classes), rng.integers(0, classes, 3_000)])
    probabilities = rng.dirichlet(np.full(classes, 2 / classes), len(codes))
    probabilities[np.arange(len(codes)), codes] += rng.random(len(codes))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    np.savez(tmp_path / "rows.npz", codes=codes, probabilities=probabilities)
    theirs = json.loads(run_peer("torch", ROOT / "benchmarks" / "label_errors_peer.py", tmp_path / "rows.npz"))
    ours = confident_errors(probabilities, codes)
    assert len(ours) > 20 and ours.tolist() == theirs["confident_learning"]
