"""Policies for repeated, conflicting and odd texts, leaks and drift."""

import html
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from xxhash import xxh3_64_intdigest

from kfp_bert_components.data.checking import outlier_limit
from kfp_bert_components.errors import UserError
from tests.support.prepared import labels, run, texts, write


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
    assert near in page and "nearly the text of a row of" in page
    with pytest.raises(UserError, match="3 rows are in test or validation too"):
        run(tmp_path / "in", tmp_path / "no", split_by="file", test_values=["test*"], leakage="error")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (0, []),
        (8, ["8 of 108 rows were dropped: text or label is missing, unknown or not readable."]),
        (40, ["40 of 140 rows were dropped: text or label", "40 of 140 rows were dropped, more than a fifth."]),
    ],
)
def test_the_page_says_what_its_colour_means(tmp_path: Path, missing, said):
    write(tmp_path / "a.parquet", text=texts(100 + missing), label=[*labels(100), *[None] * missing])
    run(tmp_path / "a.parquet", tmp_path / "out", missing_label="drop", max_dropped=0.5)
    page = (tmp_path / "out/report.html").read_text()
    assert ('badge good">no warnings<' in page) != bool(said) == ('badge wait">look at this<' in page)
    notes = re.findall(r'<p><span class="badge wait">note</span> (.*?)</p>', page)
    assert len(notes) == len(said) and all(one.startswith(begin) for one, begin in zip(notes, said, strict=True))


def test_a_slip_of_the_annotator_does_not_take_its_text_away(tmp_path: Path):
    source = write(tmp_path / "a.parquet", text=[*texts(60), *["MARA"] * 9], label=[*labels(60), *[1] * 8, 0])
    prepared, *tables = run(source, tmp_path / "out", conflicting_labels="drop", duplicates="drop")
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


def test_a_text_of_fewer_than_half_of_all_rows_is_not_constant(tmp_path: Path):
    several = sorted(texts(91), key=lambda text: xxh3_64_intdigest(text.encode()))
    frequent = several.pop(45)  # in the middle of the sorted hashes, where the text of half of all rows must be
    source = write(tmp_path / "a.parquet", text=several + [frequent] * 70, label=labels(160))
    prepared, *_ = run(source, tmp_path / "out")
    assert [one.count for one in prepared.results if one.check == "constant_text"] == [0]


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


@pytest.mark.parametrize(
    ("given", "conflicts", "copies"),
    [
        ("AAAb", 1, 2),  # three quarters say A: b is a slip
        ("AAb", 3, 0),  # two thirds are not enough
        ("AAbb", 4, 0),
        ("AAAAAAbc", 2, 5),
        ("AAAA", 0, 3),
    ],
)
def test_a_text_keeps_the_label_of_three_quarters_of_its_rows(tmp_path: Path, given: str, conflicts: int, copies: int):
    extra = ["MARA"] * len(given)
    source = write(tmp_path / "a.parquet", text=[*texts(60), *extra], label=[*("Ab" * 30), *given])
    asked = {"small_classes": "keep", "conflicting_labels": "drop", "duplicates": "drop"}
    prepared, *_ = run(source, tmp_path / "out", **asked)
    assert prepared.dropped["conflicting_labels"] == conflicts and prepared.dropped["duplicates"] == copies
    note = next(one.note for one in prepared.results if one.check == "conflicting_labels")
    assert note == ("1 different texts" if conflicts else "")


