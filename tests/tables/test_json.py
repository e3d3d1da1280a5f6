"""JSON of all kinds, and values that are numbers, missing, or no characters."""

import json
import math
import unicodedata
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


@pytest.mark.parametrize("content", ["[]", " [\n]\n", '{"data": [], "errors": []}', '{\n"data": []\n}'])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_an_empty_list_is_a_table_without_rows(tmp_path: Path, content: str, name: str):
    (tmp_path / name).write_text(content)
    facts, rows, faults = read(tmp_path / name)
    assert not rows and not faults and facts.note == "is a JSON document without a row"


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_on_one_line_is_read_whole_whatever_its_size(tmp_path: Path, encoding: str):
    objects = [{"text": f"{i}" * 990_000, "label": "a"} for i in range(9)]
    for content in (json.dumps(objects), json.dumps({"data": objects})):
        (tmp_path / "a.json").write_bytes(content.encode(encoding))
        _, rows, faults = read(tmp_path / "a.json")
        assert [text[:2] for text, _ in rows] == [f"{i}{i}" for i in range(9)] and not faults
        assert {len(text) for text, _ in rows} == {990_000}


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


VALUES = [1.0, 1, math.nan, math.inf, None, 1.5, 2.0**40, True, -3.0]
AS_TEXT = ["1", "1", "", "", "", "1.5", "1099511627776", "true", "-3"]


def test_numbers_in_json_are_written_one_way_and_nan_and_infinity_are_missing(tmp_path: Path):
    for column in ("text", "label"):
        objects = [{"text": "a text", "label": "x"} | {column: value} for value in VALUES]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects))
        (tmp_path / "b.json").write_text(json.dumps(objects, indent=2))
        for name in ("a.jsonl", "b.json"):
            _, rows, faults = read(tmp_path / name)
            assert [row[column == "label"] for row in rows] == AS_TEXT and not faults


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()])
def test_numbers_in_parquet_are_written_one_way_and_nan_and_infinity_are_missing(tmp_path: Path, kind: pa.DataType):
    values = [1.0, math.nan, None, 1.5, 1024.0, -3.0, math.inf, -math.inf]
    table = pa.table({"text": pa.array(values, pa.float64()).cast(kind), "label": ["x"] * 8})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [text for text, _ in read(tmp_path / "a.parquet")[1]] == ["1", "", "", "1.5", "1024", "-3", "", ""]


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


@pytest.mark.parametrize("ends", ["[\n{},\n{}\n]", "{}\n{}"])
def test_an_object_with_a_key_twice_is_a_fault(tmp_path: Path, ends: str):
    twice = '{"text": "a", "text": "b", "label": "1"}'
    (tmp_path / "a.json").write_text(ends.format(twice, '{"text": "c", "label": "2", "more": {"x": 1, "x": 2}}'))
    _, rows, faults = read(tmp_path / "a.json")
    assert rows == [("c", "2")] and [reason for _, reason in faults] == ["the row has the key 'text' twice"]


