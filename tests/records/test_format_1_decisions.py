"""The record of a decision of format 1 is read, with the answer of a person. The sample must never be changed."""

import shutil
from pathlib import Path

import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.origin import read_origin
from kfp_bert_components.registry import Registry

SAMPLE = Path(__file__).parent / "format1" / "decisions"


def test_a_decision_and_its_answer(tmp_path):
    shutil.copytree(SAMPLE, tmp_path / "decisions")
    registry = Registry(str(tmp_path))
    (found,) = registry.decisions()
    assert (found.outcome, found.candidate_fingerprint, found.champion_version) == ("PROMOTE", "model b", None)
    assert (found.report, found.warnings) == ("gs://bucket/runs/report", ["The labels disagree with the champion."])
    assert read_origin(found.origin).run == "train-and-ask-qhfhp"
    answer = found.approval
    assert (answer.state, answer.by, answer.reason) == ("rejected", "ann on laptop", "wrong on refunds")
    with pytest.raises(UserError, match="was rejected by ann on laptop at .*: the first answer counts"):
        registry.answer_approval("a7937b64b8caa58f03721bb6bacf5c78", approve=True)
    assert registry.verify() == []
