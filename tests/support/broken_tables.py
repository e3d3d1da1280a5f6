"""Forty tables with something wrong, and what prepare says to each.

python -m tests.support.broken_tables     # writes tests/data/broken/: the small ones, and sentences.json
"""

import contextlib
import gzip
import io
import json
import re
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "data" / "broken"
WORDS = ["apple", "river", "stone", "cloud", "paper", "window", "garden", "music", "silver", "table"]
NUMBERS = ["0", "1.0", "0", "1"]


def rows(count: int = 60) -> list[tuple[str, str]]:
    """Different texts with two labels in turn."""
    return [(f"the {WORDS[i % 10]} and {WORDS[i // 10]} of day {i}", "good" if i % 2 else "bad") for i in range(count)]


def table(pairs: list[tuple[str, str]], header: str = "text,label", delimiter: str = ",", end: str = "\n") -> str:
    """The rows as CSV."""
    lines = [header] if header else []
    return "".join(f"{line}{end}" for line in [*lines, *(f"{text}{delimiter}{label}" for text, label in pairs)])


def with_line(line: str, at: int = 10) -> bytes:
    """A good table with one more line in it."""
    lines = table(rows()).splitlines(keepends=True)
    return "".join([*lines[:at], line, *lines[at:]]).encode()


def quoted(data: bytes) -> bytes:
    """Good texts in quotes."""
    return re.sub(rb"(?m)^(the [^,]*),", rb'"\1",', data)


def parquet(columns: dict) -> bytes:
    """A Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def archive() -> bytes:
    """A zip archive, as an Excel workbook is one."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as zipped:
        zipped.writestr(zipfile.ZipInfo("xl/workbook.xml"), "<workbook/>")
    return sink.getvalue()


def jsonl(pairs: list[tuple[str, object]]) -> str:
    """The rows as JSON Lines."""
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in pairs)


GOOD = table(rows()).encode()
TEXTS, LABELS = (list(column) for column in zip(*rows(), strict=True))
ACCENTED = table([(f"café {text} déjà vu", label) for text, label in rows()])

