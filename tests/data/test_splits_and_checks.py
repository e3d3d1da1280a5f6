"""Ways of splitting, policies, leaks and drift."""

import gzip
import html
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from xxhash import xxh3_64_intdigest

from kfp_bert_components.data import rows
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import read_split
from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.steps.prepare_text_data import prepare_text_data

WORDS = ["apple", "river", "stone", "cloud", "paper", "window", "garden", "music", "silver", "table"]


def texts(count: int) -> list[str]:
    """Different texts of ten words that share few of them."""
    return [" ".join(f"{WORDS[(i * 7 + k) % 10]}{i}" for k in range(10)) for i in range(count)]


def write(path: Path, **columns: list) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def run(source: Path, folder: Path, **settings: object):
    places = [folder / name for name in ("train", "validation", "test")]
    prepared = prepare_text_data(source, *places, folder / "report.html", PrepareSettings(**settings))
    return prepared, *[read_split(place).table for place in places]


def labels(count: int) -> list[int]:
    return [i % 2 for i in range(count)]


def test_rows_of_a_group_stay_together(tmp_path: Path):
    films = [f"film {i // 10}" for i in range(300)]
    source = write(tmp_path / "a.parquet", text=texts(300), label=labels(300), film=films)
    film_of = dict(zip(texts(300), films, strict=True))
    _, *tables = run(source, tmp_path / "out", split_by="group", split_column="film", validation_fraction=0.2)
    groups = [{film_of[text] for text in table["text"].to_pylist()} for table in tables]
    assert all(groups) and not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])


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


def test_exact_normalised_and_near_repetitions_leave_train_and_not_test(tmp_path: Path):
    base = texts(60)
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/test.parquet", text=base[:20], label=labels(20))
    near = base[2].replace(base[2].split()[4], "another")
    leaking = [base[0], base[1].upper() + "!", near]
    write(tmp_path / "in/train.parquet", text=[*base[20:], *leaking], label=labels(43))
    prepared, train, validation, test = run(
        tmp_path / "in", tmp_path / "out", split_by="file", test_values=["test*"], validation_fraction=0.3
    )
    assert prepared.dropped["leakage"] == 3 and test.num_rows == 20
    assert not set(leaking) & {*train["text"].to_pylist(), *validation["text"].to_pylist()}
    page = (tmp_path / "out/report.html").read_text()
    assert near in page and "nearly repeat" in page
    with pytest.raises(UserError, match="3 rows are in test or validation too"):
        run(tmp_path / "in", tmp_path / "no", split_by="file", test_values=["test*"], leakage="error")


def test_a_slip_of_the_annotator_does_not_take_its_text_away(tmp_path: Path):
    source = write(tmp_path / "a.parquet", text=[*texts(60), *["MARA"] * 9], label=[*labels(60), *[1] * 8, 0])
    prepared, *tables = run(source, tmp_path / "out")
    assert prepared.dropped["conflicting_labels"] == 1 and prepared.dropped["duplicates"] == 7
    rows = [row for table in tables for row in table.to_pylist() if row["text"] == "MARA"]
    assert [row["label"] for row in rows] == ["1"]


def test_pairs_are_told_apart_by_both_texts(tmp_path: Path):
    source = write(tmp_path / "a.parquet", text=["same first text"] * 80, other=texts(80), label=labels(80))
    prepared, train, *_ = run(source, tmp_path / "out", pair_column="other", constant_text="keep")
    assert sum(prepared.rows.values()) == 80
    assert train.column_names[:4] == ["id", "text", "text_pair", "label"]
    assert len(set(train["id"].to_pylist())) == train.num_rows


@pytest.mark.parametrize("which", [min, max])
def test_a_text_of_half_of_all_rows_is_found_whatever_its_hash_is(which: Callable, tmp_path: Path):
    several = texts(81)
    constant = which(several, key=lambda text: xxh3_64_intdigest(text.encode()))
    others = [text for text in several if text != constant]
    source = write(tmp_path / "a.parquet", text=others + [constant] * 80, label=labels(160))
    prepared, *_ = run(source, tmp_path / "out", constant_text="drop")
    assert prepared.dropped["constant_text"] == 80


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


def test_drift_against_an_earlier_training_set(tmp_path: Path):
    first = write(tmp_path / "a.parquet", text=texts(300), label=labels(300))
    run(first, tmp_path / "1")
    other = ["entirely new " + text for text in texts(300)]
    second = write(tmp_path / "b.parquet", text=other, label=[int(i < 30) for i in range(300)])
    run(second, tmp_path / "2", reference=str(tmp_path / "1/train"))
    page = (tmp_path / "2/report.html").read_text()
    assert "Drift against" in page and "entirely" in page
    with pytest.raises(UserError, match="neither data_profile.json nor a registry"):
        run(second, tmp_path / "3", reference=str(tmp_path))


def test_text_of_the_data_is_escaped_in_the_report(tmp_path: Path):
    evil = "<script>alert(1)</script>"
    source = write(tmp_path / "a.parquet", text=[*texts(60), evil, evil], label=labels(62))
    run(source, tmp_path / "out", conflicting_labels="keep")
    page = (tmp_path / "out/report.html").read_text()
    assert evil not in page and html.escape(evil) in page


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
