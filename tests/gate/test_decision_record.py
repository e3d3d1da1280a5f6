"""What the record of a decision and its pages say."""

import json
import re

import numpy as np
import pytest
from scipy.stats import binomtest

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import read_evaluation
from kfp_bert_components.evaluation.names import METRICS
from kfp_bert_components.gate import Policy, compare, read_decision
from tests.support.comparisons import LABELS, counted, judge, models, one_model, run
from tests.support.evaluations import scores, write_numbers


def test_an_override_is_recorded_with_name_and_reason(tmp_path):
    candidate, champion = models(tmp_path, 2.0, 2.0)
    made = judge(candidate, champion, Policy(override="PROMOTE", override_by="Ada", override_reason="new labels"))
    assert made.outcome == "PROMOTE" and made.gate_outcome != "PROMOTE"
    assert "Ada" in made.reason and "new labels" in made.reason
    assert made.policy["override_by"] == "Ada"
    with pytest.raises(UserError, match="override_by"):
        Policy(override="HOLD")


def test_the_record_of_a_decision_says_what_was_compared_and_found(tmp_path):
    pair, policy = counted(tmp_path), Policy(primary_metric="accuracy", max_negative_flips=0.1)
    made = judge(*pair, policy)
    assert (made.outcome, made.gate_outcome, made.test_fingerprint) == ("PROMOTE", "PROMOTE", "test")
    assert made.candidate_fingerprint == "model new" and made.policy == policy.as_dict()
    spent = {"number": 1, "alpha": 0.05, "left": 0.05, "counted": False}
    assert made.test_set == spent | dict.fromkeys(("lineage", "rows", "fresh", "left_out"), 0)
    assert made.decision_id != judge(*pair, policy).decision_id
    found = made.difference
    p_value = binomtest(40, 60, alternative="greater").pvalue
    exact = {"value": 0.05, "candidate": 0.95, "champion": 0.9, "delta": 0, "confidence": 0.9, "p_value": p_value}
    assert {name: found[name] for name in exact} == pytest.approx(exact)
    assert 0 < found["low"] < 0.05 < found["high"] and 0 < found["low_95"] < 0.05 < found["high_95"]
    assert found["metric"] == "accuracy" and found["rows"] == 400 and found["method"].startswith("exact McNemar test")
    assert found["power"] == 0.8 and 0.04 < found["resolvable"] < 0.06
    (flips,) = made.guardrails
    assert flips == {
        "name": "share of rows right before and wrong now",
        "value": 0.05,
        "limit": 0.1,
        "p_value": pytest.approx(binomtest(20, 400, 0.1, alternative="less").pvalue),
        "passed": True,
        "broken": False,
    }
    json.dumps(made.difference, allow_nan=False)


@pytest.mark.parametrize(
    ("policy", "method"),
    [
        (Policy(primary_metric="accuracy", margin=0.01), "studentised bootstrap of the rows"),
        (Policy(primary_metric="mcc", margin=0.01), "studentised bootstrap of the rows"),
        (Policy(primary_metric="f1:action"), "studentised paired permutation test (Chung"),
        (Policy(primary_metric="brier"), "studentised paired permutation test on the influence of each row"),
    ],
)
def test_the_test_that_was_made_is_named(tmp_path, policy, method):
    pair = counted(tmp_path)
    made = judge(*pair, policy)
    assert made.difference["method"].startswith(method) and made.difference["delta"] == policy.goal.delta
    pivot = compare(*map(read_evaluation, pair), policy.goal).test.pivot
    drawn_with_a_difference = np.isposinf(pivot.values).sum() == 1 and not np.isneginf(pivot.values).any()
    assert drawn_with_a_difference == bool(policy.margin)


def test_the_same_predictions_are_the_same_answers_and_nothing_can_be_resolved(tmp_path):
    truth, found = one_model()
    one, two = (write_numbers(tmp_path / name, truth, found, LABELS, version=v) for name, v in (("a", None), ("b", 4)))
    for metric in ("accuracy", "mcc", "log_loss", "ece"):
        made = judge(one, two, Policy(primary_metric=metric))
        assert "same answers as version 4" in made.reason and made.difference["resolvable"] is None
        assert made.difference["value"] == made.difference["low"] == made.difference["high"] == 0
    # Other probabilities with the same answers are no gain of accuracy, but one of the log loss.
    sharper = write_numbers(tmp_path / "c", truth, found**2 / (found**2).sum(1, keepdims=True), LABELS)
    assert "same answers" in judge(sharper, two, Policy(primary_metric="macro_f1")).reason
    assert "same answers" not in judge(sharper, two, Policy(primary_metric="log_loss")).reason


def test_an_open_end_of_an_interval_is_null(tmp_path):
    truth = np.arange(400) % 2
    right, wrong = np.eye(2)[truth], np.eye(2)[np.where(np.arange(400) < 2, 1 - truth, truth)]
    pair = [write_numbers(tmp_path / str(i), truth, answers, LABELS[:2]) for i, answers in enumerate((right, wrong))]
    found = judge(*pair, Policy(primary_metric="accuracy")).difference
    assert found["low"] is None and found["high"] is None and found["low_95"] < 0.005 < found["high_95"]
    assert "over the champion" in judge(*pair, Policy(primary_metric="accuracy")).reason