# name: (bytes, or files of a folder, settings)
CASES: dict[str, tuple[bytes | dict[str, bytes], dict]] = {
    "accents_in_latin_1.csv": (ACCENTED.encode("latin-1"), {}),
    "accents_read_twice.csv": (ACCENTED.encode().decode("cp1252").encode(), {"mojibake": "error"}),
    "another_delimiter.csv": (table(rows(), "text;label", ";").encode(), {"delimiter": ","}),
    "array_of_json.jsonl": (json.dumps([{"text": text, "label": label} for text, label in rows()]).encode(), {}),
    "bare_carriage_returns.csv": (table(rows(), end="\r").encode(), {}),
    "binary.csv": (bytes(range(256)) * 20, {}),
    "blank_lines.csv": (GOOD.replace(b"\n", b"\n\n"), {}),
    "bom.csv": (b"\xef\xbb\xbf" + GOOD, {}),
    "bom_utf_16.csv": (GOOD.decode().encode("utf-16"), {}),
    "bom_utf_16_missing.csv": (GOOD.decode().encode("utf-16-le"), {}),
    "broken_json.jsonl": (jsonl(rows()).replace('"label": "good"}', '"label": "good"', 1).encode(), {}),
    "broken_utf_8.csv": (ACCENTED.encode().replace(b"caf\xc3\xa9 the river", b"caf\xc3 the river", 1), {}),
    "conflicting_labels.csv": (with_line("the apple and apple of day 0,good\n"), {"conflicting_labels": "error"}),
    "constant_text.csv": (table([("nothing", label) for _, label in rows()]).encode(), {}),
    "damaged.csv.gz": (gzip.compress(GOOD, mtime=0)[:-40], {}),
    "damaged.parquet": (parquet({"text": TEXTS, "label": LABELS})[:600], {}),
    "duplicate_columns.csv": (GOOD.replace(b"text,label", b"text,text", 1), {"label_column": "text"}),
    "duplicates.csv": (with_line("the apple and apple of day 0,bad\n"), {"duplicates": "error"}),
    "empty.csv": (b"", {}),
    "empty_among_good_ones": ({"a.csv": GOOD, "b.csv": b""}, {}),
    "empty_text.csv": (with_line(" ,good\n"), {"empty_text": "error"}),
    "excel_named.csv": (archive(), {}),
    "header_only.csv": (b"text,label\n", {}),
    "header_with_other_names.csv": (GOOD.replace(b"text,label", b"sentence,class", 1), {}),
    "json_lists.jsonl": (jsonl(rows()).replace('"label": "good"', '"label": ["good"]', 1).encode(), {}),
    "label_in_numbers.csv": (table([(t, NUMBERS[i % 4]) for i, (t, _) in enumerate(rows())]).encode(), {}),
    "label_missing.csv": (with_line("a row without a label,\n"), {"missing_label": "error"}),
    "label_of_one_row.csv": (with_line("a row of its own kind,odd\n"), {}),
    "label_unknown.csv": (with_line("a row of its own kind,odd\n"), {"label_names": {"good": "1", "bad": "0"}}),
    "no_header.csv": (table(rows(), header="").encode(), {}),
    "nul_bytes.csv": (with_line("a row with a NUL \0 in it,good\n"), {}),
    "one_column.csv": (table([(text, "") for text, _ in rows()], "text", delimiter="").encode(), {}),
    "one_label.csv": (table([(text, "good") for text, _ in rows()]).encode(), {}),
    "parquet_named.csv": (parquet({"text": TEXTS, "label": LABELS}), {}),
    "parquet_with_lists.parquet": (parquet({"text": [[text] for text in TEXTS], "label": LABELS}), {}),
    "pdf_named.csv": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" * 5, {}),
    "quote_never_closed.csv": (quoted(with_line('"a quote that is never closed,good\n')), {}),
    "quotes_that_stray.csv": (
        GOOD.replace(b"the apple and river", b'"the apple and river').replace(
            b"the table and window", b'"the table and window'
        ),
        {"quoting": "double"},
    ),
    "quoted_line_breaks.csv": (with_line('"first line\nsecond ""quoted"" line",good\n'), {}),
    "ragged_rows.csv": (with_line("one, two, three,good\n"), {}),
    "text_of_a_few_rows.csv": (table(rows(3)).encode(), {}),
    "wrong_encoding_given.csv": (ACCENTED.encode("cp1252"), {"encoding": "utf-8"}),
}


def big_cases() -> dict[str, tuple[bytes, dict]]:
    """The broken tables that are too large to be kept in the repository."""
    return {
        "line_of_50_mb.csv": (with_line("x" * 50_000_000 + ",good\n"), {}),
        "line_of_2_mb.csv": (with_line("x" * 2_000_000 + ",good\n"), {}),
        "line_of_50_mb.jsonl": (jsonl([*rows(), ("x" * 50_000_000, "good")]).encode(), {}),
        "more_labels_than_classes.csv": (table([(f"row {i}", str(i)) for i in range(20_000)]).encode(), {}),
    }


def write_case(content: bytes | dict[str, bytes], place: Path) -> Path:
    """Write a broken table."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        for name, data in content.items():
            write_case(data, place / name)
    else:
        place.write_bytes(content)
    return place


def sentence_of(source: Path, settings: dict) -> str:
    """What a user reads: the error, or what the step prints."""
    from kfp_bert_components.data.settings import PrepareSettings
    from kfp_bert_components.errors import UserError
    from kfp_bert_components.progress_bar import is_progress
    from kfp_bert_components.steps.prepare_text_data import prepare_text_data

    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(printed):
        folder = Path(name)
        splits = [folder / split for split in ("train", "validation", "test")]
        try:
            prepare_text_data(source, *splits, folder / "report.html", PrepareSettings(stratify=True, **settings))
        except UserError as error:
            return str(error)
    return "\n".join(line for line in printed.getvalue().splitlines() if not is_progress(line))


def main() -> None:
    sentences = {}
    for name, (content, settings) in CASES.items():
        place = write_case(content, FOLDER / name)
        sentences[name] = {"settings": settings, "says": sentence_of(place, settings)}
    (FOLDER / "sentences.json").write_text(json.dumps(sentences, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
