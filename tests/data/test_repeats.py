"""Rows that repeat others: what stays, what is a leak, and what is said of it."""

import re
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.steps.prepare_text_data import prepare_text_data

WORDS = ["apple", "river", "stone", "cloud", "paper", "window", "garden", "music", "silver", "table"]
SPLITS = ("train", "validation", "test")
BY_FILE = {"split_by": "file", "test_values": ["test*"]}


def texts(count: int, start: int = 0) -> list[str]:
    """Different texts of ten words that share few of them."""
    return [" ".join(f"{WORDS[(i * 7 + k) % 10]}{i}" for k in range(10)) for i in range(start, start + count)]


def write(path: Path, rows: list[tuple[str, object]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"text": [text for text, _ in rows], "label": [str(label) for _, label in rows]}), path)
    return path


def labelled(several: list[str]) -> list[tuple[str, int]]:
    return [(text, number % 2) for number, text in enumerate(several)]


def run(source: Path, folder: Path, **settings: object):
    places = [folder / name for name in SPLITS]
    prepared = prepare_text_data(source, *places, folder / "report.html", PrepareSettings(**settings))
    return prepared, *[read_split(place).table for place in places]


def write_films(folder: Path, common: list[str]) -> Path:
    """A training and a test file whose texts differ, but for the common ones, which both have."""
    write(folder / "train.parquet", labelled([*texts(60), *common]))
    write(folder / "test.parquet", labelled([*texts(20, 100), *common]))
    return folder


def count(table: pa.Table, text: str) -> int:
    return table["text"].to_pylist().count(text)


def test_rows_that_repeat_stay_as_often_as_they_occur(tmp_path: Path):
    rows = [*labelled(texts(300)), *[("CUT TO:", 1)] * 70, *[("NIGHT", 0)] * 30, *[("NIGHT", 1)] * 3]
    prepared, *tables = run(write(tmp_path / "a.parquet", rows), tmp_path / "out")
    assert prepared.dropped["duplicates"] == prepared.dropped["conflicting_labels"] == 0
    assert sum(prepared.rows.values()) == 403
    assert sorted(count(table, "CUT TO:") for table in tables) == [0, 0, 70]
    assert sorted(count(table, "NIGHT") for table in tables) == [0, 0, 33]


@pytest.mark.parametrize("stratify", [False, True])
def test_copies_never_straddle_splits_where_a_hash_of_the_text_decides(tmp_path: Path, stratify: bool):
    rng = np.random.default_rng(0)
    said = [f"{WORDS[k]}{'!' * (i % 2)}" if k < 10 else f"line {k}" for i, k in enumerate(rng.zipf(1.5, 600) % 200)]
    rows = [(text.upper() if i % 3 else text, i % 2) for i, text in enumerate(said)]
    _, *tables = run(write(tmp_path / "a.parquet", rows), tmp_path / "out", stratify=stratify)
    held = [{text.lower().strip("!") for text in table["text"].to_pylist()} for table in tables]
    assert sum(table.num_rows for table in tables) == 600 and all(held)
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])


def test_a_short_text_in_two_files_stays_and_a_long_one_leaves_train(tmp_path: Path):
    short, long = "what are you doing", "what are you doing here"
    source = write_films(tmp_path / "in", [short, short.upper() + "?", long, "NIGHT", "NIGHT", "..."])
    prepared, train, validation, test = run(source, tmp_path / "out", **BY_FILE)
    assert [count(test, one) for one in (short, long, "NIGHT", "...")] == [1, 1, 2, 1]
    both = pa.concat_tables([train, validation.drop_columns("in_train")])
    assert [count(both, one) for one in (short, long, "NIGHT", "...")] == [1, 0, 2, 1]
    assert prepared.dropped["leakage"] == 1 and [leak.kind for leak in prepared.leaks] == ["exact"]
    assert sum(leak.count for leak in prepared.recurring if leak.other == "test") == 5


@pytest.mark.parametrize(("least", "leaving"), [(0, 5), (1, 4), (2, 3), (5, 2), (6, 1), (7, 0)])
def test_leak_words_says_how_long_a_leak_is(tmp_path: Path, least: int, leaving: int):
    common = ["--", "NIGHT", "cut to", "one two three four five", "one two three four six seven"]
    source = write_films(tmp_path / "in", common)
    prepared, *_ = run(source, tmp_path / "out", **BY_FILE, leak_words=least, validation_fraction=0)
    assert prepared.dropped["leakage"] == leaving
    assert sum(leak.count for leak in prepared.recurring) == 5 - leaving


def test_near_texts_need_five_words_or_leak_words_where_that_is_more(tmp_path: Path):
    write(tmp_path / "in/train.parquet", labelled([*texts(60), "a b c d e f", "p q r s t u v w x y 1"]))
    write(tmp_path / "in/test.parquet", labelled([*texts(20, 100), "a b c d e", "p q r s t u v w x y"]))
    asked = {**BY_FILE, "validation_fraction": 0}
    found = {least: run(tmp_path / "in", tmp_path / f"{least}", **asked, leak_words=least)[0] for least in (0, 5, 8)}
    assert {least: prepared.dropped["leakage"] for least, prepared in found.items()} == {0: 2, 5: 2, 8: 1}


