"""Texts that differ in case, punctuation, spaces or Unicode form only are one piece of evidence."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kfp_bert_components.evaluation import read_evaluation, write_evaluation
from kfp_bert_components.evaluation.measure import measure
from kfp_bert_components.gate.alarm import by_text, find_alarm
from kfp_bert_components.gate.paired import pair_predictions

SAME = ["Good morning", "good  MORNING", "Good\tmorning ", "good\u00a0morning!", "ｇｏｏｄ morning"]
ACCENTS = ["caf\u00e9", "CAFE\u0301"]  # composed and not
OTHERS = ["good", "morning good", "!", "?"]
TEXTS = [*SAME, *ACCENTS, *OTHERS, " !\u3000", "！"]
NUMBERS = [0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 4, 4]


def evaluation(texts, pairs=None, **options):
    columns = {"id": [f"id {i}" for i in range(len(texts))], "text": texts, "label": (["a", "b"] * len(texts))[::2]}
    columns |= {"text_pair": pairs} if pairs else {}
    even = np.full((len(texts), 2), 0.5, np.float32)
    return measure(pa.table(columns), even, ["a", "b"], slices={}, test_fingerprint="test", **options)


def without_keys(found):
    return replace(found, predictions=found.predictions.drop_columns(["text_key"]))


@pytest.mark.parametrize("keep_texts", [True, False])
def test_one_cluster_whatever_case_spaces_and_unicode_form(keep_texts):
    found = evaluation(TEXTS, keep_texts=keep_texts)
    assert found.clusters().numbers.tolist() == NUMBERS and found.clusters().copies
    assert ("text" in found.predictions.column_names) == keep_texts
    assert evaluation(TEXTS, evidence_by="row").clusters().single


def test_both_texts_of_a_pair_count():
    found = evaluation(["Hi", "hi", "hi", "hi you", "hi"], ["You there", "you  there", "you", "there", "you there!"])
    assert found.clusters().numbers.tolist() == [0, 0, 1, 2, 0]


def test_rows_without_a_group_count_by_their_text():
    table = pa.table({"id": list("abcd"), "text": ["Hi", "hi", "hi", "no"], "label": list("abab"), "film": [""] * 4})
    even = np.full((4, 2), 0.5, np.float32)
    found = measure(table, even, ["a", "b"], slices={}, test_fingerprint="test", evidence_by="film")
    assert found.clusters().numbers.tolist() == [0, 0, 0, 1]


def test_a_group_has_one_spelling_also_where_an_older_split_has_several():
    films = ["caf\u00e9", "cafe\u0301", "caf\u00e9 ", "Caf\u00e9", "True", "true", "\u00a01", "1.0", None, ""]
    numbers = [str(i) for i in range(len(films))]
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        columns = {"id": numbers, "text": numbers, "label": ["a", "b"] * 5, "film": pa.array(films).cast(kind)}
        even = np.full((len(films), 2), 0.5, np.float32)
        found = measure(pa.table(columns), even, ["a", "b"], slices={}, test_fingerprint="test", evidence_by="film")
        assert found.clusters().numbers.tolist() == [0, 0, 0, 1, 2, 2, 3, 3, 4, 5]
        assert found.predictions["cluster"].to_pylist()[4:] == ["true", "true", "1", "1", None, ""]


def test_a_column_of_the_data_is_not_taken_for_the_keys():
    table = pa.table({"id": ["1", "2"], "text": ["Hi", "hi"], "label": ["a", "b"], "text_key": ["x", "y"]})
    even = np.full((2, 2), 0.5, np.float32)
    assert measure(table, even, ["a", "b"], slices={}, test_fingerprint="test").clusters().count == 1


def test_evaluations_written_before_have_the_keys_of_their_texts_or_count_by_id(tmp_path):
    write_evaluation(without_keys(evaluation(TEXTS)), tmp_path / "texts")
    write_evaluation(without_keys(evaluation(TEXTS, keep_texts=False)), tmp_path / "ids")
    assert read_evaluation(tmp_path / "texts").clusters().numbers.tolist() == NUMBERS
    assert read_evaluation(tmp_path / "ids").clusters().single


@pytest.mark.parametrize("older", [0, 1])
def test_an_older_evaluation_is_compared_by_the_clusters_of_the_newer_one(older):
    both = [evaluation(TEXTS, keep_texts=False) for _ in range(2)]
    both[older] = without_keys(both[older])
    order = np.argsort([f"id {i}" for i in range(len(TEXTS))])
    assert pair_predictions(*both).clusters.count == 6
    found = pair_predictions(*both).clusters.numbers.tolist()
    assert len({*zip(np.array(NUMBERS)[order].tolist(), found, strict=True)}) == 6


def test_the_data_alarm_counts_texts_by_their_keys_or_both_test_sets_by_ids():
    then, now = evaluation([*TEXTS, "then"]), replace(evaluation([*TEXTS, "now"]), test_fingerprint="new")
    assert by_text(now, ["a", "b"]).num_rows == 7
    assert (find_alarm(now, then, ["a", "b"]).now.texts, find_alarm(now, then, ["a", "b"]).then.texts) == (7, 7)
    assert find_alarm(now, without_keys(then), ["a", "b"]).now.texts == 14
