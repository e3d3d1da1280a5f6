"""How a CSV file is written: quotes, lines above the table, and headers that lack a name."""

import csv
import io
import re
from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables import Column, FileFacts, TableFile, TableSettings, open_table

TEXTS = [f"the {word}, it's day {i}" for i, word in enumerate(["apple", "river", "stone", "cloud", "paper"] * 4)]
ROWS = [(text, "good" if i % 2 else "bad") for i, text in enumerate(TEXTS)]


def read(
    path: Path, content: str, text: str = "text", label: str = "label", known: tuple[str, ...] = (), **given: object
) -> tuple[FileFacts, list[tuple], list[tuple]]:
    """What was found out, (text, label) of each row, and (number, reason) of each fault."""
    path.write_bytes(content.encode())
    columns = [
        Column("text", text, "text_column"),
        Column("label", label, "label_column", categorical=True, known=frozenset(known)),
    ]
    facts, batches = open_table(TableFile(path, path.name), columns, TableSettings(**given))
    rows, faults = [], []
    for batch in batches:
        rows += zip(batch.cells["text"].to_pylist(), batch.cells["label"].to_pylist(), strict=True)
        faults += [(fault.row, fault.reason) for fault in batch.faults]
    return facts, rows, faults


def table(row: str, header: str = "text,label", escape: tuple[str, str] = ("", "")) -> str:
    """The rows, each written after the pattern."""
    lines = [row.format(i=i + 1, text=text.replace(*escape), label=label) for i, (text, label) in enumerate(ROWS)]
    return "\n".join([*([header] if header else []), *lines]) + "\n"


SINGLE = ("'", "''")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (table('"{text}", "{label}"', '"text", "label"'), "blanks before a cell"),
        (table('{label}, "{text}"', "label, text"), "blanks before a cell"),
        (table('"{text}";  "{label}"', '"text";  "label"'), "blanks before a cell"),
        (table("'{text}','{label}'", "'text','label'", SINGLE), "quoted by '"),
        (table("'{text}',{label}", "text,label", SINGLE), "quoted by '"),
        (table("'{text}', '{label}'", "'text', 'label'", SINGLE), "blanks before a cell"),
        (table("'{text}';{label}", "text;label", ("'", "\\'")), "quoted by '"),
        (table('"{text}",\t"{label}"', '"text",\t"label"'), "blanks before a cell"),
        (table('{label},\t"{text}"', "label,\ttext"), "blanks before a cell"),
        (table('"{text}"\t\xa0"{label}"', "text\tlabel"), "blanks before a cell"),
        (table("'{text}';\u3000'{label}'", "'text';\u3000'label'", SINGLE), "blanks before a cell"),
        (table(' "{text}",{label}'), "blanks before a cell"),
        (table('"{text}",{label}', '"text", "label"'), "blanks before a cell"),
        (table('\t"{text}",{label}', '\t"text",label'), "blanks before a cell"),
        (table('{label}, "{text}, 1,000,000 of them"', "label, text"), "blanks before a cell"),
        ("Lines\n\n" + table('"{text}",\xa0"{label}"', '"text",\xa0"label"'), "blanks before a cell"),
    ],
)
def test_quotes_of_all_kinds_are_taken_off_and_said(tmp_path: Path, content: str, says: str):
    facts, rows, faults = read(tmp_path / "a.csv", content)
    assert [(text.removesuffix(", 1,000,000 of them"), label) for text, label in rows] == ROWS and not faults
    assert says in facts.note


def test_a_backslash_at_the_end_of_a_cell_is_a_character_where_quotes_are_doubled(tmp_path: Path):
    texts = {
        "class a": ['say "hi" now', "C:\\temp 57", '"quoted" 72'],
        "class b": ["5,000 won", '"quoted" 62', 'x="1"'],
    }
    texts["class b"] += ["the dogs' bowl 3"]
    texts["it's"] = ["# comment", 'O\'Brien said, "no"', '" 69', '"best" 109', "ends with \\"]
    rows = [(text, label) for label, some in texts.items() for text in some]
    lines = [f"'{label}';'{text}'" for text, label in [("text", "label"), *rows]]
    content = "\n".join(re.sub(r"(?<=\w)'(?=[\w ])", "''", line) for line in lines) + "\n"
    _, found, faults = read(tmp_path / "a.csv", content)
    assert found == rows and not faults