@pytest.mark.parametrize("metric", [*METRICS, "f1:action"])
def test_no_interval_of_a_difference_goes_beyond_what_the_metric_can_change_by(tmp_path, metric):
    truth = np.arange(12) % 3
    wrong, right = (0.01 + 0.97 * np.eye(3)[said] for said in ((truth + 1) % 3, np.r_[truth[:10], 0, 0]))
    new, old = (write_numbers(tmp_path / name, truth, said, LABELS) for name, said in (("new", right), ("old", wrong)))
    for pair, sign in (((new, old), 1), ((old, new), -1)):
        found = judge(*pair, Policy(primary_metric=metric)).difference
        most = {"mcc": 2, "brier": 2, "log_loss": 16.2}.get(metric, 1)
        assert found["value"] * sign > 0 and found["low_95"] <= found["value"] <= found["high_95"]
        for end in ("low", "high", "low_95", "high_95"):
            assert found[end] is None or abs(found[end]) <= most, (end, found)


def test_the_reason_of_an_override_says_who_why_and_what_the_gate_says(tmp_path):
    pair = counted(tmp_path)
    gate = judge(*pair).reason
    for override, done in (("PROMOTE", "Promoted"), ("HOLD", "Held back")):
        made = judge(*pair, Policy(override=override, override_by="Ada", override_reason="new labels."))
        assert made.outcome == override and made.gate_outcome == "PROMOTE"
        assert made.reason == f"{done} by hand by Ada, because: new labels. The gate itself says PROMOTE: {gate}"


def test_guardrails_compare_the_change_with_its_limit(tmp_path):
    pair = counted(tmp_path, system={"latency_p95_ms": 5.0, "size_bytes": 10.0})
    rules = {"max_class_drop": 0.1, "max_slice_drop": 0.2, "max_calibration_rise": 0.3}
    rules |= {"max_latency_ratio": 1.0, "max_size_ratio": 0.9}
    found = {one["name"]: one for one in judge(*pair, Policy(**rules)).guardrails}
    slices = [f"accuracy where {name}" for name in read_evaluation(pair[0]).slices]
    assert list(found) == [
        "F1 of class action",
        "F1 of class dialogue",
        *slices,
        "calibration (ECE)",
        "latency, 95th percentile, ratio",
        "size of the model, ratio",
    ]
    assert found["F1 of class action"]["value"] == pytest.approx(0.05)
    assert [found[name]["limit"] for name in list(found)[:2]] == [-0.1, -0.1]
    assert {found[name]["limit"] for name in slices} == {-0.2}
    new, old = (read_evaluation(folder) for folder in pair)
    for name in new.slices:
        rows = new.members(name)
        gains = [(side.probabilities().argmax(1) == side.truth())[rows].mean() for side in (new, old)]
        assert found[f"accuracy where {name}"]["value"] == pytest.approx(gains[0] - gains[1])
    calibration = found["calibration (ECE)"]
    assert calibration["value"] == pytest.approx(0.1 - 0.15, abs=1e-6) and calibration["limit"] == -0.3
    latency, size = list(found.values())[-2:]
    assert (latency["value"], latency["passed"], latency["broken"], latency["p_value"]) == (1.0, True, False, None)
    assert (size["value"], size["passed"], size["broken"], size["limit"]) == (1.0, False, True, 0.9)
    assert all(one["passed"] and not one["broken"] for one in list(found.values())[:-1])


def test_the_page_stands_alone_and_escapes_texts_and_labels(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    texts = [f"<script>alert({i})</script> & $x$" for i in range(60)]
    pages = [
        write_numbers(tmp_path / name, truth, scores(rng, truth, 3, 2.0, own=2), LABELS, version=version, texts=texts)
        for name, version in (("a", None), ("b", 1))
    ]
    run(tmp_path, *pages, Policy(max_class_drop=0.5, min_rows=1))
    html = (tmp_path / "report.html").read_text()
    assert "&lt;script&gt;" in html and "<script" not in html and "<i>" not in html
    assert not re.search(r"https?://|src=|@import|NaN|nan", html)
    about = " ".join(re.sub("<[^>]+>", " ", re.search(r'<p class="about">.*?</p>', html)[0]).split())
    assert "candidate: model a champion: version 1, model b test set: test registry: none written: 20" in about
    assert f" UTC, to {tmp_path}/report.html" in about
    assert re.search(r'HOLD <span class="badge wait">the candidate is held back</span>', html)
    summary = (tmp_path / "summary.md").read_text()
    assert "<i>" not in summary and summary.startswith("**")


def test_the_component_reads_a_policy_and_gives_a_real_bool(tmp_path):
    from kfp.dsl import Artifact

    from kfp_bert_components.components.compare_models import compare_models

    good, champion = models(tmp_path, 3.5, 2.0)
    places = [Artifact(uri=str(tmp_path / "out" / name)) for name in ("decision", "report", "summary")]
    inputs = [Artifact(uri=str(folder)) for folder in (good, champion)]
    (tmp_path / "policy.yaml").write_text("max_class_drop: 0.05")
    for policy in ("max_class_drop: 0.05", str(tmp_path / "policy.yaml")):
        promote, outcome, reason = compare_models.python_func(*inputs, *places, policy=policy)
        assert promote is True and outcome == "PROMOTE" and reason.startswith("Macro F1 rose")
        assert read_decision(tmp_path / "out" / "decision").policy["max_class_drop"] == 0.05
    assert all((tmp_path / "out" / name).exists() for name in ("decision", "report", "summary"))
    assert (places[0].metadata["outcome"], places[0].metadata["champion_version"]) == ("PROMOTE", 4)
