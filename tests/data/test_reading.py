"""What people have, from the file to the splits: what becomes of it, and what is said of it."""

import json
import os
import re
import sys
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_bert_components.data.labels import spelled
from kfp_bert_components.data.prepare_data import Prepared
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.errors import UserError
from kfp_bert_components.steps.prepare_text_data import prepare_text_data
from kfp_bert_components.tables import Column, TableFile, TableSettings, open_table
from tests.support.broken_tables import rows, table


def prepare(source: Path, **settings: object) -> tuple[Prepared, list[dict], str]:
    """What came of it, all rows of the splits with their split, and the page."""
    folder = source.parent / "out"
    places = {name: folder / name for name in ("train", "validation", "test")}
    prepared = prepare_text_data(source, *places.values(), folder / "report.html", PrepareSettings(**settings))
    found = [row | {"split": name} for name, place in places.items() for row in read_split(place).table.to_pylist()]
    assert prepared.read == sum(prepared.rows.values()) + sum(prepared.dropped.values())
    return prepared, found, (folder / "report.html").read_text(encoding="utf-8")


def write_parquet(path: Path, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


TEXTS = [text for text, _ in rows()]


def test_what_was_found_out_about_a_file_stands_in_the_log_and_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    lines = [f"'{text}', '{label}'" for text, label in rows()]
    (tmp_path / "a.csv").write_text("\n".join(["sep=,", "A title", "'text', 'label'", *lines]))
    prepared, found, page = prepare(tmp_path / "a.csv")
    note = prepared.files[0].note
    assert len(found) == prepared.read == 60
    assert note == (
        "its first 2 lines are no part of the table and passed over; the first of them names the delimiter ','; "
        "cells are quoted by '; blanks before a cell are left out"
    )
    assert f"  a.csv: {note}\n" in capsys.readouterr().out
    assert note.replace("'", "&#39;") in page


def test_of_many_files_with_a_remark_the_first_ten_are_said(tmp_path: Path, capsys: pytest.CaptureFixture):
    for i in range(30):
        (tmp_path / f"in/{i:02}.csv").parent.mkdir(exist_ok=True)
        (tmp_path / f"in/{i:02}.csv").write_text("sep=,\n" + table(rows(60)[2 * i : 2 * i + 2]))
    prepare(tmp_path / "in")
    said = [line for line in capsys.readouterr().out.splitlines() if "names the delimiter" in line]
    assert len(said) == 10


def test_a_missing_label_is_missing_in_every_format(tmp_path: Path):
    labels = [0.0, 1.0, 1.0, 0.0] * 14 + [float("nan"), None, 1.0, 0.0]
    write_parquet(tmp_path / "parquet/a.parquet", text=TEXTS, label=labels)
    objects = [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]
    for name, content in (
        ("a.jsonl", "".join(json.dumps(one) + "\n" for one in objects)),
        ("a.json", json.dumps(objects, indent=1)),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(content)
    for source in (tmp_path / "parquet", tmp_path / "a.jsonl", tmp_path / "a.json"):
        prepared, *_ = prepare(source)
        assert prepared.labels == ["0", "1"] and prepared.dropped["missing_label"] == 2


def test_a_missing_text_is_empty(tmp_path: Path):
    texts = [*TEXTS[:-3], "\u200b\u200d", "\ufeff \u00a0", "\u2060\u3164\u00ad"]
    prepared, *_ = prepare(write_parquet(tmp_path / "a.parquet", text=texts, label=["a", "b"] * 30))
    assert prepared.dropped["empty_text"] == 3
    numbers = [float(i) for i in range(58)] + [float("nan")] * 2
    prepared, found, _ = prepare(write_parquet(tmp_path / "a.parquet", text=numbers, label=["a", "b"] * 30))
    assert prepared.dropped["empty_text"] == 2 and "57" in {row["text"] for row in found}


def test_a_text_of_emoji_and_joiners_is_a_text(tmp_path: Path):
    texts = [*TEXTS[:-2], "❤\ufe0f", "\u200d👍"]
    prepared, *_ = prepare(write_parquet(tmp_path / "a.parquet", text=texts, label=["a", "b"] * 30))
    assert prepared.dropped["empty_text"] == 0


def test_whole_numbers_in_metadata_and_groups_are_written_without_a_point(tmp_path: Path):
    years = [1999.0, 2001.0, float("nan"), None] * 15
    write_parquet(tmp_path / "in/a.parquet", text=TEXTS, label=["a", "b"] * 30, year=years)
    (tmp_path / "in/b.csv").write_text("text,label,year\n" + "".join(f"b {text},a,1999.0\n" for text in TEXTS))
    _, found, _ = prepare(tmp_path / "in", metadata_columns=["year"])
    assert {row["year"] for row in found} == {"1999", "2001", ""}
    _, found, _ = prepare(
        tmp_path / "in",
        split_by="group",
        split_column="year",
        test_values=["1999.0"],
        validation_values=["2001"],
        leakage="keep",
        metadata_columns=["year"],
    )
    assert {row["year"] for row in found if row["split"] == "test"} == {"1999"}
    assert "1999" not in {row["year"] for row in found if row["split"] != "test"}


def test_a_group_has_one_spelling(tmp_path: Path):
    groups = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")] + ["b", "b\u200b", "c", " c\u00a0"]
    columns = {"text": TEXTS, "label": ["a", "b"] * 30, "group": groups * 10}
    write_parquet(tmp_path / "a.parquet", **columns)
    _, found, _ = prepare(
        tmp_path / "a.parquet", split_by="group", split_column="group", test_values=["é"], validation_values=["b"]
    )
    assert [sum(row["split"] == name for row in found) for name in ("train", "validation", "test")] == [20] * 3


SPELLINGS = [
    "caf\u00e9",
    "cafe\u0301",
    "caf\u00e9 ",
    "True",
    "TRUE",
    "true\u00a0",
    "a  b",
    "a b",
    "+1",
    "1e+16",
    "1e3",
    "x 1.0",
]
SPELLED = ["caf\u00e9"] * 3 + ["true"] * 3 + ["a b"] * 2 + ["1", "10000000000000000", "1e3", "x 1.0"]


def test_metadata_and_groups_have_the_spelling_of_labels(tmp_path: Path):
    columns = {"text": TEXTS, "label": ["a", "b"] * 30, "group": SPELLINGS * 5}
    _, found, _ = prepare(write_parquet(tmp_path / "a.parquet", **columns), metadata_columns=["group"])
    assert {row["text"]: row["group"] for row in found} == dict(zip(TEXTS, SPELLED * 5, strict=True))
    assert [spelled(value) for value in SPELLINGS] == SPELLED


def test_true_is_one_class_in_csv_and_parquet(tmp_path: Path, capsys: pytest.CaptureFixture):
    write_parquet(tmp_path / "in/a.parquet", text=TEXTS, label=[True, False] * 30)
    (tmp_path / "in/b.csv").write_text(table([(f"b {text}", ("True", "False")[i % 2]) for i, text in enumerate(TEXTS)]))
    prepared, *_ = prepare(tmp_path / "in")
    assert prepared.labels == ["false", "true"]
    assert "taken for the same label: 'true', 'True'" in capsys.readouterr().out


def test_remarks_on_labels_stand_in_the_log_and_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture):
    labels = ["Pos", "pos", "neg", "neg|pos"] * 15
    prepared, _, page = prepare(write_parquet(tmp_path / "a.parquet", text=TEXTS, label=labels))
    log = capsys.readouterr().out
    assert len(prepared.remarks) == 2 and "15 rows have what looks like several labels" in prepared.remarks[1]
    for remark in prepared.remarks:
        assert f"  {remark}\n" in log and remark.replace("'", "&#39;") in page


def test_thousands_of_labels_make_no_thousands_of_lines(tmp_path: Path, capsys: pytest.CaptureFixture):
    pairs = [(f"{text} {i}", f"c{i}{end}") for i in range(900) for text in ("one", "two") for end in ("", "\u200b")]
    write_parquet(tmp_path / "a.parquet", text=[text for text, _ in pairs], label=[label for _, label in pairs])
    prepare(tmp_path / "a.parquet", small_classes="keep", test_fraction=0.45, validation_fraction=0.45)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 40
    five = r"No row of train has the labels ('c\d+', ){4}'c\d+' and \d+ more: "
    assert any(re.match(five, line) for line in lines)
    assert any("and 890 more groups like these" in line for line in lines)


def test_rows_that_keep_mends_are_counted_and_shown(tmp_path: Path):
    lines = table(rows()).splitlines()
    content = "\n".join([*lines[:10], "one cell", *lines[10:20], "one,two,three", *lines[20:], '"never closed,good'])
    (tmp_path / "a.csv").write_text(content)
    prepared, found, page = prepare(tmp_path / "a.csv", unreadable="keep", quoting="double", small_classes="keep")
    result = next(one for one in prepared.results if one.check == "unreadable")
    assert (result.policy, result.count, result.dropped) == ("keep", 3, 1)
    assert "two" in {row["label"] for row in found} and prepared.dropped["missing_label"] == 1
    assert "a.csv row 22, the row has 3 cells instead of 2" in page


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"pair_column": "text"}, "pair_column and text_column are both 'text': give two different columns."),
        ({"pair_column": "label"}, "pair_column and label_column are both 'label': give two different columns."),
        ({"label_names": {"ham": ""}}, "label_names gives 'ham' an empty name: give it a name, or leave it out."),
        (
            {"label_names": {"ham": "\u200b "}},
            "label_names gives 'ham' an empty name: give it a name, or leave it out.",
        ),
        ({"label_names": {"1": "a", "1.0": "b"}}, "label_names names '1.0' twice, as 'a' and 'b': give one."),
        ({"label_names": {"true": "a", "True": "b"}}, "label_names names 'True' twice, as 'a' and 'b': give one."),
        ({"min_class_rows": -3}, "min_class_rows is -3, but it should be greater than or equal to 1."),
        ({"max_length": -3}, "max_length is -3, but it should be greater than or equal to 4."),
        ({"max_length": 0}, "max_length is 0, but it should be greater than or equal to 4."),
        ({"skip_rows": -1}, "skip_rows is -1, but it should be greater than or equal to 0."),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, says: str):
    with pytest.raises(UserError) as error:
        PrepareSettings(**settings)
    assert str(error.value) == says