@pytest.mark.parametrize("row", ['"{text}",{label}', "{text}\t{label}"])
def test_apostrophes_and_quotes_inside_cells_do_not_make_another_dialect(tmp_path: Path, row: str):
    content = table(row, "text\tlabel" if "\t" in row else "text,label")
    more = ["'Tis late", "'90s music", "'A quote', he said", "rock 'n' roll'"]
    content += "".join(row.format(text=text, label="good") + "\n" for text in more)
    facts, rows, faults = read(tmp_path / "a.csv", content)
    assert rows == [*ROWS, *((text, "good") for text in more)] and not faults
    assert facts.dialect.quoting == "double" and not facts.note


@pytest.mark.parametrize("last", [', "', ', "a"', ', ""'])
def test_a_space_before_one_quote_is_data(tmp_path: Path, last: str):
    facts, rows, _ = read(tmp_path / "a.csv", table("{label},{label}") + "a" + last + "\n")
    assert rows[-1] == ("a", last[1:]) and not facts.note


@pytest.mark.parametrize(("quoting", "escape"), [("single", "''"), ("single-backslash", "\\'")])
def test_quoting_by_apostrophes_can_be_asked_for(tmp_path: Path, quoting: str, escape: str):
    content = table("'{text}',{label}", escape=("'", escape)) + f"'one\ntwo{escape}s',good\n'never closed,bad\n"
    _, rows, faults = read(tmp_path / "a.csv", content, quoting=quoting)
    assert rows == [*ROWS, ("one\ntwo's", "good")]
    assert faults == [(23, "a quote is opened and never closed")]


@pytest.mark.parametrize(
    ("above", "delimiter"),
    [
        ("sep=;\n", ";"),
        ("sep=;\r\n", ";"),
        ("\ufeffsep=;\n", ";"),
        ('"sep=;"\n', ";"),
        ("SEP=^\n", "^"),
        ("sep=\t\n", "\t"),
    ],
)
def test_the_line_in_which_excel_names_the_delimiter_is_no_row(tmp_path: Path, above: str, delimiter: str):
    content = above + table(f'"{{text}}"{delimiter}{{label}}', f"text{delimiter}label")
    facts, rows, faults = read(tmp_path / "a.csv", content)
    assert rows == ROWS and not faults
    assert facts.note == f"its first line is no part of the table and passed over; it names the delimiter {delimiter!r}"
    _, rows, _ = read(tmp_path / "a.csv", content, "#1", "#2", header="yes")
    assert rows == ROWS


@pytest.mark.parametrize(
    ("above", "count"),
    [
        ("Lines of the film\n", 1),
        ("Lines of the film\n\n", 2),
        ("Lines of the film,,\n,,\n", 2),
        ("Exported by Kim, 2026-11-01\nFor training only; not to be shared\n\n", 3),
        ('"Lines, ""as they are"""\n', 1),
        ("sep=,\nLines of the film\n", 2),
    ],
)
def test_titles_above_the_header_are_passed_over_and_said(tmp_path: Path, above: str, count: int):
    facts, rows, faults = read(tmp_path / "a.csv", above + table('"{text}",{label}'))
    assert rows == ROWS and not faults
    assert facts.dialect.skipped == count and "no part of the table and passed over" in facts.note
    _, rows, _ = read(tmp_path / "a.csv", above + table('"{text}",{label}'), skip_rows=count)
    assert rows == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("above", ["", "Lines of the film\n\n", "sep=,\n"])
