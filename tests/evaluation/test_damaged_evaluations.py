"""Evaluations whose files are damaged are refused, by file and row."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_bert_components.errors import DamagedError, NotFoundError, UserError
from kfp_bert_components.evaluation import read_evaluation
from tests.support.evaluations import NO_PROBABILITIES, write_numbers
from tests.support.tiny_model import LABELS


@pytest.mark.parametrize(("wrong", "message"), [*NO_PROBABILITIES.items(), ((1.0,), "has 1 probabilities")])
def test_an_evaluation_with_rows_that_are_no_probabilities_is_refused_by_file_and_row(tmp_path, wrong, message):
    folder = write_numbers(tmp_path / "e", [0, 1, 0], [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], LABELS)
    kept = read_evaluation(folder).predictions
    rows = pa.array([[0.9, 0.1], list(wrong), [0.7, 0.3]], pa.list_(pa.float32()))
    pq.write_table(kept.drop(["probabilities"]).append_column("probabilities", rows), folder / "predictions.parquet")
    with pytest.raises(DamagedError) as raised:
        read_evaluation(folder)
    assert "predictions.parquet is damaged: row 2 (id '00000001') has" in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("label", ["calm", "whisper", "calm"], "row 2 (id '00000001') has the label 'whisper', which the evaluation"),
        ("label", ["calm", "shout", None], "row 3 (id '00000002') has no label"),
        ("id", ["a", None, None], "row 2 (id None) has no id"),
        ("text_key", [None] * 3, "row 1 (id '00000000') has no text_key"),
        ("text_key", ["a", None, "b"], "row 2 (id '00000001') has no text_key"),
        ("id", None, "the column 'id' is missing"),
        ("label", None, "the column 'label' is missing"),
        ("probabilities", None, "the column 'probabilities' is missing"),
        ("cluster", None, "the column 'cluster' is missing"),
        ("label", [], "there are no rows"),
    ],
)
def test_an_evaluation_with_rows_that_say_nothing_is_refused_by_file_and_row(tmp_path, column, values, message):
    answers = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]
    folder = write_numbers(tmp_path / "e", [0, 1, 0], answers, LABELS, evidence_by="id")
    kept = read_evaluation(folder).predictions
    table = kept.slice(0, 0) if values == [] else kept.drop([column])
    if values:
        table = table.append_column(column, pa.array(values, pa.string()))
    pq.write_table(table, folder / "predictions.parquet")
    with pytest.raises(DamagedError) as raised:
        read_evaluation(folder)
    assert f"predictions.parquet is damaged: {message}" in str(raised.value)
    assert str(raised.value).endswith("; run evaluate_model again.")


def test_damaged_evaluations_are_refused(tmp_path):
    with pytest.raises(NotFoundError, match="holds no evaluation"):
        read_evaluation(tmp_path)
    for text, message in (
        ('{"format": 9}', "format 9"),
        ("nonsense", "no JSON"),
        ('{"format": 1, "empty": true}', "is damaged: lacks 'labels', 'test_fingerprint'"),
    ):
        (tmp_path / "evaluation.json").write_text(text)
        with pytest.raises(UserError, match=message):
            read_evaluation(tmp_path)