def test_a_pair_is_two_columns_whatever_they_are_called(tmp_path: Path):
    source = write_parquet(tmp_path / "a.parquet", text=TEXTS, label=["a", "b"] * 30)
    with pytest.raises(UserError, match="text_column 'text' and pair_column '#1' are the same column"):
        prepare(source, pair_column="#1")


def test_a_first_row_with_a_known_label_is_no_header(tmp_path: Path):
    (tmp_path / "a.csv").write_text("rare,2\n" + table([(text, str(i % 2)) for i, text in enumerate(TEXTS)], ""))
    prepared, *_ = prepare(
        tmp_path / "a.csv",
        text_column="#1",
        label_column="#2",
        label_names={"0": "a", "1": "b", "2": "c"},
        small_classes="keep",
    )
    assert prepared.read == 61 and prepared.classes == ["a", "b", "c"]


def test_texts_that_programs_write_where_there_is_none_are_said(tmp_path: Path, capsys: pytest.CaptureFixture):
    more = [("#NAME?", "good"), ("#NAME?", "bad"), ("nan", "bad"), ("None", "bad"), ("a nan", "good")]
    (tmp_path / "a.csv").write_text(table([*rows(), *more]))
    prepared, found, page = prepare(tmp_path / "a.csv")
    what = "which programs write where there is none, is one like any other"
    assert prepared.remarks == [f"the text 'nan', {what} (1 row)", f"the text '#NAME?', {what} (2 rows)"]
    assert len(found) == 65 and prepared.remarks[1] in capsys.readouterr().out
    assert "#NAME?" in page and not prepare(tmp_path / "a.csv", conflicting_labels="drop")[0].remarks[1:]


