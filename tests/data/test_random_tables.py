"""Random and mutated tables: never a traceback, and every row is in a split or counted as dropped.

KFP_BERT_TABLES=10000 runs as many examples as the project promises.
"""

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfp_bert_components.data.prepare_data import prepare
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.errors import UserError
from kfp_bert_components.steps.prepare_text_data import prepare_text_data
from kfp_bert_components.tables import files as table_files
from tests.support.plain_csv import read_plainly

EXAMPLES = int(os.environ.get("KFP_BERT_TABLES", "60"))
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")
CHECKS = (
    "unreadable",
    "empty_text",
    "unknown_label",
    "duplicates",
    "conflicting_labels",
    "small_classes",
    "outlier_length",
    "mojibake",
    "constant_text",
    "leakage",
)

cells = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="ab ,;\t\"'\\\n\r\0é€日\ufeff", max_size=12),
    st.sampled_from(["the cat sat on the mat today", "The cat sat on the mat, today!", "1", "1.0", "", " ", "a"]),
)
tables = st.lists(st.tuples(cells, st.sampled_from(["x", "y", "z", "", "1", "1.0"])), max_size=40)
filler = [(f"row number {i} of these", "x" if i % 2 else "y") for i in range(30)]


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A name and bytes: a table written one way or another, then perhaps damaged."""
    rows = filler * draw(st.integers(0, 1)) + draw(tables)
    kind = draw(st.sampled_from(["csv", "single", "spaces", "plain", "jsonl", "json", "parquet", "bytes"]))
    delimiter = draw(st.sampled_from([",", "\t", ";"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]))
    if kind == "bytes":
        return "a.csv", draw(st.binary(max_size=300))
    if kind == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]}), sink)
        data = sink.getvalue()
    elif kind == "json":
        objects = [{"text": text, "label": label} for text, label in rows]
        data = json.dumps(draw(st.sampled_from([objects, {"data": objects}])), indent=1).encode(encoding)
    elif kind == "jsonl":
        data = "".join(json.dumps({"text": text, "label": label}) + end for text, label in rows).encode(encoding)
    else:
        mark = {"csv": '"', "spaces": '"', "single": "'", "plain": ""}[kind]
        between = delimiter + " " * (kind == "spaces")
        quoted = [(mark + text.replace(mark or "\0", 2 * mark) + mark, label) for text, label in rows]
        above = draw(st.sampled_from([[], [], ["sep=" + delimiter], ["A title", ""]]))
        lines = [*above, "text" + between + "label", *(text + between + label for text, label in quoted)]
        data = "".join(line + end for line in lines).encode(encoding, "replace")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 4)) :]
    return f"a.{'csv' if kind in ('plain', 'single', 'spaces') else kind}", data


policies = st.fixed_dictionaries({check: st.sampled_from(["drop", "keep", "error"]) for check in CHECKS})
lenient = st.fixed_dictionaries({check: st.sampled_from(["drop", "keep"]) for check in CHECKS})


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(
    file=files(),
    policy=st.one_of(lenient, lenient, policies),
    stratify=st.booleans(),
    columns=st.sampled_from([("text", "label"), ("#1", "#2")]),
    names=st.sampled_from([{}, {"x": "ex", "y": "why"}]),
    page=st.integers(0, 9),
)
def test_no_traceback_and_no_row_lost(
    file: tuple, policy: dict, stratify: bool, columns: tuple, names: dict, page: int
):
    given_ = PrepareSettings(
        text_column=columns[0], label_column=columns[1], stratify=stratify, max_dropped=1.0, label_names=names, **policy
    )
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        (folder / file[0]).write_bytes(file[1])
        places = [folder / split for split in ("train", "validation", "test")]
        try:
            prepared = prepare_text_data(
                folder / file[0], *places, folder / "report.html" if page == 0 else None, given_
            )
        except UserError as error:
            assert str(error).endswith((".", "?")) and "\n" not in str(error)
            return
        splits = [read_split(place) for place in places]
    assert prepared.read == sum(prepared.rows.values()) + sum(prepared.dropped.values())
    assert [split.table.num_rows for split in splits] == list(prepared.rows.values())
    if policy["leakage"] == "drop":
        texts = [set(split.table["text"].to_pylist()) for split in splits]
        assert not (texts[0] & texts[2] or texts[1] & texts[2] or texts[0] & texts[1])


pieces = st.sampled_from(
    ['"', '""', ",", "\n", "\n\n", "\r\n", "a", "b,x\n", "c d,y\n", '"e",x\n', '"f\ng",y\n', " ", "\0", "日,z\n"]
)


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(
    content=st.lists(pieces, max_size=60).map("".join), block=st.integers(1, 99), encoding=st.sampled_from(ENCODINGS)
)
def test_every_record_is_in_a_split_dropped_or_blank(content: str, block: int, encoding: str):
    content = "text,label\n" + "".join(f"{text},{label}\n" for text, label in filler) + content
    asked = PrepareSettings(
        header="yes",
        quoting="double",
        delimiter=",",
        encoding=encoding,
        unreadable="drop",
        constant_text="keep",
        small_classes="keep",
        max_dropped=1.0,
    )
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "BLOCK", block)
        (Path(name) / "a.csv").write_bytes(content.encode(encoding))
        places = [Path(name) / split for split in ("train", "validation", "test")]
        prepared = prepare(Path(name) / "a.csv", *places, asked)
    written = read_plainly(content, 2, ",")
    blank = sum(not any(cells) for _, cells in written.rows)
    assert prepared.blank == blank
    assert prepared.dropped["unreadable"] == len(written.faults)
    assert (
        sum(prepared.rows.values()) + sum(prepared.dropped.values())
        == len(written.rows) + len(written.faults) - blank - 1
    )
