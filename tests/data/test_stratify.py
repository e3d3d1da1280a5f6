"""Stratified splits of classes of any size, and classes that a split lacks."""

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_bert_components.data.prepare_data import Prepared, prepare
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.steps.prepare_text_data import prepare_text_data

SPLITS = ("train", "validation", "test")
LENIENT = {"small_classes": "keep", "constant_text": "keep", "near_duplicates": 0}


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    pq.write_table(pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]}), path)
    return path


def stratified(rows: list[tuple[str, str]], **asked: object) -> tuple[Prepared, list[list[tuple[str, str]]]]:
    """What came of it, and text and label of the rows of each split."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / name for name in SPLITS]
        source = write(Path(folder) / "a.parquet", rows)
        prepared = prepare(source, *places, PrepareSettings(stratify=True, **LENIENT, **asked))
        tables = [read_split(place).table for place in places]
    return prepared, [list(zip(*map(table.__getitem__, ("text", "label")), strict=True)) for table in tables]


def class_counts(sizes: dict[str, int], **asked: object) -> dict[str, list[int]]:
    """Rows of each class in train, validation and test, where every text is another one."""
    prepared, _ = stratified([(f"{label} {i}", label) for label, size in sizes.items() for i in range(size)], **asked)
    rows = zip(*prepared.class_rows.values(), strict=True)
    return dict(zip(prepared.classes, map(list, rows), strict=True))


def test_a_class_goes_to_train_first_then_to_test_then_to_validation():
    sizes = {f"{size:02}": size for size in (1, 2, 3, 4, 5, 9, 10, 15, 30)}
    assert class_counts(sizes) == {
        "01": [1, 0, 0],
        "02": [1, 0, 1],
        "03": [2, 0, 1],
        "04": [2, 1, 1],
        "05": [3, 1, 1],
        "09": [7, 1, 1],
        "10": [8, 1, 1],
        "15": [11, 2, 2],
        "30": [24, 3, 3],
    }


shares = st.sampled_from([(0.1, 0.1), (0.05, 0.05), (0.2, 0.1), (0.25, 0.25), (0.4, 0.4), (0.5, 0.3)])


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(1, 60), min_size=2, max_size=6), share=shares)
def test_classes_of_any_size_have_their_shares_as_near_as_they_go(sizes: list[int], share: tuple[float, float]):
    test, validation = share
    asked = {"test_fraction": test, "validation_fraction": validation}
    big = 40  # so that no split is empty
    for label, found in class_counts({f"{i}": size for i, size in enumerate([*sizes, big])}, **asked).items():
        size = [*sizes, big][int(label)]
        assert sum(found) == size
        assert found[0] >= max(1, min(size / 2, size * (1 - test - validation) - 1 - 1e-9))
        assert found[2] >= min(1, size - 1) and found[1] >= (size > 3 and found[0] > size / 2)
        for rows, fraction in zip(found[1:], (validation, test), strict=True):
            assert rows <= max(1, fraction * size + 0.5)  # no more than its share, rounded
        if size >= 10:
            assert found[1] == round(validation * size) or found[1] == 1
            assert found[2] == round(test * size) or found[2] == 1


repeating = st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abcd")), min_size=1, max_size=60)


@settings(max_examples=80)
@given(rows=repeating, share=shares)
def test_every_class_is_in_train_and_no_text_in_two_splits_however_texts_and_labels_repeat(
    rows: list[tuple[int, str]], share: tuple[float, float]
):
    filler = [(f"Word {i}!", "xy"[i % 2]) for i in range(40)]
    rows = [(f"{'text' if i % 2 else 'TEXT'} {k}{'.' * (i % 3)}", label) for i, (k, label) in enumerate(rows)]
    _, found = stratified([*rows, *filler], test_fraction=share[0], validation_fraction=share[1])
    assert sum(map(len, found)) == len(rows) + 40
    assert {str(label) for _, label in found[0]} == {label for _, label in [*rows, *filler]}
    held = [{str(text).lower().strip(".") for text, _ in split} for split in found]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])


def test_rows_that_are_dropped_count_in_the_split_of_their_text():
    copies = [(f"text {i}", "ab"[i % 2]) for i in range(300)] * 3
    disputed = [(f"disputed {i}", label) for i in range(200) for label in "ab"]
    prepared, parts = stratified(copies + disputed, duplicates="drop", conflicting_labels="drop")
    found = {result.check: result.by_split for result in prepared.results}
    assert found["duplicates"] == {name: 2 * len(part) for name, part in zip(SPLITS, parts, strict=True)}
    assert sum(found["conflicting_labels"].values()) == 400 and all(
        n > 10 for n in found["conflicting_labels"].values()
    )


def test_a_text_of_many_rows_does_not_fill_a_split():
    rows = [("CUT TO:", "other")] * 400 + [(f"line {i}", "other") for i in range(100)]
    _, found = stratified([*rows, *((f"speech {i}", "dialogue") for i in range(500))])
    assert [Counter(str(label) for _, label in split)["other"] for split in found] == [400, 50, 50]


def test_a_class_of_a_few_texts_with_many_copies_is_in_test_too():
    rows = [(f"text {i % 3}", "few") for i in range(9)]
    _, found = stratified([*rows, *((f"line {i}", "many") for i in range(50))])
    assert [Counter(str(label) for _, label in split)["few"] for split in found] == [6, 0, 3]


def test_a_label_that_only_other_labels_texts_have_is_in_train():
    shared = [(f"line {i}", label) for i in range(40) for label in ("many", "many", f"rare {i}")]
    prepared, found = stratified([*shared, *((f"speech {i}", "other") for i in range(40))])
    assert all(prepared.class_rows["train"]) and all(found)


@pytest.fixture
def lacking(tmp_path: Path) -> Path:
    """Train, validation and test in files, where a label of train is in validation only, and one in neither."""
    (tmp_path / "in").mkdir()
    labels = {"train": "abcd", "validation": "abc", "test": "abe"}
    for name, some in labels.items():
        write(tmp_path / f"in/{name}.parquet", [(f"{name} {i} {one}", one) for one in some for i in range(5)])
    return tmp_path / "in"


def test_a_class_that_a_split_lacks_is_named_in_log_and_report(lacking: Path, tmp_path: Path, capsys):
    places = [tmp_path / name for name in (*SPLITS, "report.html")]
    asked = {"split_by": "file", "test_values": ["test*"], "validation_values": ["validation*"]}
    prepare_text_data(lacking, *places, PrepareSettings(**asked, near_duplicates=0))
    log, page = capsys.readouterr().out, places[-1].read_text()
    for said in (
        "No row of train has the label 'e': a model that is trained on it won't learn them.",
        "No row of validation has the label 'd': training will keep the weights with the lowest validation loss",
        "No row of test has the labels 'c', 'd': how good a model is on such rows will not be known.",
    ):
        assert said in log
        assert said.replace("'", "&#39;") in page
    assert 'class="summary wait"' in page
    rows = [(f"{label} {i}", label) for label in "ab" for i in range(60)]
    prepared, _ = stratified(rows)
    assert prepared.warnings() == []
    prepared, _ = stratified(rows, validation_fraction=0)
    assert prepared.warnings() == []  # nothing is said of a split that was not asked for