def test_validation_and_test_say_of_each_row_whether_train_has_its_text(tmp_path: Path):
    common = ["NIGHT", "CUT TO:", "Let's go.", "what are you doing here today"]
    write(tmp_path / "in/train.parquet", labelled([*texts(60), *common]))
    write(tmp_path / "in/test.parquet", labelled([*texts(20, 100), *common, "night", "cut to"]))
    write(tmp_path / "in/val.parquet", labelled([*texts(20, 200), "NIGHT", "DAY"]))
    prepared, train, validation, test = run(tmp_path / "in", tmp_path / "out", **BY_FILE, validation_values=["val*"])
    assert "in_train" not in train.column_names
    assert test.schema.field("in_train").type == validation.schema.field("in_train").type == pa.bool_()
    seen = {row["text"] for row in test.to_pylist() if row["in_train"]}
    assert seen == {"NIGHT", "CUT TO:", "Let's go.", "night", "cut to"}  # the long one left train
    assert [row["text"] for row in validation.to_pylist() if row["in_train"]] == ["NIGHT"]
    assert prepared.in_train == {"validation": 1, "test": 5}


def test_the_fingerprint_of_the_test_set_does_not_depend_on_train(tmp_path: Path):
    source = write_films(tmp_path / "in", ["NIGHT"])
    first, *_ = run(source, tmp_path / "1", **BY_FILE)
    write(source / "train.parquet", labelled(texts(60)))
    second, *_ = run(source, tmp_path / "2", **BY_FILE)
    assert first.in_train["test"] == 1 and second.in_train["test"] == 0
    assert first.fingerprints["test"] == second.fingerprints["test"]


def test_log_and_report_say_what_stays_and_what_each_policy_would_change(tmp_path: Path, capsys):
    long = texts(1, 100)[0]
    write(tmp_path / "in/train.parquet", [*labelled(texts(60)), ("NIGHT", 0), ("NIGHT", 0), ("NIGHT", 1), (long, 0)])
    write(tmp_path / "in/test.parquet", [*labelled(texts(20, 100)), *[("NIGHT", 0)] * 4])
    run(tmp_path / "in", tmp_path / "out", **BY_FILE, validation_fraction=0)
    log = capsys.readouterr().out
    assert "kept 3: have a text that occurs with different labels; conflicting_labels=drop would take 3 of train" in log
    assert "kept 4: repeat an earlier row; duplicates=drop would take 1 of train, 0 of validation, 3 of test" in log
    assert "dropped 1: are in test or validation too" in log
    assert "kept 3 of train: have a text of test that is shorter than 5 words (leak_words)" in log
    assert "4 of 24 rows of test have a text that train has" in log
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (tmp_path / "out/report.html").read_text()))
    assert "Train has the text of 4 of the 24 test rows (16.7 %): short texts, which recur by chance." in page
    assert "4 0 keep 1 of train, 0 of validation, 3 of test" in page
    assert "3 0 keep 3 of train, 0 of validation, 0 of test" in page
    assert "1 1 drop 1 of train, 0 of validation, 0 of test" in page
    assert "Short texts in two splits" in page and "train test 3 4.8 % NIGHT" in page
    assert "No text is in two splits" not in page
    assert re.search(r" Data for training data: .*train split: \w{12} .*written: 20.* UTC, to .*/report.html ", page)


def test_what_drop_takes_is_what_it_would_have_taken(tmp_path: Path):
    rows = [*labelled(texts(200)), *labelled(texts(90)), *[("NIGHT", i % 2) for i in range(9)]]
    source = write(tmp_path / "a.parquet", rows)
    kept, *before = run(source, tmp_path / "1")
    dropped, *after = run(source, tmp_path / "2", duplicates="drop")
    said = next(one.by_split for one in kept.results if one.check == "duplicates")
    lost = {name: a.num_rows - b.num_rows for name, a, b in zip(SPLITS, before, after, strict=True)}
    assert said == lost and sum(said.values()) == dropped.dropped["duplicates"] == 97


WAYS: dict[str, dict] = {
    "text": {},
    "stratify": {"stratify": True},
    "group": {"split_by": "group", "split_column": "film"},
    "column": {"split_by": "column", "split_column": "film", "test_values": ["f1"]},
}
# Rows of the splits, and how their fingerprints (of ids and labels) begin, as commit 6e63519 made them.
AS_BEFORE = {
    "text": ([402, 42, 57], "bf7060eea59013bbeb4b9a62"),
    "stratify": ([398, 50, 50], "b0e06d6dc586a732c2a1f07e"),
    "group": ([339, 71, 87], "16c8cc58d98e4e800e8313ec"),
    "column": ([367, 39, 90], "81c5f39f55f9e51f7112fe2e"),
}


@pytest.mark.parametrize("how", WAYS)
def test_with_the_policies_of_before_the_splits_are_those_of_before(how: str, tmp_path: Path):
    random = Random(0).random  # the only one of its methods whose numbers are promised to stay
    lengths = [(1, 1, 2, 3, 6, 9)[int(6 * random())] for _ in range(900)]
    said = [" ".join(WORDS[int(10 * random())] for _ in range(length)) for length in lengths]
    label = ["abc"[min(len(text) // 12, 2) if i % 9 else 0] for i, text in enumerate(said)]
    source = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": said, "label": label, "film": [f"f{i % 7}" for i in range(900)]}), source)
    asked = {"duplicates": "drop", "conflicting_labels": "drop", "leak_words": 0, **WAYS[how]}
    prepared, *_ = run(source, tmp_path / "out", **asked)
    assert (list(prepared.rows.values()), "".join(one[:8] for one in prepared.fingerprints.values())) == AS_BEFORE[how]
