"""Every row of a CSV file is read once or named as a fault, whatever its quotes and wherever its blocks end.

KFP_BERT_TABLES=10000 runs as many tables as the project promises.
"""

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfp_bert_components.tables import Column, TableFile, TableSettings, files, open_table
from tests.support.plain_csv import read_plainly

EXAMPLES = int(os.environ.get("KFP_BERT_TABLES", "300"))
COLUMNS = [Column("text", "#1", "text_column"), Column("label", "#2", "label_column", categorical=True)]


def read(path: Path, **given: object) -> tuple[list[tuple], list[tuple]]:
    """(number, text, label) of each row, and (number, reason) of each fault."""
    asked = {"delimiter": ",", "quoting": "double", "header": "no", "encoding": "utf-8", "file_format": "csv"}
    _, batches = open_table(TableFile(path, path.name), COLUMNS, TableSettings(**(asked | given)))
    rows, faults = [], []
    for batch in batches:
        rows += zip(batch.rows.tolist(), *(batch.cells[name].to_pylist() for name in ("text", "label")), strict=True)
        faults += [(fault.row, fault.reason) for fault in batch.faults]
    return rows, faults


def lines(count: int) -> list[str]:
    return [f"text {i},{'good' if i % 2 else 'bad'}\n" for i in range(count)]


def write(path: Path, content: list[str]) -> Path:
    path.write_text("".join(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("apart", [10, 5_000])
def test_two_stray_quotes_cost_their_own_rows_only(tmp_path: Path, apart: int):
    content = lines(20_000)
    content[7_000], content[7_000 + apart] = '"a stray quote,bad\n', '"another,good\n'
    rows, faults = read(write(tmp_path / "a.csv", content))
    assert len(rows) == 19_998
    assert [row for row, _ in faults] == [7_001, 7_001 + apart]
    assert all("look like rows" in reason for _, reason in faults)


@pytest.mark.parametrize("escaped", ['\\"', '""'])
@pytest.mark.parametrize("stray", ['the board is 5" long,y', 'the board is 5" or 6" long,y'])
def test_a_stray_quote_does_not_end_at_one_amid_a_cell(tmp_path: Path, escaped: str, stray: str):
    good = [f'"he said {escaped}hi{escaped} to number {i}, twice",{"xy"[i % 2]}' for i in range(60)]
    content = [f"{line}\n" for line in [*good[:30], '"a quote before this row,x', stray, *good[30:]]]
    rows, faults = read(write(tmp_path / "a.csv", content), quoting="auto")
    assert [row for row, *_ in rows] == [row for row in range(1, 63) if row != 31]
    assert [row for row, _ in faults] == [31]


def test_a_line_that_ends_with_a_backslash_goes_on_in_the_next(tmp_path: Path):
    good = [f'"he said \\"hi\\" to number {i}",{"xy"[i % 2]}' for i in range(60)]
    content = [f"{line}\n" for line in [*good, "one \\", "cell,x", *good]]
    rows, faults = read(write(tmp_path / "a.csv", content), quoting="auto")
    assert not faults and len(rows) == 121 and rows[60][1:] == ("one \ncell", "x")


def test_strict_quoting_accepts_a_cell_that_holds_a_table(tmp_path: Path):
    cell = '"' + "".join(lines(5_000)) + '"'
    source = write(tmp_path / "a.csv", [*lines(10), f"{cell},good\n", *lines(10)])
    rows, faults = read(source, quoting="strict")
    assert len(rows) == 21 and not faults
    assert rows[10][1:] == ("".join(lines(5_000)), "good")
    rows, faults = read(source)
    assert [row for row, _ in faults] == [11, 5_011] and len(rows) == 5_019  # where a quote opens, and where it closes


def test_a_cell_of_a_few_lines_is_a_cell(tmp_path: Path):
    content = [*lines(3), '"first, of two\nsecond, of two",good\n', '"a\nb\nc\nd",bad\n']
    rows, faults = read(write(tmp_path / "a.csv", content))
    assert not faults
    assert [text for _, text, _ in rows[3:]] == ["first, of two\nsecond, of two", "a\nb\nc\nd"]


def test_faults_before_and_after_a_broken_block_are_all_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "BLOCK", 5_000)
    content = lines(20_000)
    wrong = [*range(100, 900, 50), *range(9_000, 9_007), 19_999]
    for at in wrong:
        content[at] = "one,two,three\n"
    content[12_000] = '"never closed,bad\n'
    rows, faults = read(write(tmp_path / "a.csv", content))
    assert [row for row, _ in faults] == sorted(at + 1 for at in [*wrong, 12_000])
    assert len(rows) == 20_000 - len(faults)


def test_a_row_over_the_longest_cell_costs_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for block in (1 << 16, 8 << 20):
        monkeypatch.setattr(files, "BLOCK", block)
        for end in ("\n", "\r\n", "\r"):
            content = [line.replace("\n", end) for line in (*lines(50), "x" * 9_000_000 + ",good\n", *lines(50))]
            (tmp_path / "a.csv").write_bytes("".join(content).encode())
            rows, faults = read(tmp_path / "a.csv")
            assert len(rows) == 100 and faults == [(51, "the row is longer than 1,000,000 characters")]


def test_a_cell_may_end_where_the_next_one_begins(tmp_path: Path):
    """Lines of two cells, none of which holds three lines in a row that look like rows."""
    rows, faults = read(write(tmp_path / "a.csv", [*lines(3), '"start\none, two\nend","begin\nthree, four\nstop"\n']))
    assert not faults and rows[3][1:] == ("start\none, two\nend", "begin\nthree, four\nstop")


def test_a_quote_inside_an_unquoted_cell_is_no_fault_of_a_row_of_several_lines(tmp_path: Path):
    source = write(
        tmp_path / "a.csv", ["a text,good,1\n", '"She said:\nwell",good,24" screen\n', 'another,bad,27" screen\n']
    )
    rows, faults = read(source)
    assert not faults and [text for _, text, _ in rows] == ["a text", "She said:\nwell", "another"]


def test_a_cell_of_several_lines_has_the_limit_of_one_line(tmp_path: Path):
    rows, faults = read(write(tmp_path / "a.csv", [*lines(3), '"x\n' + "w " * 600_000 + '",good\n', *lines(2)]))
    assert len(rows) == 5 and [row for row, _ in faults] == [4]


def test_a_long_last_line_is_read(tmp_path: Path):
    rows, faults = read(write(tmp_path / "a.csv", [*lines(3), "w" * 200_000 + ",good\n"]))
    assert not faults and len(rows[3][1]) == 200_000


def test_a_row_after_one_that_is_too_long_is_read_though_a_block_ends_between(tmp_path: Path):
    start = b"text,good\r" * 5
    too_long = b"w" * (2 * files.BLOCK - len(start) - 6) + b",good\r"
    (tmp_path / "a.csv").write_bytes(start + too_long + b"after it,good\rthe last,bad\r")
    rows, faults = read(tmp_path / "a.csv")
    assert [text for _, text, _ in rows[5:]] == ["after it", "the last"] and [row for row, _ in faults] == [6]


def test_a_mark_at_the_start_of_a_block_is_part_of_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "BLOCK", len("a text,good\n"))
    rows, _ = read(write(tmp_path / "a.csv", ["a text,good\n", "\ufeffb text,bad\n"]))
    assert rows[1][1] == "\ufeffb text"


