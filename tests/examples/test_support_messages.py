"""Messages to a support team: a model by category, channel and plan; a bad batch does not become the champion."""

import json

import pytest

from kfp_bert_components.local.server import predict, running_server
from kfp_bert_components.registry import Registry
from tests.support.easy_tables import TINY
from tests.support.examples import EXAMPLES, given, write_messages
from tests.support.pipeline_runs import run_pipeline

TRAINING = {**TINY, "epochs": 5, "batch_size": 8, "max_length": 48, "width": 64, "vocabulary_size": 1000}
EXAMPLE = f"{EXAMPLES / 'support_messages.py'}:support_messages"


def test_the_same_seed_gives_the_same_messages_and_wrong_labels_are_as_many_as_asked(tmp_path):
    one, two, bad = (
        write_messages(tmp_path / f"{name}.csv", 800, **more).read_text().splitlines()
        for name, more in (("one", {}), ("two", {}), ("bad", {"wrong": 0.5}))
    )
    assert one == two and one[0] == "text,category,channel,plan" and len(one) == 801
    labels = {line.split(",")[-3] for line in one[1:]}
    assert len(labels) == 8 == len({line.split(",")[-3] for line in bad[1:]})


@pytest.mark.docs
def test_it_sorts_messages_by_category_and_refuses_a_bad_batch(tmp_path):
    found = run_pipeline(EXAMPLE, tmp_path, **given(tmp_path, write_messages(tmp_path / "messages.csv")))
    assert found["compare-models"]["outcome"] == "PROMOTE", found["compare-models"]["reason"]
    evaluation = json.loads((found["evaluate-model"]["evaluation"] / "evaluation.json").read_text())
    assert {"channel = chat", "channel = email", "plan = free"} <= set(evaluation["slices"])
    with running_server(tmp_path / "serving", tmp_path / "server.log", port=0) as url:
        assert predict(url, ["please cancel order 12345"])[0]["label"] == "cancellation"

    bad = write_messages(tmp_path / "bad.csv", seed=1, wrong=0.8)
    found = run_pipeline(EXAMPLE, tmp_path, **given(tmp_path, bad, TRAINING))
    assert found["compare-models"]["outcome"] in ("HOLD", "REJECT"), found["compare-models"]["reason"]
    registry = Registry(str(tmp_path / "registry"))
    assert registry.require_champion().version == 1
    assert registry.decisions()[-1].warnings