@pytest.mark.parametrize(
    ("row", "header"),
    [
        ('"{text}","z","{label}"', '"text","my\ncol","label"'),
        ('{i},"z","{text}",{label}', '"id","my\n""own""\ncol",text,"label"'),
        ("{i},z,'{text}','{label}'", "'id','my\ncol','text','label'"),
        ('"{i}" "z" "{text}" "{label}"', '"id" "my\ncol" "text" "label"'),
        ('"{i}" "z" "{text}" "{label}"', '"my\ncol" "text" "label"'),
    ],
)
def test_a_quoted_name_may_hold_a_line_break(tmp_path: Path, row: str, header: str, above: str, end: str):
    if " " in header and above:
        return  # R writes nothing above its tables
    escape = SINGLE if header.startswith("'") else ("", "")
    content = (above + table(row, header, escape)).replace("\n", end)
    facts, rows, faults = read(tmp_path / "a.csv", content)
    assert rows == ROWS and not faults
    assert facts.dialect.skipped == above.count("\n")


@pytest.mark.parametrize("above", ['"Lines of the film\n', 'Of 5" disks\n', "'Lines' of the film's\n", 'a "b\nc\n'])
def test_a_stray_quote_in_a_title_hides_no_header(tmp_path: Path, above: str):
    facts, rows, faults = read(tmp_path / "a.csv", above + table('"{text}",{label}'))
    assert rows == ROWS and not faults
    assert facts.dialect.skipped == above.count("\n")


def test_rows_keep_their_numbers_in_the_file_below_titles(tmp_path: Path):
    _, rows, faults = read(tmp_path / "a.csv", "A title\n\n" + table('"{text}",{label}') + "one,two,three\n")
    assert len(rows) == 20 and faults == [(24, "the row has 3 cells instead of 2")]


def test_titles_above_columns_that_are_counted_are_found_by_their_one_cell(tmp_path: Path):
    facts, rows, faults = read(tmp_path / "a.csv", "Lines of the film\n\n" + table('"{text}",{label}', ""), "#1", "#2")
    assert rows == ROWS and not faults and facts.dialect.skipped == 2
    content = "Lines of the film\n\n" + table('"{text}",{label}', "line,kind")
    for header in ("auto", "yes"):
        facts, rows, faults = read(tmp_path / "a.csv", content, "#1", "#2", header=header)
        assert rows == ROWS and not faults and facts.dialect.skipped == 2 and facts.dialect.header


