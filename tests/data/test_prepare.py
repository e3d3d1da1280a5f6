"""From files to splits: what is read, dropped, and kept apart."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.errors import UserError
from kfp_bert_components.steps.prepare_text_data import prepare_text_data

WORDS = ["apple", "river", "stone", "cloud", "paper", "window", "garden", "music", "silver", "table"]


def lines(count: int, start: int = 0) -> list[tuple[str, str]]:
    """Different texts with two labels in turn."""
    made = []
    for number in range(start, start + count):
        words = [WORDS[(number // 10**place) % 10] for place in range(4)]
        made.append((f"{' '.join(words)} {number}", "good" if number % 2 else "bad"))
    return made


def write_csv(path: Path, rows: list[tuple[str, str]], header: str = "text,label\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + "".join(f'"{text}",{label}\n' for text, label in rows), encoding="utf-8")
    return path


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """A table in the format that the name says."""
    path.parent.mkdir(parents=True)
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(source: Path, folder: Path, **settings: object):
    places = [folder / name for name in ("train", "validation", "test")]
    prepared = prepare_text_data(source, *places, folder / "report.html", PrepareSettings(**settings))
    return prepared, *[read_split(place) for place in places]


@pytest.mark.parametrize("pair", [False, True])
def test_personal_data_md_says_how_to_find_a_text_by_its_id(tmp_path: Path, monkeypatch, capsys, pair: bool):
    rows = [f"{text},{text} too,{label}\n" for text, label in lines(60)]
    (tmp_path / "a.csv").write_text("text,other,label\n" + "".join(rows))
    *_, test = run(tmp_path / "a.csv", tmp_path, leakage="keep", pair_column="other" if pair else "")
    (tmp_path / "evaluation").mkdir()
    pq.write_table(test.table.select(["id"]), tmp_path / "evaluation" / "predictions.parquet")
    monkeypatch.chdir(tmp_path)
    guide = (Path(__file__).parents[2] / "docs" / "personal-data.md").read_text(encoding="utf-8")
    code = guide.partition("```python\n")[2].partition("```")[0]
    text = test.table["text"][0].as_py()
    capsys.readouterr()
    for one in (text, "a text that nobody wrote"):
        asked = f"{one!r}, {f'{one} too' if pair else None!r}"
        exec(code.replace('"the text, as it stands in the source", None', asked), {})
    assert capsys.readouterr().out.split() == ["True", "False"]


def test_every_row_is_in_a_split_or_counted_as_dropped(tmp_path: Path):
    rows = [*lines(200), *lines(10), ("", "good"), ("no label", "")]
    prepared, *splits = run(write_csv(tmp_path / "a.csv", rows), tmp_path / "out", duplicates="drop")
    assert prepared.read == 212 == sum(prepared.rows.values()) + sum(prepared.dropped.values())
    assert [split.table.num_rows for split in splits] == list(prepared.rows.values())
    assert prepared.dropped["duplicates"] == 10
    assert prepared.dropped["empty_text"] == prepared.dropped["missing_label"] == 1
    assert all(split.labels == ["bad", "good"] for split in splits)


def test_a_row_keeps_its_split_when_the_data_grows(tmp_path: Path):
    _, *small = run(write_csv(tmp_path / "a.csv", lines(300)), tmp_path / "1")
    _, *large = run(write_csv(tmp_path / "b.csv", lines(300, start=200) + lines(300)), tmp_path / "2")
    for before, after in zip(small, large, strict=True):
        assert set(before.table["id"].to_pylist()) <= set(after.table["id"].to_pylist())


def test_files_with_three_kinds_of_first_row_and_one_of_them_as_the_test_set(tmp_path: Path):
    write_csv(tmp_path / "in/named.csv", [(text, "0") for text, _ in lines(60)], header="sentence,label\n")
    write_csv(tmp_path / "in/bare.csv", [(text, "1") for text, _ in lines(60, 100)], header="")
    odd = [(text, str(i % 2)) for i, (text, _) in enumerate(lines(60, 200))]
    write_csv(tmp_path / "in/odd.csv", [*odd, (lines(1)[0][0], "0")], header=",0\n")
    prepared, train, validation, test = run(
        tmp_path / "in",
        tmp_path / "out",
        text_column="#1",
        label_column="#2",
        split_by="file",
        test_values=["odd*"],
        label_names={"0": "other", "1": "scene"},
    )
    assert prepared.read == 182  # of the three first rows only `sentence,label` is a header
    assert prepared.dropped["empty_text"] == 1 and prepared.dropped["leakage"] == 1
    assert train.labels == ["other", "scene"]
    assert set(test.table["source"].to_pylist()) == {"odd.csv"} and test.table.num_rows == 61
    assert lines(1)[0][0] not in train.table["text"].to_pylist() + validation.table["text"].to_pylist()


def test_jsonl_with_numbers_as_labels(tmp_path: Path):
    body = "".join(f'{{"text": "{text}", "label": {int(label == "good")}}}\n' for text, label in lines(100))
    (tmp_path / "a.jsonl").write_text(body)
    prepared, *_ = run(tmp_path / "a.jsonl", tmp_path / "out")
    assert prepared.labels == ["0", "1"] and prepared.read == 100


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"text_column": "sentence"}, "a.csv has no column 'sentence': its first row is 'text', 'label'"),
        ({"label_names": {"good": "1"}}, "have a label that label_names does not know (the first is a.csv row 2)"),
        ({"duplicates": "error"}, "5 rows repeat an earlier row (the first is a.csv row 102)"),
        (
            {"split_by": "file", "test_values": ["b*"]},
            "test_values has 'b*', but no file matches it: there is 'a.csv'.",
        ),
    ],
)
def test_wrong_settings_are_named_in_one_sentence(tmp_path: Path, settings: dict, sentence: str):
    source = write_csv(tmp_path / "a.csv", lines(100) + lines(5))
    with pytest.raises(UserError) as error:
        run(source, tmp_path / "out", **settings)
    assert sentence in str(error.value)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_columns_stay_with_their_rows_in_every_split(tmp_path: Path, kind: str):
    rows = [{"text": text, "label": label, "film": f"film {len(text) % 3}"} for text, label in lines(200)]
    rows[0]["film"] = ""
    write_rows(tmp_path / "in" / f"a.{kind}", rows)
    _, *splits = run(tmp_path / "in", tmp_path / "out", metadata_columns=["film"])
    columns = ["id", "text", "label", "source", "source_row", "film"]
    assert [split.table.column_names for split in splits] == [columns, *[[*columns, "in_train"]] * 2]
    kept = {row["text"]: row["film"] for split in splits for row in split.table.to_pylist()}
    assert kept == {row["text"]: row["film"] for row in rows}
    with pytest.raises(UserError, match="'actor'.*metadata_columns"):
        run(tmp_path / "in", tmp_path / "out", metadata_columns=["actor"])


@pytest.mark.parametrize(
    "names, said",
    [
        ("film", "should be a valid list"),
        (["label"], "with a meaning of its own"),
        (["in_train"], "with a meaning of its own"),
        (["a", "a"], "twice"),
    ],
)
def test_metadata_columns_that_make_no_sense_are_refused(names, said: str):
    with pytest.raises(UserError, match=said):
        PrepareSettings(metadata_columns=names)


def test_without_texts_the_report_shows_its_examples_by_file_and_row(tmp_path):
    rows = [{"text": text, "label": label} for text, label in lines(200)]
    rows += [rows[0], {"text": "caf\u00c3\u00a9 secretive words", "label": "a"}]
    write_rows(tmp_path / "in" / "a.csv", rows)
    pages = {}
    for keep in ("all", "ids"):
        _, train, validation, test = run(tmp_path / "in", tmp_path / keep, keep_texts=keep, min_class_rows=1)
        pages[keep] = (tmp_path / keep / "report.html").read_text()
        assert "a.csv row 203" in pages[keep]
        places = {
            (row["source"], row["source_row"]): row["text"]
            for one in (train, validation, test)
            for row in one.table.to_pylist()
        }
        assert places["a.csv", 203] == rows[201]["text"] and places["a.csv", 12] == rows[10]["text"]
    assert "secretive" in pages["all"] and "secretive" not in pages["ids"]


def test_a_word_of_one_text_is_not_in_the_profile_and_without_texts_no_word_is(tmp_path):
    rows = [{"text": f"call 0105550{i:04d} now", "label": "ab"[i % 2]} for i in range(200)]
    write_rows(tmp_path / "in" / "a.csv", rows)
    words = {}
    for keep in ("all", "ids"):
        _, train, _, _ = run(tmp_path / "in", tmp_path / keep, keep_texts=keep)
        words[keep] = json.loads((tmp_path / keep / "train" / "data_profile.json").read_text())["words"]
        assert [*words[keep].values()] == [len(train.table)] * 2
    assert [*words["all"]] == ["call", "now"] and not {"call", "now"} & {*words["ids"]}


MARK = "ZQMARK private"


@pytest.mark.parametrize(
    ("header", "last", "settings", "said"),
    [
        ("", "", {}, "has no column 'text': its first row (cells: 2) is not shown, as keep_texts is 'ids'; set text"),
        (
            "text,label\n",
            "",
            {"split_by": "column", "split_column": "text"},
            "has a value that is no split in a.csv row 2",
        ),
        ("text,label\n", f"{MARK}\n", {"unreadable": "error"}, "a.csv row 202"),
        ("text,label\n", f"{MARK} 7,a\n", {"duplicates": "error"}, "a.csv row 202"),
    ],
)
def test_without_texts_errors_quote_none(tmp_path, header, last, settings, said):
    (tmp_path / "in").mkdir()
    rows = "".join(f"{MARK} {i},{'ba'[i % 2]}\n" for i in range(200))
    (tmp_path / "in" / "a.csv").write_text(header + rows + last)
    with pytest.raises(UserError) as error:
        run(tmp_path / "in", tmp_path, keep_texts="ids", **settings)
    assert said in str(error.value) and "ZQMARK" not in str(error.value)


def test_without_texts_the_report_shows_no_row_that_could_not_be_read(tmp_path):
    (tmp_path / "in").mkdir()
    rows = "".join(f"{text},{label}\n" for text, label in lines(200))
    (tmp_path / "in" / "a.csv").write_text(f"text,label\n{rows}{MARK}\n")
    pages = {}
    for keep in ("all", "ids"):
        run(tmp_path / "in", tmp_path / keep, keep_texts=keep, unreadable="drop")
        pages[keep] = (tmp_path / keep / "report.html").read_text()
        assert "a.csv row 202" in pages[keep]
    assert "ZQMARK" in pages["all"] and "ZQMARK" not in pages["ids"]
