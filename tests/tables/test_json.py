"""JSON of all kinds, and values that are numbers, missing, or no characters."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables import Column, FileFacts, TableFile, TableSettings, open_table

COLUMNS = [Column("text", "text", "text_column"), Column("label", "label", "label_column")]
OBJECTS = [{"text": f"text {i}", "label": i % 2, "more": [{"a": 1}]} for i in range(5)]
ROWS = [(one["text"], str(one["label"])) for one in OBJECTS]


def read(path: Path, columns=COLUMNS, **given: object) -> tuple[FileFacts, list[tuple], list[tuple]]:
    """What was found out, (text, label) of each row, and (number, reason) of each fault."""
    facts, batches = open_table(TableFile(path, path.name), columns, TableSettings(**given))
    rows, faults = [], []
    for batch in batches:
        rows += zip(batch.cells["text"].to_pylist(), batch.cells["label"].to_pylist(), strict=True)
        faults += [(fault.row, fault.reason) for fault in batch.faults]
    return facts, rows, faults


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(OBJECTS),
        json.dumps(OBJECTS, indent=2),
        json.dumps({"data": OBJECTS}, indent=2),
        json.dumps({"data": OBJECTS}),
        json.dumps({"schema": {"fields": [{"name": "text"}]}, "notes": [{"by": "Kim"}], "data": OBJECTS}, indent="\t"),
        "[\n" + ",\n".join(json.dumps(one) for one in OBJECTS) + "\n]\n",
        '{"data": [\n' + ",\n".join(json.dumps(one) for one in OBJECTS) + "\n]}\n",
        "\n".join(json.dumps(one, indent=2) for one in OBJECTS),
        "\ufeff" + json.dumps(OBJECTS),
    ],
)
@pytest.mark.parametrize("given", [{}, {"file_format": "jsonl"}])
def test_a_json_document_is_read_where_it_has_a_list_of_objects(tmp_path: Path, content: str, given: dict):
    (tmp_path / "a.json").write_bytes(content.encode())
    facts, rows, faults = read(tmp_path / "a.json", **given)
    assert rows == ROWS and not faults
    assert facts.kind == "json" and "is a JSON document; a row is one of the objects" in facts.note


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"text": ["a", "b"], "label": ["x", "y"]}, 'without a list of objects: write it as [{"text": ..., '),
        ([["a", "x"], ["b", "y"]], "without a list of objects"),
        ([], "without a list of objects"),
        ({"train": OBJECTS, "test": OBJECTS}, "several lists of objects ('train', 'test')"),
        ([{"sentence": "a", "label": 1}], "has no key 'text': its objects have 'label', 'sentence'"),
    ],
)
def test_other_documents_get_one_sentence(tmp_path: Path, content: object, says: str):
    for indent in (None, 2):
        (tmp_path / "a.json").write_text(json.dumps(content, indent=indent))
        with pytest.raises(UserError) as error:
            read(tmp_path / "a.json")
        assert says in str(error.value) and "\n" not in str(error.value)


def test_a_document_that_is_cut_off_says_where(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps({"data": OBJECTS}, indent=2)[:-5])
    with pytest.raises(UserError, match=r"a\.json is not valid JSON \(line \d+, column \d+: .*\): mend it"):
        read(tmp_path / "a.json")


def test_what_is_no_object_in_a_document_costs_itself_only(tmp_path: Path):
    odd = [*OBJECTS, "text", {"text": ["a"], "label": 1}, None]
    (tmp_path / "a.json").write_text(json.dumps(odd, indent=1))
    _, rows, faults = read(tmp_path / "a.json")
    assert rows == ROWS
    assert faults == [
        (6, "the row is not a JSON object"),
        (7, "text is a list or an object instead of a text"),
        (8, "the row is not a JSON object"),
    ]


def test_json_lines_stay_json_lines(tmp_path: Path):
    lines = [json.dumps(one) for one in OBJECTS]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:1]))
    assert read(tmp_path / "a.jsonl")[0].kind == "jsonl"
    (tmp_path / "a.jsonl").write_text("\n".join([lines[0][:-1], *lines]))
    facts, rows, faults = read(tmp_path / "a.jsonl")
    assert facts.kind == "jsonl" and rows == ROWS and faults == [(1, "the line is not valid JSON")]


def test_half_of_an_escaped_pair_is_one_unknown_character(tmp_path: Path):
    lines = [r'"\ud83d x"', r'"\udc80 x"', r'"\ud83d\ude00 x"', '"é \\ud83d"']
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": {text}, "label": 1}}\n' for text in lines))
    _, rows, faults = read(tmp_path / "a.jsonl")
    assert [text for text, _ in rows] == ["\ufffd x", "\ufffd x", "😀 x", "é \ufffd"] and not faults


VALUES = [1.0, 1, math.nan, None, 1.5, 2.0**40, True, -3.0]
AS_TEXT = ["1", "1", "", "", "1.5", "1099511627776", "true", "-3"]


def test_numbers_in_json_are_written_one_way_and_nan_is_missing(tmp_path: Path):
    for column in ("text", "label"):
        objects = [{"text": "a text", "label": "x"} | {column: value} for value in VALUES]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects))
        (tmp_path / "b.json").write_text(json.dumps(objects, indent=2))
        for name in ("a.jsonl", "b.json"):
            _, rows, faults = read(tmp_path / name)
            assert [row[column == "label"] for row in rows] == AS_TEXT and not faults


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()])
def test_numbers_in_parquet_are_written_one_way_and_nan_is_missing(tmp_path: Path, kind: pa.DataType):
    values = [1.0, math.nan, None, 1.5, 1024.0, -3.0]
    table = pa.table({"text": pa.array(values, pa.float64()).cast(kind), "label": ["x"] * 6})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [text for text, _ in read(tmp_path / "a.parquet")[1]] == ["1", "", "", "1.5", "1024", "-3"]


def test_large_whole_numbers_in_parquet_have_all_their_digits(tmp_path: Path):
    values = pa.array([1234567890123.0, 2.0**53 - 1, math.nan])
    pq.write_table(pa.table({"text": values, "label": values.dictionary_encode()}), tmp_path / "a.parquet")
    _, rows, _ = read(tmp_path / "a.parquet")
    assert rows == [("1234567890123",) * 2, ("9007199254740991",) * 2, ("", "")]


def test_times_that_are_missing_in_parquet_are_missing(tmp_path: Path):
    times = pa.array([0, None], pa.timestamp("s"))
    pq.write_table(pa.table({"text": ["a", "b"], "label": times}), tmp_path / "a.parquet")
    assert [label for _, label in read(tmp_path / "a.parquet")[1]] == ["1970-01-01 00:00:00.000", ""]


def test_parquet_columns_of_one_name_are_told_apart_by_position_in_every_row_group(tmp_path: Path):
    columns = [pa.array([f"{name}{i}" for i in range(10)]) for name in "abcd"]
    table = pa.Table.from_arrays(columns, names=["text", "label", "text", "label"])
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    for text, label in (("#1", "#2"), ("#3", "#4"), ("#1", "#4"), ("#3", "#2")):
        wanted = [Column("text", text, "text_column"), Column("label", label, "label_column")]
        _, rows, _ = read(tmp_path / "a.parquet", wanted)
        assert rows == [(f"{'abcd'[int(text[1]) - 1]}{i}", f"{'abcd'[int(label[1]) - 1]}{i}") for i in range(10)]
