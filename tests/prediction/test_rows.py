"""What comes out for each row of a table."""

import csv
import errno
import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.prediction import PredictionSettings, predict_table
from tests.support.predictors import LABELS, shout_predictor, shouting


def predicted(table, out, predictor=None, **settings):
    """The rows that come out, as dicts."""
    predict_table(str(table), str(out), predictor or shout_predictor(), PredictionSettings(**settings))
    return rows_of(out)


def rows_of(out):
    return pyarrow.dataset.dataset(out, format="parquet").to_table().to_pylist()


def write_csv(path, rows, header=("id", "text")):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_a_row_keeps_its_columns_and_gets_label_score_probabilities_place_and_model(tmp_path):
    table = write_csv(tmp_path / "lines.csv", [("a", "HEY"), ("b", "a long quiet text")])
    first, second = predicted(table, tmp_path / "out", shout_predictor("f1", version=3))
    assert list(first)[:2] == ["id", "text"]
    assert (first["id"], first["text"], first["label"]) == ("a", "HEY", "shout")
    assert first["score"] == pytest.approx(shouting("HEY"), abs=1e-6)
    assert first["probabilities"] == pytest.approx([1 - shouting("HEY"), shouting("HEY")], abs=1e-6)
    assert (first["source"], first["source_row"], first["reason"]) == ("lines.csv", 2, None)
    assert (first["model_version"], first["model_fingerprint"]) == (3, "f1")
    assert (second["label"], second["source_row"]) == ("calm", 3)
    assert second["score"] == pytest.approx(1 - shouting("a long quiet text"), abs=1e-6)