def test_the_copies_of_a_text_are_told_apart_by_split_unless_the_text_decides_the_split(tmp_path: Path):
    where = ["train", "test"] * 50
    several = [*texts(98), "the same", "the same"]
    asked = {"duplicates": "drop", "leak_words": 2}
    source = write(tmp_path / "a.parquet", text=several, label=[i // 2 % 2 for i in range(100)], where=where)
    prepared, *_ = run(source, tmp_path / "1", split_by="column", split_column="where", **asked)
    assert prepared.dropped["duplicates"] == 0 and prepared.dropped["leakage"] == 1
    (leak,) = prepared.leaks
    assert (leak.kind, leak.split, leak.other, leak.count) == ("exact", "train", "test", 1)
    ((first, second),) = leak.examples
    assert (first.row, second.row, first.excerpt) == (99, 100, "the same")
    prepared, *_ = run(source, tmp_path / "2", **asked)
    assert prepared.dropped["duplicates"] == 1 and prepared.dropped["leakage"] == 0


def test_a_repetition_is_taken_out_of_train_first_and_then_of_validation(tmp_path: Path):
    base = texts(90)
    changed = [base[0] + " more", base[31].upper(), base[32]]
    several = [*base, *changed]
    where = ["test"] * 30 + ["validation"] * 30 + ["train"] * 30 + ["validation", "train", "train"]
    source = write(tmp_path / "a.parquet", text=several, label=labels(93), where=where)
    prepared, *_ = run(source, tmp_path / "out", split_by="column", split_column="where")
    found = {(leak.kind, leak.split, leak.other): leak.rows.tolist() for leak in prepared.leaks}
    assert found == {
        ("near", "validation", "test"): [90],
        ("normalised", "train", "validation"): [91],
        ("exact", "train", "validation"): [92],
    }
    prepared, *_ = run(source, tmp_path / "exact", split_by="column", split_column="where", near_duplicates=0)
    assert prepared.dropped["leakage"] == 2
    prepared, *_ = run(source, tmp_path / "kept", split_by="column", split_column="where", leakage="keep")
    assert prepared.dropped["leakage"] == 0 and prepared.rows["train"] == 32


def test_a_text_is_far_longer_than_the_rest_by_the_spread_of_the_lengths():
    assert outlier_limit(np.full(19, 100)) == float("inf")
    assert outlier_limit(np.full(20, 100)) == pytest.approx(1000)
    lengths = np.exp(np.random.default_rng(0).normal(4, 0.5, 100_000)) - 1  # eight times their spread is 4
    assert outlier_limit(lengths) == pytest.approx(np.exp(8) - 1, rel=0.05)


def test_texts_that_are_too_long_or_of_a_rare_label_are_found(tmp_path: Path):
    rare = ["x", "x", "y"]
    source = write(tmp_path / "a.parquet", text=[*texts(60), "word " * 600, "c", "d"], label=[*("ab" * 30), *rare])
    prepared, *_ = run(source, tmp_path / "out", outlier_length="drop", small_classes="drop", min_class_rows=2)
    found = {one.check: one for one in prepared.results}
    assert found["outlier_length"].count == found["outlier_length"].dropped == 1
    assert re.fullmatch(r"more than [\d,]+ characters", found["outlier_length"].note)
    assert found["small_classes"].count == 2 and found["small_classes"].note == "'x' (1), 'y' (1)"
    assert [one.row for one in found["small_classes"].examples] == [62, 63]
    assert prepared.labels == ["a", "b"]


def test_only_texts_that_were_decoded_with_the_wrong_encoding_are_found(tmp_path: Path):
    wrong = ["cafÃ©", "â€œquotedâ€\x9d", "what \ufffd"]
    source = write(tmp_path / "a.parquet", text=[*texts(60), "café", "“quoted”", "Ã", *wrong], label=labels(66))
    prepared, *_ = run(source, tmp_path / "out", mojibake="drop")
    (found,) = (one for one in prepared.results if one.check == "mojibake")
    assert found.count == found.dropped == 3
    assert [one.excerpt[:4] for one in found.examples] == ["cafÃ", "â€œq", "what"]


def test_too_many_rows_that_cannot_be_used_are_an_error(tmp_path: Path):
    source = write(
        tmp_path / "a.parquet", text=[*texts(80), *[""] * 11, *texts(99)[90:]], label=[*labels(91), *[None] * 9]
    )
    said = (
        r"20 of 100 rows would be dropped, more than max_dropped \(19%\) allows; most of them have no text \(the first"
    )
    with pytest.raises(UserError, match=said):
        run(source, tmp_path / "no", max_dropped=0.19)
    prepared, *_ = run(source, tmp_path / "out", max_dropped=0.2)
    assert prepared.dropped["empty_text"] == 11 and prepared.dropped["missing_label"] == 9
    nothing = write(tmp_path / "b.parquet", text=[""] * 30, label=labels(30))
    with pytest.raises(UserError, match="Not one usable row is left"):
        run(nothing, tmp_path / "no", max_dropped=1.0)


def test_rows_without_a_class_go_even_where_the_policy_keeps_their_fault(tmp_path: Path):
    given = [*labels(60), 7, 7, 8]
    source = write(tmp_path / "a.parquet", text=[*texts(62), ""], label=given)
    asked = {"label_names": {"0": "no", "1": "yes"}, "unknown_label": "drop", "empty_text": "keep"}
    prepared, *_ = run(source, tmp_path / "out", **asked)
    assert prepared.dropped["unknown_label"] == 3
    assert next(one.note for one in prepared.results if one.check == "unknown_label") == "'7', '8'"
    assert prepared.labels == ["no", "yes"] and prepared.class_rows["train"][0] > 0


def test_the_check_that_took_the_rows_of_train_is_named_with_its_count(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name in ("a", "again"):
        write(tmp_path / f"in/{name}.parquet", text=texts(60), label=labels(60))
    said = (
        "Train is left with 0 of 2 labels, and a classifier needs two or more: of its 54 rows, leakage dropped 54; "
        "change the way of splitting, or set leakage to 'keep'."
    )
    with pytest.raises(UserError, match=re.escape(said)):
        run(tmp_path / "in", tmp_path / "out", split_by="file", test_values=["again*"])


def test_the_badge_fits_the_remarks_that_are_listed(tmp_path: Path):
    write(tmp_path / "a.parquet", text=texts(100), label=labels(100))
    prepared, *_ = run(tmp_path / "a.parquet", tmp_path / "out", label_names={"0": "no", "1": "yes", "9": "other"})
    assert len(prepared.remarks) == 1
    assert 'badge good">no warnings, 1 remark<' in (tmp_path / "out/report.html").read_text()


def test_where_two_labels_are_merged_the_error_says_what_to_write_for_the_others(tmp_path: Path):
    source = write(
        tmp_path / "a.parquet", text=texts(100), label=[("new", "good", "bad", 'so "so"')[i % 4] for i in range(100)]
    )
    said = (
        '50 rows have a label that label_names does not know (the first is a.parquet row 3): add "bad": "bad", '
        '"so \\"so\\"": "so \\"so\\"" to it, or set unknown_label to \'keep\', which leaves such labels as they are, '
        "or to 'drop', which leaves their rows out."
    )
    with pytest.raises(UserError, match=re.escape(said)):
        run(source, tmp_path / "no", label_names={"new": "good"})
    prepared, *_ = run(source, tmp_path / "out", label_names={"new": "good"}, unknown_label="keep")
    assert prepared.labels == ["good", "bad", 'so "so"'] and sum(map(len, prepared.class_rows.values())) == 9
