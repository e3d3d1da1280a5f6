"""Records of format 3 are read: a champion's evaluation with an alarm, and a decision with a warning.

The samples in format3/ must never be changed: when a format gets a new number, a folder of its own is added. Those of
the formats before know nothing of either.
"""

import shutil
from pathlib import Path

import pytest

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.evaluation import read_evaluation, write_evaluation
from kfp_bert_components.gate import check_decision, read_decision

SAMPLES = Path(__file__).parent
ALARM = (
    "The new labels disagree with the champion: accuracy 0.389 now (90 rows, 90 texts), 0.900 then (30 rows, 30 "
    "texts); look at the data before you train."
)


def test_an_alarm_and_what_the_champion_was_promoted_on(tmp_path):
    found = read_evaluation(SAMPLES / "format3" / "champion")
    assert (found.model_version, found.alarm["sentence"], found.alarm["chance"]) == (1, ALARM, 0.025)
    assert found.promoted_on.column_names == ["id", "rows", "right", "frequent"]
    assert (found.promoted_on.num_rows, sum(found.promoted_on["right"].to_pylist())) == (30, 27)
    assert (found.engine, found.precision) == ("tensorflow", "")  # of which format 3 knows nothing
    write_evaluation(found, tmp_path / "again")
    assert read_evaluation(tmp_path / "again") == found


def test_what_the_champion_was_promoted_on_must_be_there_where_the_alarm_names_it(tmp_path):
    shutil.copytree(SAMPLES / "format3" / "champion", tmp_path / "e")
    (tmp_path / "e" / "promoted_on.parquet").unlink()
    with pytest.raises(NotFoundError, match=r"promoted_on\.parquet is missing"):
        read_evaluation(tmp_path / "e")


def test_a_decision_with_a_warning():
    made = read_decision(SAMPLES / "format3" / "warned")
    check_decision(made, SAMPLES)
    assert (made.outcome, made.warnings, made.policy["on_data_alarm"]) == ("PROMOTE", [ALARM], "hold")


@pytest.mark.parametrize("before", ["format1", "format2"])
def test_older_records_have_no_alarm_and_no_warning(before):
    found = read_evaluation(SAMPLES / before / "evaluation")
    assert (found.alarm, found.promoted_on, read_decision(SAMPLES / before / "decision").warnings) == ({}, None, [])