def test_csv_has_probabilities_by_label_and_empty_cells_where_there_is_no_answer(tmp_path):
    table = write_csv(tmp_path / "lines.csv", [("a", 'HEY, "YOU"'), ("b", " ")])
    predict_table(str(table), str(tmp_path / "out"), shout_predictor(), PredictionSettings(output_format="csv"))
    with (tmp_path / "out" / "part-00000.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first["text"] == 'HEY, "YOU"'
    high = json.loads(first["probabilities"])
    assert list(high) == LABELS
    assert high["shout"] == pytest.approx(shouting(first["text"]), abs=1e-6)
    assert (second["label"], second["score"], second["probabilities"]) == ("", "", "")
    assert second["reason"] == "the row has no text in 'text'"


def test_rows_without_text_or_that_cannot_be_read_come_out_in_their_place_and_say_why(tmp_path):
    lines = ["id,text", "a,HEY", "b,", "c,one,too many", "d", "e,\x00bad", "f,goodbye"]
    (tmp_path / "lines.csv").write_text("\n".join(lines))
    rows = predicted(tmp_path / "lines.csv", tmp_path / "out")
    assert [row["source_row"] for row in rows] == [2, 3, 4, 5, 6, 7]
    assert [row["label"] for row in rows] == ["shout", None, "calm", None, None, "calm"]
    assert rows[0]["reason"] is rows[5]["reason"] is None
    assert [row["reason"] for row in rows[1:5]] == [
        "the row has no text in 'text'",
        "the row has 3 cells instead of 2",
        "the row has no text in 'text'",
        "the row has NUL bytes",
    ]
    assert rows[4]["score"] is rows[4]["probabilities"] is rows[4]["id"] is None
    assert rows[2]["id"] == "c"  # mended
    answered = [(row["text"], row["score"]) for row in rows if row["label"]]
    assert answered == [
        (text, pytest.approx(max(shouting(text), 1 - shouting(text)))) for text in ("HEY", "one", "goodbye")
    ]


def test_the_counts_add_up_to_the_rows_of_the_table(tmp_path):
    (tmp_path / "lines.csv").write_text("id,text\na,HEY\nb,\nc,one,too many\ne,\x00bad\nf,bye\n")
    found = predict_table(str(tmp_path / "lines.csv"), str(tmp_path / "out"), shout_predictor())
    assert (found.rows, found.mended, found.without_text, found.unreadable, found.dropped) == (5, 1, 1, 1, 0)
    again = predict_table(str(tmp_path / "lines.csv"), str(tmp_path / "out"), shout_predictor())
    assert again == found


def test_unreadable_rows_stop_the_run_or_are_left_out_where_that_is_asked_for(tmp_path):
    (tmp_path / "lines.csv").write_text("id,text\na,HEY\ne,\x00bad\nf,bye\ng,and some more of it\n")
    with pytest.raises(UserError, match="lines.csv, row 3: the row has NUL bytes"):
        predicted(tmp_path / "lines.csv", tmp_path / "out", unreadable="error")
    settings = PredictionSettings(unreadable="drop")
    found = predict_table(str(tmp_path / "lines.csv"), str(tmp_path / "dropped"), shout_predictor(), settings)
    assert (found.rows, found.dropped) == (3, 1)
    assert [row["id"] for row in rows_of(tmp_path / "dropped")] == ["a", "f", "g"]


def test_every_format_that_the_data_step_reads_is_read_with_its_columns(tmp_path):
    folder = tmp_path / "tables"
    write_csv(folder / "a.csv", [("1", "ONE")])
    (folder / "b.tsv").write_text("id\ttext\n2\tcafé\n", encoding="utf-16")
    (folder / "c.jsonl").write_text('{"id": "3", "text": "THREE"}\n{"text": "four", "more": {"deep": [1]}}\n')
    (folder / "d.json").write_text('[{"id": "5", "text": "FIVE"}]')
    (folder / "e.csv.gz").write_bytes(gzip.compress("id,text\n6,Grüße\n".encode("cp1252")))
    pq.write_table(pa.table({"id": ["7"], "text": ["SEVEN"]}), folder / "f.parquet")
    rows = predicted(folder, tmp_path / "out")
    assert [row["id"] for row in rows] == ["1", "2", "3", "", "5", "6", "7"]
    assert [row["text"] for row in rows] == ["ONE", "café", "THREE", "four", "FIVE", "Grüße", "SEVEN"]
    assert [row["source"] for row in rows][:3] == ["a.csv", "b.tsv", "c.jsonl"]
    assert [row["more"] for row in rows] == [None, None, "", '{"deep": [1]}', None, None, None]
    assert [row["label"] for row in rows] == ["shout", "calm", "shout", "calm", "shout", "calm", "shout"]


def test_columns_of_parquet_keep_their_types(tmp_path):
    table = pa.table(
        {
            "id": pa.array([1, None], pa.int32()),
            "tags": [["a", "b"], None],
            "kind": pa.array(["x", "y"]).dictionary_encode(),
            "text": pa.array(["HEY", "bye"], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    first, second = predicted(tmp_path / "t.parquet", tmp_path / "out")
    assert (first["id"], first["tags"], first["kind"], first["text"]) == (1, ["a", "b"], "x", "HEY")
    assert (second["id"], second["tags"], second["kind"], second["label"]) == (None, None, "y", "calm")
    predict_table(
        str(tmp_path / "t.parquet"), str(tmp_path / "csv"), shout_predictor(), PredictionSettings(output_format="csv")
    )
    with (tmp_path / "csv" / "part-00000.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["tags"], second["tags"]) == ('["a", "b"]', "")


def test_columns_of_every_type_are_written(tmp_path):
    columns = {
        "bytes": pa.array([b"\xff\x00"]),
        "fixed": pa.array([b"\xffab"], pa.binary(3)),
        "uuid": pa.array([bytes(range(16))], pa.uuid()),
        "view": pa.array(["a"]).cast(pa.string_view()),
        "bytes_view": pa.array([b"\xff"]).cast(pa.binary_view()),
        "nested": pa.array([[{"a": b"\xff"}]]),
        "dictionary": pa.array(["a"]).dictionary_encode(),
    }
    pq.write_table(pa.table({"text": ["HEY"], **columns}), tmp_path / "t.parquet")
    (row,) = predicted(tmp_path / "t.parquet", tmp_path / "out")
    assert {name: row[name] for name in columns} == {name: column[0].as_py() for name, column in columns.items()}
    predict_table(
        str(tmp_path / "t.parquet"), str(tmp_path / "csv"), shout_predictor(), PredictionSettings(output_format="csv")
    )
    with (tmp_path / "csv" / "part-00000.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert {name: row[name] for name in columns} == {
        "bytes": "/wA=",
        "fixed": "/2Fi",
        "uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "view": "a",
        "bytes_view": "/w==",
        "nested": '[{"a": "/w=="}]',
        "dictionary": "a",
    }


@pytest.mark.parametrize("hidden", ["lines.csv", "below/lines.csv", "below"])
def test_a_file_or_folder_that_may_not_be_read_is_named_before_any_work(tmp_path, hidden, monkeypatch):
    write_csv(tmp_path / "table" / "lines.csv", [("1", "HEY")])
    write_csv(tmp_path / "table" / "below" / "lines.csv", [("1", "HEY")])
    real, refused = {"open": Path.open, "scandir": os.scandir}, tmp_path / "table" / hidden

    def checked(name):  # root may read everything
        def call(path, *args, **options):
            if Path(path) == refused:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real[name](path, *args, **options)

        return call

    monkeypatch.setattr(Path, "open", checked("open"))
    monkeypatch.setattr(os, "scandir", checked("scandir"))
    with pytest.raises(UserError, match=rf"{hidden} can't be read.* (?:permission denied|check its permissions)"):
        predicted(tmp_path / "table", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_text_of_parquet_that_is_no_utf_8_is_mended(tmp_path):
    bad = pa.array([b"HEY", b"caf\xe9"], pa.binary())
    bad = pa.StringArray.from_buffers(2, bad.buffers()[1], bad.buffers()[2])
    pq.write_table(pa.table({"text": bad, "id": [1, 2]}), tmp_path / "t.parquet")
    rows = predicted(tmp_path / "t.parquet", tmp_path / "out")
    assert [row["text"] for row in rows] == ["HEY", "caf�"]
    assert [row["reason"] for row in rows] == [None, "the row has bytes that are not UTF-8"]
    assert [row["label"] for row in rows] == ["shout", "calm"]
    rows = predicted(tmp_path / "t.parquet", tmp_path / "dropped", unreadable="drop")
    assert [(row["id"], row["text"]) for row in rows] == [(1, "HEY")]


def test_a_column_that_files_write_in_different_types_gets_one_that_holds_both(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    pq.write_table(pa.table({"n": pa.array([1], pa.int32()), "m": [1.5], "text": ["a"]}), folder / "a.parquet")
    pq.write_table(pa.table({"n": pa.array([2**40], pa.int64()), "m": ["x"], "text": ["b"]}), folder / "b.parquet")
    rows = predicted(folder, tmp_path / "out")
    assert [row["n"] for row in rows] == [1, 2**40]
    assert [row["m"] for row in rows] == ["1.5", "x"]
    pq.write_table(pa.table({"n": [["list"]], "text": ["a"]}), folder / "c.parquet")
    with pytest.raises(UserError, match=r"column 'n' is list<.*> in c\.parquet and int64 in a file before"):
        predicted(folder, tmp_path / "out2")


def test_columns_without_a_name_or_with_that_of_another_are_called_by_their_position(tmp_path):
    (tmp_path / "lines.csv").write_text(",a,text,a\n1,2,HEY,3\n")
    (row,) = predicted(tmp_path / "lines.csv", tmp_path / "out")
    assert (row["#1"], row["#2"], row["text"], row["#4"]) == ("1", "2", "HEY", "3")


def test_a_position_that_another_column_has_for_its_name_hides_no_column(tmp_path, capsys):
    (tmp_path / "lines.csv").write_text(",#1,text,##1\n1,2,HEY,3\n")
    pq.write_table(pa.table([["1"], ["2"], ["HEY"]], names=["", "#1", "text"]), tmp_path / "lines.parquet")
    (row,) = predicted(tmp_path / "lines.csv", tmp_path / "out")
    assert (row["###1"], row["#1"], row["text"], row["##1"]) == ("1", "2", "HEY", "3")
    assert "lines.csv: columns without a name of their own are called '###1'" in capsys.readouterr().out
    (row,) = predicted(tmp_path / "lines.parquet", tmp_path / "out2")
    assert (row["##1"], row["#1"], row["text"]) == ("1", "2", "HEY")
    assert "lines.parquet: columns without a name of their own are called '##1'" in capsys.readouterr().out


def test_reading_settings_and_positions_work_as_in_prepare(tmp_path):
    (tmp_path / "lines.csv").write_text("export of today\n1;'HEY; YOU'\n2;bye\n")
    rows = predicted(
        tmp_path / "lines.csv",
        tmp_path / "out",
        text_column="#2",
        delimiter=";",
        quoting="single",
        header="no",
        skip_rows=1,
    )
    assert [(row["#1"], row["#2"], row["label"]) for row in rows] == [("1", "HEY; YOU", "shout"), ("2", "bye", "calm")]


def test_a_model_of_pairs_gets_both_texts(tmp_path):
    table = write_csv(tmp_path / "pairs.csv", [("HEY", "YOU"), ("", "x"), ("a", "")], ("text", "other"))
    rows = predicted(table, tmp_path / "out", shout_predictor(pair=True), pair_column="other")
    assert rows[0]["score"] == pytest.approx(shouting("HEY", "YOU"), abs=1e-6)
    assert [row["reason"] for row in rows] == [
        None,
        *(f"the row has no text in {name!r}" for name in ("text", "other")),
    ]
    with pytest.raises(UserError, match="takes pairs of texts: name the column with the second in pair_column"):
        predicted(table, tmp_path / "out2", shout_predictor(pair=True))
    with pytest.raises(UserError, match="takes single texts: leave pair_column 'other' out"):
        predicted(table, tmp_path / "out2", pair_column="other")


def test_a_column_with_the_name_of_one_of_ours_is_refused_and_a_prefix_helps(tmp_path):
    table = write_csv(tmp_path / "lines.csv", [("a", "HEY")], ("label", "text"))
    with pytest.raises(UserError, match="has a column 'label'.*set prefix, such as 'predicted_'"):
        predicted(table, tmp_path / "out")
    (row,) = predicted(table, tmp_path / "prefixed", prefix="predicted_")
    assert (row["label"], row["predicted_label"], row["predicted_source_row"]) == ("a", "shout", 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,words\na,HEY\n", "lines.csv has no column 'text'"),
        ("id,text\n", "There is not one row in the table"),
        ("", "There is not one row in the table"),
    ],
)
def test_a_table_that_cannot_be_predicted_is_a_clear_error(tmp_path, content, message):
    (tmp_path / "lines.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        predicted(tmp_path / "lines.csv", tmp_path / "out")


def test_a_table_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        predicted(tmp_path / "lines.csv", tmp_path / "out")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is neither a file nor a folder: give"):
        predicted(tmp_path / "pipe", tmp_path / "out")


def test_a_model_that_answers_with_nan_is_refused(tmp_path):
    import numpy as np

    from kfp_bert_components.prediction import Predictor

    broken = Predictor(lambda texts, pairs: np.full((len(texts), 2), np.nan, np.float32), LABELS, False, "f")
    table = write_csv(tmp_path / "lines.csv", [("a", "HEY")])
    with pytest.raises(UserError, match="no probabilities"):
        predicted(table, tmp_path / "out", broken)


def test_texts_of_like_length_are_asked_together(tmp_path):
    texts = ["x" * (1 + 17 * i % 1000) for i in range(1000)]
    asked = []
    predicted(write_csv(tmp_path / "t.csv", enumerate(texts)), tmp_path / "out", shout_predictor(asked=asked))
    spreads = [max(map(len, call)) - min(map(len, call)) for call in asked]
    assert len(asked) == 4
    assert max(spreads) <= 260