@pytest.mark.parametrize("quoting", ["double", "strict", "backslash"])
def test_many_quotes_that_are_never_closed_are_each_a_fault(tmp_path: Path, quoting: str):
    """Within the time of the test: looking through the whole file after each would take minutes."""
    source = write(tmp_path / "a.csv", [*(f"text {i},good,x\n" for i in range(10)), *['a","b\n'] * 20_000])
    rows, faults = read(source, quoting=quoting)
    assert len(rows) == 10 and len(faults) == 20_000


def test_a_blank_first_line_does_not_take_the_place_of_the_header(tmp_path: Path):
    rows, faults = read(write(tmp_path / "a.csv", ["\n", "\n", "text,label\n", *lines(3)]), header="yes")
    assert not faults and [number for number, *_ in rows] == [1, 2, 4, 5, 6]


def test_a_parquet_column_is_found_by_its_position_among_others_of_its_name(tmp_path: Path):
    columns = [pa.array(["a", "b"]), pa.array(["x", "y"]), pa.array(["p", "q"])]
    pq.write_table(pa.Table.from_arrays(columns, names=["text", "label", "label"]), tmp_path / "a.parquet")
    third = [Column("text", "text", "text_column"), Column("label", "#3", "label_column")]
    _, batches = open_table(TableFile(tmp_path / "a.parquet", "a.parquet"), third, TableSettings())
    assert [batch.cells["label"].to_pylist() for batch in batches] == [["p", "q"]]


pieces = st.sampled_from(
    [
        '"',
        '""',
        ",",
        ",",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "a",
        "b,x\n",
        "c,y\n",
        "d,z\n",
        '"e",x\n',
        '"f\ng",y\n',
        '"h\ni,i\nj","k\nl,l\nm"\n',
        'n","o\n',
        "\ufeff",
        " ",
        "\0",
        "é",
        "日",
    ]
)


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(
    content=st.lists(pieces, max_size=60).map("".join),
    block=st.integers(1, 40),
    strict=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
)
def test_any_table_is_read_as_the_plain_reader_reads_it(content: str, block: int, strict: bool, encoding: str):
    content = "".join(lines(30)) + content  # so that the file has two columns, whatever follows
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "a.csv"
        path.write_bytes(content.encode(encoding))
        patch.setattr(files, "BLOCK", block)
        rows, faults = read(path, encoding=encoding, quoting="strict" if strict else "double")
    wanted = read_plainly(content, 2, ",", strict)
    assert [(number, [text, label]) for number, text, label in rows] == wanted.rows
    assert [number for number, _ in faults] == wanted.faults