@pytest.mark.parametrize("keep_texts", ["all", "ids"])
def test_a_first_row_that_is_guessed_to_be_the_header_is_shown_where_texts_may_be(tmp_path: Path, keep_texts: str):
    (tmp_path / "a.csv").write_text("Kim Minsu,kind of line\n" + table(rows(), header=""))
    prepared, _, page = prepare(tmp_path / "a.csv", text_column="#1", label_column="#2", keep_texts=keep_texts)
    assert prepared.files[0].dialect.guessed_header
    assert ("Kim Minsu" in page) == (keep_texts == "all")


@pytest.mark.parametrize("own", [False, True])
def test_a_parquet_file_whose_names_are_damaged_is_said_to_be(tmp_path: Path, own: bool):
    path = write_parquet(tmp_path / "a.parquet", text=TEXTS, label=["a"] * len(TEXTS), beside=TEXTS)
    path.write_bytes(path.read_bytes().replace(b"beside", b"\x93eside"))
    with pytest.raises(UserError, match=r"a\.parquet is a damaged Parquet file"):
        columns = [Column(name, name, "text_column") for name in ("text", "label")]
        list(open_table(TableFile(path, path.name), columns, TableSettings(), own)[1])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_from_an_archive_of_windows_whose_name_is_not_utf_8_is_named(tmp_path: Path):
    (tmp_path / "in").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + "/리뷰.csv".encode("cp949"))).write_text(table(rows()))
    with pytest.raises(UserError, match=r"/in/\\xb8\\xae\\xba\\xe4\.csv has a name that is not UTF-8: rename it\."):
        prepare(tmp_path / "in")