@pytest.mark.parametrize("block", [10, 1 << 20])
def test_lines_to_skip_may_lie_in_several_blocks(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kfp_bert_components.tables.files.BLOCK", block)
    content = 'a "stray quote\r\n' * 3 + table('"{text}",{label}', "", ("", "")).replace("\n", "\r\n")
    _, rows, faults = read(tmp_path / "a.csv", content, "#1", "#2", skip_rows=3, header="no")
    assert rows == ROWS and not faults


def test_rows_above_a_line_that_names_the_columns_are_not_taken_for_titles(tmp_path: Path):
    content = table('"{text}",{label}', "") + table('"{text}",{label}')
    with pytest.raises(UserError, match="line 21 has it: if the lines above it are no rows, set skip_rows to 20"):
        read(tmp_path / "a.csv", content)
    above = table('"{text}",only here', "")  # a file that is sorted by its labels
    with pytest.raises(UserError, match="line 21 has it: if the lines above it are no rows, set skip_rows to 20"):
        read(tmp_path / "a.csv", above + table('"{text}",{label}'))


def test_titles_may_have_as_many_cells_as_the_table(tmp_path: Path):
    above = "Author,Kim\nDate,2026-11-01\n,\nTitle,\n"
    facts, rows, faults = read(tmp_path / "a.csv", above + table('"{text}",{label}'))
    assert rows == ROWS and not faults and facts.dialect.skipped == 4


@pytest.mark.parametrize(
    ("content", "text", "label"),
    [
        (table('"{i}" "{text}" "{label}"', '"text" "label"'), "text", "label"),
        (table('{i},"{text}",{label}', "text,label"), "text", "label"),
        (table('"row{i}"\t"{text}"\t"{label}"', '"text"\t"label"'), "#2", "label"),
        (table('"{i}";"{text}";"{label}"', '"text";"label"'), "#2", "#3"),
        (table('"7{i}";"{text}";"{label}"', '"text";"label"'), "text", "label"),
        (table("7{i:02};{text};{label}", "text;label"), "text", "label"),
    ],
)
def test_a_header_without_a_name_for_the_names_of_rows(tmp_path: Path, content: str, text: str, label: str):
    facts, rows, faults = read(tmp_path / "a.csv", content, text, label)
    assert rows == ROWS and not faults
    assert "its first column, which the header does not name, is taken for names of rows" in facts.note


@pytest.mark.parametrize(
    "content",
    [
        table('"{text}","{label}",{i}'),
        table('"{text}","{label}",{i}', '"text","label"'),
        table('"text{i}","{label}",{i}'),
        table('"오늘날씨가{i}좋다","{label}",{i}', '"text","label"'),
        table('10{i:02},"{label}",{i}'),
        table("10{i:02},{label},{i}").replace("1020,", "1000,"),
    ],
)
def test_what_may_be_the_text_is_not_taken_for_names_of_rows(tmp_path: Path, content: str):
    facts, rows, faults = read(tmp_path / "a.csv", content)
    assert not rows and not facts.note
    assert {reason for _, reason in faults} == {"the row has 3 cells instead of 2"} and len(faults) == 20


@pytest.mark.parametrize("row", ["{text},{label}", "'{text}\",{label}", "\"{text}',{label}"])
def test_commas_without_quotes_are_not_taken_for_names_of_rows(tmp_path: Path, row: str):
    facts, rows, faults = read(tmp_path / "a.csv", table(row))
    assert not rows and len(faults) == 20 and not facts.note


@pytest.mark.parametrize("unreadable", ["error", "keep"])
@pytest.mark.parametrize(
    ("row", "header"),
    [("{text},{label}", "text,label"), ('"{text}", "{label}"', '"text", "label"'), ("{text};{label}", "text;label")],
)
def test_headers_of_files_that_were_joined_into_one_are_no_rows(tmp_path: Path, row: str, header: str, unreadable: str):
    headers = [header, f"\ufeff{header}", header.title()]
    content = "".join(table(row, one) for one in headers).replace(", it's", " it's")
    _, rows, faults = read(tmp_path / "a.csv", content, unreadable=unreadable)
    assert len(rows) == 60
    assert faults == [(number, "the row repeats the header") for number in (22, 43)]


def test_a_row_that_has_one_cell_of_the_header_is_a_row(tmp_path: Path):
    _, rows, faults = read(tmp_path / "a.csv", "text,label\ntext,a\nb,label\n")
    assert rows == [("text", "a"), ("b", "label")] and not faults


@pytest.mark.parametrize("around", ["\u200b", "\u00a0", "\ufeff"])
def test_characters_that_show_nothing_are_no_part_of_a_name_in_the_header(tmp_path: Path, around: str):
    _, rows, _ = read(tmp_path / "a.csv", table('"{text}",{label}', f"{around}text{around},label{around}"))
    assert rows == ROWS


@pytest.mark.parametrize("header", ["text label", 'text "label"'])
def test_a_column_that_may_stand_between_spaces_gets_advice_that_works(tmp_path: Path, header: str):
    content = table('"{text}" {label}', header).replace(",", "")
    with pytest.raises(UserError, match="a.csv has no column 'text': its first row is .*, set delimiter to ' '"):
        read(tmp_path / "a.csv", content)
    _, rows, _ = read(tmp_path / "a.csv", content, delimiter=" ")
    assert rows == [(text.replace(",", ""), label) for text, label in ROWS]


def test_skipping_all_lines_is_said(tmp_path: Path):
    with pytest.raises(UserError, match=r"a\.csv has no rows below the 2,000 lines to skip: correct skip_rows"):
        read(tmp_path / "a.csv", table('"{text}",{label}'), skip_rows=2_000)


def test_rows_may_end_with_a_delimiter_that_the_header_lacks(tmp_path: Path):
    content = table('"{text}",{label},') + '"one\ntwo",good,,\nwithout it,bad\nwith more,bad,x\n'
    facts, rows, faults = read(tmp_path / "a.csv", content)
    assert rows == [*ROWS, ("one\ntwo", "good"), ("without it", "bad")]
    assert faults == [(24, "the row has 3 cells instead of 2")]
    assert facts.note == "a row may end with empty cells that the header does not name"


def test_a_header_may_end_with_a_delimiter_that_rows_lack(tmp_path: Path):
    _, rows, faults = read(tmp_path / "a.csv", table('"{text}",{label}', "text,label,"))
    assert rows == ROWS and not faults


@pytest.mark.parametrize("known", [(), ("odd",)])
def test_a_first_row_whose_label_is_rare_is_a_row(tmp_path: Path, known: tuple[str, ...]):
    content = "the first text of all is like the others,odd\n" + table('"{text}",{label}', "")
    _, rows, _ = read(tmp_path / "a.csv", content, "#1", "#2", known)
    assert rows == [("the first text of all is like the others", "odd"), *ROWS]
    short = "first,odd\n" + table('"{text}",{label}', "")
    _, rows, _ = read(tmp_path / "a.csv", short, "#1", "#2", known)
    assert len(rows) == (21 if known else 20)


@pytest.mark.parametrize("header", ["sentence,label", "a,CLASS", "Text of line,kind of it", "문장,분류"])
def test_a_header_above_columns_that_are_counted_is_found_and_said(tmp_path: Path, header: str):
    facts, rows, _ = read(tmp_path / "a.csv", table('"{text}",{label}', header), "#1", "#2")
    assert rows == ROWS and "its first row is taken for the names of the columns" in facts.note


def test_a_header_above_numbers_is_a_header_though_texts_are_short(tmp_path: Path):
    content = "line of film,kind\n" + "".join(f"go,{i % 2}\n" for i in range(20))
    _, rows, _ = read(tmp_path / "a.csv", content, "#1", "#2")
    assert len(rows) == 20
    _, rows, _ = read(tmp_path / "a.csv", content.replace("kind", "7", 1), "#1", "#2")
    assert len(rows) == 21


def test_two_parameters_can_not_ask_for_one_column(tmp_path: Path):
    with pytest.raises(UserError, match=r"text_column 'text' and label_column '#1' are the same column of a\.csv"):
        read(tmp_path / "a.csv", table('"{text}",{label}'), "text", "#1")


def test_rows_that_are_mended_are_counted(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(b'text,label\na,good\nb\nc,bad,more\nd \xff,bad\n"open,good\n')
    columns = [Column("text", "text", "text_column"), Column("label", "label", "label_column")]
    settings = TableSettings(unreadable="keep", encoding="utf-8", quoting="double")
    _, batches = open_table(TableFile(tmp_path / "a.csv", "a.csv"), columns, settings)
    (batch,) = batches
    assert batch.cells["text"].to_pylist() == ["a", "b", "c", "d \ufffd"]
    assert batch.cells["label"].to_pylist() == ["good", "", "bad", "bad"]
    assert [(one.row, one.reason) for one in batch.mended] == [
        (3, "the row has 1 cell instead of 2"),
        (4, "the row has 3 cells instead of 2"),
        (5, "the row has bytes that are not UTF-8"),
    ]
    assert [one.row for one in batch.faults] == [6]


def test_backslashes_before_quotes_are_found_out_though_each_row_has_its_cells_either_way(tmp_path: Path):
    content = table('"he said: \\"{text}",{label}')
    facts, rows, faults = read(tmp_path / "a.csv", content)
    assert rows == [(f'he said: "{text}', label) for text, label in ROWS] and not faults
    assert facts.dialect.quoting == "backslash"


@pytest.mark.parametrize("plain", ["text {i},{label}", '"text, {i}",{label}'])
@pytest.mark.parametrize(
    "row", ['"a \\"ja\\" ne",x', '"ne \\"ja\\"",x', '"\\"ja\\"",x', '"ends in \\"",x', '"a \\"b, c\\" d",x']
)
def test_backslashes_before_quotes_are_read_wherever_they_stand(tmp_path: Path, plain: str, row: str):
    lines = [plain.format(i=i, label="ab"[i % 2]) for i in range(3_000)]
    _, rows, faults = read(tmp_path / "a.csv", "\n".join(["text,label", *lines, row, *lines[:9], row, ""]))
    wanted = row[1:-3].replace('\\"', '"')
    assert rows[3_000] == rows[-1] == (wanted, "x") and len(rows) == 3_011 and not faults


def test_doubled_quotes_are_read_in_a_file_with_backslashes(tmp_path: Path):
    row = '"a ""ja"", ne",x\n"",y\n'
    _, rows, faults = read(tmp_path / "a.csv", table('"he said: \\"{text}\\" twice",{label}') + row)
    assert rows[-2:] == [('a "ja", ne', "x"), ("", "y")] and not faults


def test_a_way_of_quoting_that_is_given_is_the_only_one(tmp_path: Path):
    _, rows, _ = read(tmp_path / "a.csv", table('"{text}",{label}') + '"a \\"ja\\" ne",x\n', quoting="double")
    assert rows[-1] == ('a \\ja\\" ne"', "x")


@pytest.mark.parametrize(
    ("row", "text"), [('"C:\\",x', "C:\\"), ('"a ""b"" \\",x', 'a "b" \\'), ('5\\" disk,x', '5\\" disk')]
)
def test_a_backslash_that_ends_a_cell_is_text(tmp_path: Path, row: str, text: str):
    _, rows, faults = read(tmp_path / "a.csv", table('"{text}",{label}') + row + "\n")
    assert rows[-1] == (text, "x") and not faults


@pytest.mark.parametrize(
    ("row", "header"),
    [('"{text}"; "{label}"', "text; label"), ('{label}|"{text}"', "label|text"), ("'{text}','{label}'", "text,label")],
)
def test_a_first_text_longer_than_the_sample_hides_nothing(tmp_path: Path, row: str, header: str):
    long = "a long text, with | and ; and " * 12_000 + "so on"
    content = f"{header}\n{row.format(text=long, label='long')}\n" + table(row, "", SINGLE if "'" in row else ("", ""))
    _, rows, faults = read(tmp_path / "a.csv", content)
    assert rows == [(long, "long"), *ROWS] and not faults


@pytest.mark.parametrize("above", ["Lines of the film,\n,\n", ",Lines of the film\n"])
def test_titles_that_a_spreadsheet_program_padded_are_passed_over_where_columns_are_counted(tmp_path: Path, above: str):
    facts, rows, faults = read(tmp_path / "a.csv", above + table('"{text}",{label}'), "#1", "#2")
    assert rows == ROWS and not faults
    assert "no part of the table and passed over" in facts.note
    _, rows, _ = read(tmp_path / "a.csv", "a row that lacks its label,\n" + table('"{text}",{label}', ""), "#1", "#2")
    assert rows == [("a row that lacks its label", ""), *ROWS]


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (table("{text}^{label}", "text^label"), "if another character parts its cells, set delimiter to it"),
        (table("{text} {label}", "text label"), "if spaces part its cells, set delimiter to ' '"),
        ("<HTML><body><table><tr><td>text</td><td>label</td></tr></table></body></HTML>\n", "web page or XML"),
        ('<?xml version="1.0"?>\n<rows><text>a, b</text></rows>\n', "save it as CSV, JSONL or Parquet"),
        (table('"{text}",{label}', "line,kind"), "to its position such as '#1'"),
    ],
)
def test_what_is_advised_where_a_column_is_not_found_can_be_done(tmp_path: Path, content: str, advice: str):
    with pytest.raises(UserError, match="has no column 'text'") as error:
        read(tmp_path / "a.xls", content)
    assert advice in str(error.value)


@pytest.mark.parametrize(("quoting", "escape"), [("backslash", "\\"), ("double", None)])
def test_texts_that_begin_or_end_with_a_quotation_do_not_make_another_dialect(tmp_path: Path, quoting: str, escape):
    rows = [(f"in the folder C:\\data\\{i} it is", "xy"[i % 2]) for i in range(20)]
    rows += [(' "Hello" she said', "x"), ('and he said "bye"', "y"), ('over two\nlines "so" it is', "x")]
    content = io.StringIO()
    writer = csv.writer(content, quoting=csv.QUOTE_ALL, doublequote=escape is None, escapechar=escape)
    writer.writerows([("text", "label"), *rows])
    facts, found, faults = read(tmp_path / "a.csv", content.getvalue())
    assert (facts.dialect.quoting, found, faults) == (quoting, rows, [])