def test_a_document_with_a_list_twice_is_refused(tmp_path: Path):
    (tmp_path / "a.json").write_text(f'{{"data": {json.dumps(OBJECTS)},\n"data": {json.dumps(OBJECTS)}}}')
    with pytest.raises(UserError, match="a.json has the key 'data' twice in its outer object: leave one out"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize(("asked", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("kind", ["csv", "titled.csv", "json", "jsonl", "parquet"])
def test_the_unicode_form_of_a_column_name_does_not_matter(tmp_path: Path, asked: str, there: str, kind: str):
    names = ["내용", "감정"]
    text, label = (unicodedata.normalize(there, name) for name in names)
    objects = [{text: cells[0], label: cells[1]} for cells in ROWS]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(objects), path)
    elif kind.endswith("csv"):
        title = "A title\n\n" if "titled" in kind else ""
        path.write_text(f"{title}{text},{label}\n" + "".join(f"{a},{b}\n" for a, b in ROWS))
    else:
        path.write_text(json.dumps(objects) if kind == "json" else "\n".join(map(json.dumps, objects)))
    columns = [
        Column("text", unicodedata.normalize(asked, "내용"), "text_column"),
        Column("label", unicodedata.normalize(asked, "감정"), "label_column", categorical=True),
    ]
    assert read(path, columns)[1] == ROWS


@pytest.mark.parametrize("unreadable", ["drop", "keep"])
def test_a_parquet_cell_that_is_too_long_costs_its_row(tmp_path: Path, unreadable: str):
    texts = ["가" * 1_000_000, "가" * 1_000_001, "short", None]
    pq.write_table(pa.table({"text": texts, "label": list("abcd")}), tmp_path / "a.parquet")
    _, rows, faults = read(tmp_path / "a.parquet", unreadable=unreadable)
    assert [(len(text), label) for text, label in rows] == [(1_000_000, "a"), (5, "c"), (0, "d")]
    assert faults == [(2, "the row is longer than 1,000,000 characters")]


@pytest.mark.parametrize("end", ["\n\n", "\r", "\r\n\r\n"])
@pytest.mark.parametrize("count", [40, 20_000])
def test_a_broken_line_costs_itself_only_however_the_lines_end(tmp_path: Path, end: str, count: int):
    lines = [json.dumps({"text": f"text {i} {'word ' * 40}", "label": i % 2}) for i in range(count)]
    for broken in (lines[20][:15], "5"):
        (tmp_path / "a.jsonl").write_bytes(end.join([*lines[:20], broken, *lines[21:]]).encode())
        facts, rows, faults = read(tmp_path / "a.jsonl")
        assert facts.kind == "jsonl" and len(rows) == count - 1
        assert [row for row, _ in faults] == [1 + 20 * (1 if end == "\r" else 2)]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)], ids=str)
def test_bytes_in_parquet_are_text_and_those_that_are_not_cost_their_row(tmp_path: Path, kind: pa.DataType):
    try:
        labels = pa.array([b"ab", None, b"\xff\xfe"], kind)
        pq.write_table(pa.table({"text": ["one", "two", "three"], "label": labels}), tmp_path / "a.parquet")
    except pa.ArrowNotImplementedError as error:
        assert kind == pa.binary_view()
        pytest.skip(f"this pyarrow can't write it: {error}")
    _, rows, faults = read(tmp_path / "a.parquet")
    assert rows == [("one", "ab"), ("two", "")] and faults == [(3, "the row has bytes that are not UTF-8")]


def test_values_in_parquet_that_are_no_text_are_named_with_their_type(tmp_path: Path):
    times = pa.array([0, 1], pa.timestamp("us", tz="Mars/Phobos"))
    pq.write_table(pa.table({"text": times, "label": ["x", "y"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"values in 'text' that can't be written as text \(timestamp\[us, tz=Mars/"):
        read(tmp_path / "a.parquet")


def test_a_parquet_column_with_a_point_in_its_name_is_not_a_part_of_a_structure(tmp_path: Path):
    table = pa.table({"a": [{"b": "wrong"}] * 2, "a.b": ["one", "two"], "label": ["x", "y"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", [Column("text", "a.b", "text_column"), COLUMNS[1]])[1] == [
        ("one", "x"),
        ("two", "y"),
    ]


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_a_small_number_is_the_same_text_in_json_and_in_parquet(tmp_path: Path, kind: pa.DataType):
    labels = pa.array([1e-05, 2.5e-07, -1e-10, 0.0001, 0.5, 0.0]).cast(kind)
    pq.write_table(pa.table({"text": ["a text"] * 6, "label": labels}), tmp_path / "a.parquet")
    found = [label for _, label in read(tmp_path / "a.parquet")[1]]
    assert found == ["1e-05", "2.5e-07", "-1e-10", "0.0001", "0.5", "0"]
    objects = [{"text": "a text", "label": float(label)} for label in found]
    (tmp_path / "b.json").write_text(json.dumps(objects))
    assert [label for _, label in read(tmp_path / "b.json")[1]] == found