def test_a_column_of_texts_that_is_taken_for_the_label_is_said_in_a_short_sentence(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{i % 3},{text * 30}\n" for i, text in enumerate(TEXTS)))
    with pytest.raises(UserError, match="check label_column, add rows or lower min_class_rows") as error:
        prepare(tmp_path / "a.csv")
    assert len(str(error.value)) < 700 and "…' (1)" in str(error.value)


@pytest.mark.parametrize("name", ["a.csv", "quoted.csv", "spaced.csv", "a.jsonl", "a.json", "a.parquet"])
def test_a_row_that_has_something_in_another_column_is_not_blank(tmp_path: Path, name: str):
    good = [(i, f"text number {i}", "xy"[i % 2]) for i in range(60)]
    lines = [*good, *((1000 + i, "", "") for i in range(5))]
    between, around = (", " if name == "spaced.csv" else ","), ('"' if name != "a.csv" else "")
    blank = [between.join([2 * around] * 3), "", "\n"]  # three lines without anything, of which the last is two
    written = [between.join(f"{around}{cell}{around}" for cell in line) for line in [("id", "text", "label"), *lines]]
    objects = [{"id": number, "text": text or None, "label": label or None} for number, text, label in lines]
    if name.endswith(".csv"):
        (tmp_path / name).write_text("\n".join([*written, *blank]))
    elif name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(objects), tmp_path / name)
    else:
        text = json.dumps(objects) if name == "a.json" else "\n".join(["", *map(json.dumps, objects)])
        (tmp_path / name).write_text(text)
    prepared, _, _ = prepare(tmp_path / name, stratify=True)
    assert (prepared.read, prepared.dropped["empty_text"]) == (65, 5)
    assert prepared.blank == (3 if name.endswith(".csv") else 0)
    with pytest.raises(UserError, match="5 rows have no text"):
        prepare(tmp_path / name, stratify=True, empty_text="error")
