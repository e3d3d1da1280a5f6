"""Ways of splitting, and the splits on disk."""

import gzip
import hashlib
import re
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_bert_components.data import rows
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import fingerprint_of, read_split
from kfp_bert_components.errors import NotFoundError, UserError
from tests.support.prepared import labels, run, texts, write
from tests.support.splits import write_split


def test_rows_of_a_group_stay_together(tmp_path: Path):
    films = [f"film {i // 10}" for i in range(300)]
    source = write(tmp_path / "a.parquet", text=texts(300), label=labels(300), film=films)
    film_of = dict(zip(texts(300), films, strict=True))
    _, *tables = run(source, tmp_path / "out", split_by="group", split_column="film", validation_fraction=0.2)
    groups = [{film_of[text] for text in table["text"].to_pylist()} for table in tables]
    assert all(groups) and not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])


def test_rows_without_a_group_are_split_by_their_texts(tmp_path: Path, capsys):
    films = [f"film {i // 10}" if i % 2 else ["", " ", None][i % 3] for i in range(600)]
    written = [*texts(300), *(text.upper() for text in texts(300))]  # row i + 300 has the text of row i
    source = write(tmp_path / "a.parquet", text=written, label=[i // 2 % 2 for i in range(600)], film=films)
    prepared, *tables = run(
        source, tmp_path / "out", split_by="group", split_column="film", test_fraction=0.3, validation_fraction=0.3
    )
    alone = [
        {text.lower() for text in table["text"].to_pylist() if text.lower() in texts(300)[::2]} for table in tables
    ]
    assert all(len(one) > 30 for one in alone) and sum(map(len, alone)) == len(set.union(*alone))
    said = "300 rows have no value in split_column 'film': each of their texts is a group of its own"
    assert said in prepared.remarks and said in capsys.readouterr().out


def test_a_column_says_the_split(tmp_path: Path):
    where = ["train", "test", "dev", "train", "training"] * 20
    source = write(tmp_path / "a.parquet", text=texts(100), label=[i // 5 % 2 for i in range(100)], where=where)
    prepared, *_ = run(source, tmp_path / "out", split_by="column", split_column="where")
    assert prepared.rows == {"train": 60, "validation": 20, "test": 20}


def test_stratified_splits_have_the_same_label_shares(tmp_path: Path):
    source = write(tmp_path / "a.parquet", text=texts(400), label=[int(i < 40) for i in range(400)])
    _, *tables = run(source, tmp_path / "out", stratify=True)
    assert [table["label"].to_pylist().count("1") for table in tables] == [32, 4, 4]
    bars = re.findall(r"background:#\w+;width:([\d.]+)%", (tmp_path / "out/report.html").read_text())
    assert bars == ["100.0"] * 3 + ["11.1"] * 3  # a tenth of each split beside nine tenths


def test_compressed_files_of_several_formats_are_read_together(tmp_path: Path):
    (tmp_path / "in").mkdir()
    lines = [f"{text}\t{i % 2}\n" for i, text in enumerate(texts(90))]
    (tmp_path / "in/a.tsv.gz").write_bytes(gzip.compress(("text\tlabel\n" + "".join(lines[:30])).encode()))
    (tmp_path / "in/b.csv.zst").write_bytes(
        pa.compress(
            ("label,text\n" + "".join(f"{i % 2},{t}\n" for i, t in enumerate(texts(90)[30:60]))).encode(),
            codec="zstd",
            asbytes=True,
        )
    )
    write(tmp_path / "in/c.parquet", text=texts(90)[60:], label=[float(i % 2) for i in range(30)])
    prepared, *_ = run(tmp_path / "in", tmp_path / "out")
    assert prepared.read == sum(prepared.rows.values()) == 90 and prepared.labels == ["0", "1"]


def test_the_fingerprint_does_not_depend_on_the_order_of_rows(tmp_path: Path):
    rows = [(text, number // 3 % 2) for number, text in enumerate([*texts(60), *texts(8), *texts(4)])]
    tables = {"once": rows, "turned": rows[::-1], "more": [*rows, (texts(61)[-1], 1)]}
    prints = []
    for name, table in tables.items():
        said, told = zip(*table, strict=True)
        source = write(tmp_path / f"{name}.parquet", text=list(said), label=list(told))
        prepared, *_ = run(source, tmp_path / name, duplicates="keep", conflicting_labels="keep")
        prints.append(prepared.fingerprints)
    assert prints[0] == prints[1] and prints[0] != prints[2]


def test_a_folder_without_a_split(tmp_path: Path):
    with pytest.raises(NotFoundError, match="holds no split"):
        read_split(tmp_path)


def test_texts_that_do_not_fit_into_memory_give_the_same_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    several = texts(90)
    source = tmp_path / "in"
    source.mkdir()
    for number in range(3):  # a batch each: the first is held in memory, the others are written
        part = several[30 * number : 30 * number + 30]
        write(source / f"{number}.parquet", text=[*part, several[0] + " more"], label=labels(31))
    held, *wanted = run(source, tmp_path / "held")
    monkeypatch.setattr(rows, "IN_MEMORY", 5_000)
    written, *found = run(source, tmp_path / "written")
    assert written.fingerprints == held.fingerprints
    assert [table.to_pylist() for table in found] == [table.to_pylist() for table in wanted]
    assert [result.examples for result in written.results] == [result.examples for result in held.results]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"test_fraction": 0.5, "validation_fraction": 0.5}, "0.5 and validation_fraction 0.5 leave nothing to train"),
        ({"split_by": "group"}, "split_by is 'group': name the column in split_column"),
        ({"split_by": "column"}, "split_by is 'column': name the column in split_column"),
        ({"split_column": "film"}, "split_column is given, but split_by is 'text'"),
        ({"split_by": "file", "test_values": ["a"], "split_column": "film"}, "but split_by is 'file'"),
        ({"split_by": "file"}, "give the names or patterns of the test files in test_values"),
        ({"test_values": ["a"]}, "need split_by 'file', 'column' or 'group'"),
        ({"validation_values": ["a"]}, "need split_by 'file', 'column' or 'group'"),
        ({"split_by": "column", "split_column": "w", "validation_values": ["a"]}, "'column' name both"),
        ({"split_by": "group", "split_column": "film", "stratify": True}, "not with 'group': turn one of them off"),
        ({"near_duplicates": 0.4}, "near_duplicates is 0.4: it must be 0 (off) or between 0.5 and 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict, said: str):
    with pytest.raises(UserError) as error:
        PrepareSettings(**settings)
    assert said in str(error.value)


def test_settings_on_the_edge_are_taken_and_those_that_were_given_are_known():
    for near in (0, 0.5, 1):
        assert PrepareSettings(near_duplicates=near).near_duplicates == near
    given = {"test_fraction": 0.5, "validation_fraction": 0.49, "label_names": {"1": "one"}}
    assert PrepareSettings(**given, stratify=False).given() == given


def test_the_shares_of_texts_are_those_asked_for_and_the_test_set_is_the_same_whatever_validation_is(tmp_path: Path):
    source = write(tmp_path / "a.parquet", text=texts(2000), label=labels(2000))
    made = {
        share: run(source, tmp_path / str(share), test_fraction=0.3, validation_fraction=share, near_duplicates=0)
        for share in (0, 0.2, 0.6)
    }
    for share, (prepared, *_) in made.items():
        found = [rows / 2000 for rows in prepared.rows.values()]
        assert found == pytest.approx([0.7 - share, share, 0.3], abs=0.03)
    tests, validations = ([set(tables[k]["id"].to_pylist()) for _, *tables in made.values()] for k in (2, 1))
    assert tests[0] == tests[1] == tests[2]
    assert validations[1] < validations[2]


def test_a_column_that_says_no_validation_leaves_it_to_the_hash(tmp_path: Path):
    where = ["Train"] * 160 + ["TESTING"] * 40
    source = write(tmp_path / "a.parquet", text=texts(200), label=labels(200), where=where)
    asked = {"split_by": "column", "split_column": "where", "validation_fraction": 0.25}
    prepared, *tables = run(source, tmp_path / "out", **asked)
    assert prepared.rows["test"] == 40 and 25 <= prepared.rows["validation"] <= 55
    assert set(tables[2]["text"].to_pylist()) == set(texts(200)[160:])
    prepared, *_ = run(source, tmp_path / "two", **asked, test_values=["Train"])
    assert prepared.rows["test"] == 160
    where[3] = "Holdout"
    source = write(tmp_path / "b.parquet", text=texts(200), label=labels(200), where=where)
    with pytest.raises(UserError, match="'where' has a value that is no split in b.parquet row 4: it must hold train"):
        run(source, tmp_path / "no", **asked)


def test_groups_go_where_their_names_say(tmp_path: Path):
    films = [f"film {i // 20}" for i in range(200)]
    source = write(tmp_path / "a.parquet", text=texts(200), label=labels(200), film=films)
    film_of = dict(zip(texts(200), films, strict=True))

    def groups(name: str, **values: list[str]) -> list[set[str]]:
        _, *tables = run(source, tmp_path / name, split_by="group", split_column="film", **values)
        return [{film_of[text] for text in table["text"].to_pylist()} for table in tables]

    train, validation, test = groups("1", test_values=["film 3", "film 4", "film 5"], validation_values=["film 7"])
    assert test == {"film 3", "film 4", "film 5"} and validation == {"film 7"}
    assert train == {"film 0", "film 1", "film 2", "film 6", "film 8", "film 9"}
    train, validation, test = groups("2", test_values=["film 3"], validation_fraction=0.5)
    assert test == {"film 3"} and validation and not train & validation and len(train | validation) == 9
    with pytest.raises(UserError, match="The group 'film 3' matches both test_values and validation_values"):
        groups("3", test_values=["film 3"], validation_values=["film 3"])
    with pytest.raises(UserError, match="validation_values has 'x', but no group matches it: there is 'film 0', 'fil"):
        groups("4", test_values=["film 3"], validation_values=["x"])


@pytest.mark.parametrize("split_by", ["group", "column"])
def test_without_texts_errors_quote_no_group(tmp_path: Path, split_by: str):
    source = write(tmp_path / "a.parquet", text=texts(40), label=labels(40), who=["Ann Lee", "Kim Min"] * 20)
    settings = {"split_by": split_by, "split_column": "who", "keep_texts": "ids"}
    for values, says in (
        ({"test_values": ["x"]}, "test_values has 'x', but no (group|value) matches it: none of 2 does"),
        (
            {"test_values": ["Ann Lee"], "validation_values": ["Ann Lee"]},
            "A (group|value) matches both test_values and",
        ),
    ):
        with pytest.raises(UserError, match=says) as refused:
            run(source, tmp_path / "s", **settings, **values)
        assert "Ann Lee" not in str(refused.value) and "Kim Min" not in str(refused.value)


@pytest.mark.parametrize("split_by", ["group", "column"])
def test_groups_and_values_are_no_patterns(tmp_path: Path, split_by: str):
    films = ["A", "[A]", "C", "C?", "C#"] * 40
    source = write(tmp_path / "a.parquet", text=texts(200), label=labels(200), film=films)
    asked = {"split_by": split_by, "split_column": "film", "metadata_columns": ["film"]}
    _, train, validation, test = run(
        source, tmp_path / "out", **asked, test_values=["[A]"], validation_values=["C?"], leakage="keep"
    )
    assert [set(one["film"].to_pylist()) for one in (train, validation, test)] == [{"A", "C", "C#"}, {"C?"}, {"[A]"}]
    with pytest.raises(UserError, match=r"test_values has 'C\*', but no (group|value) matches it"):
        run(source, tmp_path / "no", **asked, test_values=["C*"])


def test_a_file_that_has_a_pattern_as_its_name_is_that_file(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("a[1].parquet", "a1.parquet")):
        write(tmp_path / "in" / name, text=texts(80)[40 * number :][:40], label=labels(40))
    *_, test = run(tmp_path / "in", tmp_path / "out", split_by="file", test_values=["a[1].parquet"])
    assert set(test["source"].to_pylist()) == {"a[1].parquet"}


def test_stratified_splits_have_a_row_of_every_label_unless_a_share_is_zero(tmp_path: Path):
    source = write(tmp_path / "a.parquet", text=texts(104), label=[int(i < 4) for i in range(104)])
    _, *tables = run(source, tmp_path / "1", stratify=True, test_fraction=0.2, validation_fraction=0.05)
    assert [table["label"].to_pylist().count("1") for table in tables] == [2, 1, 1]
    assert [table["label"].to_pylist().count("0") for table in tables] == [75, 5, 20]
    prepared, *_ = run(source, tmp_path / "2", stratify=True, test_fraction=0, validation_fraction=0)
    assert prepared.rows == {"train": 104, "validation": 0, "test": 0}


def test_a_split_that_gets_no_row_is_an_error(tmp_path: Path):
    source = write(tmp_path / "a.parquet", text=texts(20), label=labels(20))
    for share, name in (("test_fraction", "test"), ("validation_fraction", "validation")):
        with pytest.raises(UserError, match=f"The {name} split got none of the 20 rows"):
            run(source, tmp_path / "no", **{"test_fraction": 0.3, "validation_fraction": 0.3, share: 1e-9})
    with pytest.raises(UserError, match="The train split got none of the 20 rows"):
        run(source, tmp_path / "no", split_by="file", test_values=["a*"])
    where = write(tmp_path / "b.parquet", text=texts(20), label=labels(20), where=["train"] * 20)
    with pytest.raises(UserError, match="The test split got none"):
        run(where, tmp_path / "no", split_by="column", split_column="where", validation_fraction=0)
    one_label = write(
        tmp_path / "c.parquet",
        text=texts(20),
        label=[int(i < 10) for i in range(20)],
        where=["test", "train"] * 5 + ["test"] * 10,
    )
    with pytest.raises(UserError, match="Train is left with 1 of 2 labels"):
        run(one_label, tmp_path / "no", split_by="column", split_column="where", validation_fraction=0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"validation_fraction": 1e-9},
            "validation split .*: give more data, raise validation_fraction, or set st",
        ),
        ({"stratify": True}, "validation split .*: add different texts: a label with four of them or more gives some"),
        (
            {"test_fraction": 0.5, "validation_fraction": 0.4999999},
            "train split .*: give more data, or lower test_fraction and valid",
        ),
        (
            {"split_by": "group", "split_column": "g", "test_fraction": 0.5, "validation_fraction": 0.4999999},
            "train split .*: give more groups, or lower test_fraction and valid",
        ),
        ({"split_by": "file", "test_values": ["a*"]}, "train split .*: let test_values and .* leave files to train"),
        (
            {"split_by": "file", "test_values": ["a*"], "other": True, "validation_fraction": 1e-9},
            "validation split .*: give more data, raise validation_fraction, or name files in validation_values",
        ),
        (
            {"split_by": "group", "split_column": "g", "test_fraction": 1e-9, "validation_fraction": 0},
            "test split .*: give more groups, name some in test_values, or raise test_fraction",
        ),
        (
            {"split_by": "group", "split_column": "g", "validation_fraction": 1e-9, "test_fraction": 0},
            "validation split .*: give more groups or raise validation_fraction",
        ),
        (
            {"split_by": "group", "split_column": "g", "validation_values": ["x"]},
            "test split .*: name groups in test_v",
        ),
        (
            {"split_by": "column", "split_column": "w"},
            "test split .*: write test into some rows of 'w', or name values in test_values",
        ),
        (
            {"split_by": "column", "split_column": "w", "validation_fraction": 1 - 1e-9, "test_fraction": 0},
            "train split .*: give more data, or lower validation_fraction",
        ),
    ],
)
def test_a_split_without_a_row_gets_advice_that_can_be_followed(tmp_path: Path, settings: dict, says: str):
    settings, count = dict(settings), 3 if "stratify" in settings else 12
    columns = {
        "text": texts(2 * count),
        "label": labels(2 * count),
        "g": ["x", "y"] * count,
        "w": ["train"] * 2 * count,
    }
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.parquet", **columns)
    if settings.pop("other", False):
        write(tmp_path / "in" / "b.parquet", **columns | {"text": texts(4 * count)[2 * count :]})
    with pytest.raises(UserError, match=says) as refused:
        run(tmp_path / "in", tmp_path / "out", **settings)
    assert "stratify" not in str(refused.value) or settings == {"validation_fraction": 1e-9}


def test_a_fingerprint_is_of_labels_ids_and_classes_in_order_of_the_ids():
    hashes, codes = np.array([2**63, 7, 7], np.uint64), np.array([0, 1, 0])
    digits = b"0000000000000007" * 2 + b"8000000000000000"
    wanted = hashlib.sha256(b"no\nyes" + digits + np.array([0, 1, 0], "<i4").tobytes()).hexdigest()[:32]
    assert fingerprint_of(hashes, codes, ["no", "yes"]) == wanted


def test_a_split_that_was_changed_is_refused(tmp_path: Path):
    table = pa.table({"id": ["b", "a"], "text": ["x", "y"], "label": ["1", "0"]})
    print_ = write_split(tmp_path / "a", "test", ["0", "1"], table)
    found = read_split(tmp_path / "a")
    assert (found.name, found.labels, found.fingerprint, found.pair) == ("test", ["0", "1"], print_, False)
    header = (tmp_path / "a/split.json").read_text()
    (tmp_path / "a/split.json").write_text(header.replace('"rows": 2', '"rows": 3'))
    with pytest.raises(UserError, match="says 3 rows but holds 2: run prepare_text_data again"):
        read_split(tmp_path / "a")
    (tmp_path / "a/examples.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"examples\.parquet can't be read \(.+\): run prepare_text_data again"):
        read_split(tmp_path / "a")
    (tmp_path / "a/split.json").write_text("nonsense")
    with pytest.raises(UserError, match=r"a/split\.json is damaged: .*; run prepare_text_data again"):
        read_split(tmp_path / "a")


def test_a_large_split_is_written_in_groups_of_rows(tmp_path: Path):
    count = 3 * 2**16 + 5
    table = pa.table({"id": [f"{i:016x}" for i in range(count)], "text": ["x"] * count, "label": ["a"] * count})
    write_split(tmp_path / "s", "train", ["a"], pa.concat_tables([table.slice(0, 7), table.slice(7)]))
    file = pq.ParquetFile(tmp_path / "s/examples.parquet")
    assert file.metadata.num_row_groups <= 5 and file.metadata.row_group(0).num_rows >= 2**16
    kinds = [file.metadata.row_group(0).column(number).compression for number in range(3)]
    assert kinds == ["UNCOMPRESSED", "SNAPPY", "SNAPPY"]  # ids do not shrink
    assert read_split(tmp_path / "s").table["id"].to_pylist() == table["id"].to_pylist()


def test_batches_are_held_until_all_of_them_together_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    batches = [
        pa.record_batch({"text": [f"{number}{i}" for i in range(50)], "more": [number] * 50}) for number in "abcd"
    ]
    monkeypatch.setattr(rows, "IN_MEMORY", 2 * batches[0].nbytes)
    store, written = rows.Store(tmp_path / "rows.arrow"), []
    for batch in batches:
        store.append(batch)
        written.append((tmp_path / "rows.arrow").exists())
    store.close()
    assert written == [False, False, True, True]
    for names in (["text"], ["more", "text"]):
        found = list(store.batches(*names))
        assert [start for start, _ in found] == [0, 50, 100, 150]
        assert [part.to_pydict() for _, part in found] == [
            {name: values for name, values in batch.to_pydict().items() if name in names} for batch in batches
        ]


@pytest.mark.parametrize(("given", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_the_unicode_form_of_a_file_name_does_not_matter(tmp_path: Path, given: str, there: str):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.parquet", text=texts(60), label=labels(60))
    write(tmp_path / "in" / unicodedata.normalize(there, "시험.parquet"), text=texts(100)[60:], label=labels(40))
    for pattern in ("시험.parquet", "시?.par*"):
        asked = [unicodedata.normalize(given, pattern)]
        prepared, *_ = run(tmp_path / "in", tmp_path / "out", split_by="file", test_values=asked)
        assert prepared.rows["test"] == 40
