"""Comparisons from files to files: outcomes, reasons, properties."""

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation import read_evaluation
from kfp_bert_components.evaluation.details import weak_points
from kfp_bert_components.evaluation.names import METRICS
from kfp_bert_components.gate import Policy, compare, decide, uncounted
from kfp_bert_components.gate.guardrails import holm
from kfp_bert_components.gate.paired import pair_predictions
from kfp_bert_components.origin import Origin
from kfp_bert_components.registry import Registry
from kfp_bert_components.steps.compare_models import compare_models
from tests.support.comparisons import LABELS, counted, judge, models, one_model, repeated, run
from tests.support.evaluations import scores, write_nobody, write_numbers
from tests.support.models import promote_next


@pytest.mark.parametrize("metric", [*sorted(set(METRICS) - {"ece"}), "f1:action", "recall:action", "precision:action"])
def test_a_better_candidate_is_promoted_and_a_worse_one_is_rejected(tmp_path, metric):
    good, bad, champion = models(tmp_path, 3.5, 0.5, 2.0)
    made = judge(good, champion, Policy(primary_metric=metric))
    assert (made.outcome, made.champion_version, made.champion_generation) == ("PROMOTE", 4, 7)
    assert made.difference["low"] > 0 and made.difference["p_value"] <= 0.05
    assert judge(bad, champion, Policy(primary_metric=metric)).outcome == "REJECT"


def test_a_better_calibrated_candidate_is_promoted_for_it_and_a_worse_one_is_rejected(tmp_path):
    truth, sure = one_model(2000)
    flat = sure**0.4 / (sure**0.4).sum(1, keepdims=True)
    good = write_numbers(tmp_path / "good", truth, sure, LABELS)
    bad = write_numbers(tmp_path / "bad", truth, flat, LABELS, version=4)
    assert judge(good, bad, Policy(primary_metric="ece")).outcome == "PROMOTE"
    assert judge(bad, good, Policy(primary_metric="ece")).outcome == "REJECT"


def test_too_few_rows_hold_and_the_reason_says_how_many_more(tmp_path):
    made = judge(*models(tmp_path, 2.2, 2.0, rows=300, seed=1), Policy(primary_metric="accuracy"))
    assert made.outcome == "HOLD"
    assert re.fullmatch(
        r"Accuracy rose by 0\.\d{3} over version 4 \(90 % interval −?0\.\d{3} to \+0\.\d{3}\): this test set of "
        r"300 rows cannot tell this from no change at alpha 0\.05\. Collect about [\d,]+ more rows\.",
        made.reason,
    ), made.reason


def test_a_large_test_set_that_shows_no_gain_of_the_wanted_size_rejects(tmp_path):
    made = judge(*models(tmp_path, 2.05, 2.0, rows=4000), Policy(primary_metric="accuracy", min_improvement=0.05))
    assert made.outcome == "REJECT"


def test_non_inferiority_promotes_a_candidate_that_is_as_good(tmp_path):
    candidate, champion = models(tmp_path, 2.0, 2.0, rows=3000)
    assert judge(candidate, champion, Policy(primary_metric="accuracy", margin=0.05)).outcome == "PROMOTE"
    assert judge(candidate, champion, Policy(primary_metric="accuracy", margin=0.0001)).outcome != "PROMOTE"


@pytest.mark.parametrize(("rare", "outcome"), [(10, "HOLD"), (60, "PROMOTE")])
@pytest.mark.parametrize(
    "policy", [Policy(primary_metric="mcc", margin=0.2), Policy(primary_metric="mcc", min_improvement=0.01)]
)
def test_mcc_is_tested_against_a_limit_only_with_enough_rows_of_each_class(tmp_path, rare, outcome, policy):
    truth = np.repeat([0, 1], [rare, 500])
    rng = np.random.default_rng(0)
    right = np.eye(2)[truth]
    weak = np.eye(2)[np.where(rng.random(len(truth)) < 0.4, 1 - truth, truth)]
    new, old = (
        write_numbers(tmp_path / name, truth, 0.1 + 0.8 * answers, LABELS[:2], version=version)
        for name, answers, version in (("new", right, None), ("old", weak, 4))
    )
    made = judge(new, old, policy)
    assert made.outcome == outcome
    if rare == 10:
        assert "the class 'action' has too few rows to test Matthews correlation" in made.reason
        assert judge(new, old, Policy(primary_metric="mcc")).outcome == "PROMOTE"


def test_a_guardrail_keeps_back_a_candidate_that_is_slower_or_flips_much(tmp_path):
    good, champion = models(tmp_path, 3.5, 2.0, system={"latency_p95_ms": 5.0, "size_bytes": 10.0})
    assert judge(good, champion, Policy(max_latency_ratio=1.1, max_size_ratio=1.1)).outcome == "PROMOTE"
    record = json.loads((good / "evaluation.json").read_text())
    record["system"]["latency_p95_ms"] = 50.0
    (good / "evaluation.json").write_text(json.dumps(record))
    made = judge(good, champion, Policy(max_latency_ratio=1.1))
    assert made.outcome == "REJECT" and "latency" in made.reason
    made = judge(good, champion, Policy(max_negative_flips=0.0001))
    assert made.outcome != "PROMOTE" and "right before and wrong now" in made.reason
    del record["system"]["latency_p95_ms"]
    (good / "evaluation.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="has no latency_p95_ms"):
        judge(good, champion, Policy(max_latency_ratio=1.1))


@pytest.mark.parametrize("tests", [1, 2, 5, 40])
def test_p_values_are_corrected_as_by_statsmodels(tests):
    rng = np.random.default_rng(tests)
    for p_values in (rng.random(tests), rng.random(tests) ** 9, np.repeat(rng.random(tests) / 99, 2), np.ones(tests)):
        reject, corrected, *_ = multipletests(p_values, 0.05, method="holm")
        assert np.array_equal(holm(p_values), corrected)
        assert np.array_equal(holm(p_values) <= 0.05, reject)


def test_guardrails_are_corrected_together_by_holm(tmp_path):
    pair = models(tmp_path, 3.5, 2.0)
    limits = {"max_negative_flips": 0.013, "max_calibration_rise": 0.021}
    alone = [judge(*pair, Policy(**{name: limit})) for name, limit in limits.items()]
    assert [made.outcome for made in alone] == ["PROMOTE", "PROMOTE"]
    small, large = sorted(made.guardrails[0]["p_value"] for made in alone)
    both = judge(*pair, Policy(**limits))
    assert sorted(one["p_value"] for one in both.guardrails) == pytest.approx([2 * small, max(2 * small, large)])
    assert both.outcome == "HOLD" and "do not show that" in both.reason


def test_a_guardrail_on_classes_and_slices_is_for_those_with_enough_rows(tmp_path):
    truth = np.repeat([0, 1, 2], [20, 100, 180])
    new, old = (
        write_numbers(tmp_path / name, truth, scores(np.random.default_rng(0), truth, 3, 3.0, own=own), LABELS)
        for name, own in (("new", 1.0), ("old", 1.1))
    )

    def named(**rules):
        return {one["name"] for one in judge(new, old, Policy(**rules)).guardrails}

    assert named(max_class_drop=0.5) == {f"F1 of class {label}" for label in LABELS[1:]}
    assert named(max_class_drop=0.5, min_rows=20) == {f"F1 of class {label}" for label in LABELS}
    sizes = {name: int(read_evaluation(new).members(name).sum()) for name in read_evaluation(new).slices}
    largest = max(sizes.values())
    assert named(max_slice_drop=0.5, min_rows=largest) == {
        f"accuracy where {name}" for name, rows in sizes.items() if rows == largest
    }


def test_the_first_model_must_beat_the_most_frequent_class_and_the_thresholds(tmp_path):
    good, useless = models(tmp_path, 2.0, 0.0)
    nobody = write_nobody(tmp_path / "nobody", LABELS)
    first = judge(good, nobody)
    assert (first.outcome, first.champion_version, first.champion_generation) == ("PROMOTE", None, 0)
    assert judge(useless, nobody, Policy(primary_metric="accuracy")).outcome != "PROMOTE"
    assert judge(good, nobody, Policy(thresholds={"accuracy": 0.99})).outcome == "REJECT"
    assert judge(good, nobody, Policy(thresholds={"log_loss": 0.01})).outcome == "REJECT"


def test_a_first_model_needs_only_to_beat_the_class_shares(tmp_path):
    good, _ = counted(tmp_path)
    nobody = write_nobody(tmp_path / "nobody", LABELS[:2])
    made = judge(good, nobody, Policy(primary_metric="accuracy", min_improvement=0.9, max_negative_flips=0.01))
    assert made.outcome == "PROMOTE" and made.guardrails == []
    assert made.difference["champion"] == 0.5 and made.difference["delta"] == 0
    assert made.reason.startswith(
        "There is no champion yet. Accuracy is 0.450 better than always saying the most frequent class ("
    )
    for metric in ("ece", "roc_auc", "pr_auc"):
        assert judge(good, nobody, Policy(primary_metric=metric)).difference["metric"] == "accuracy"
    assert judge(good, nobody, Policy(primary_metric="brier")).difference["metric"] == "brier"


@pytest.mark.parametrize(
    ("thresholds", "outcome", "reason"),
    [
        ({"accuracy": 0.95, "brier": 0.5}, "PROMOTE", "There is no champion yet. Macro F1 is"),
        (
            {"accuracy": 0.951},
            "REJECT",
            "There is no champion yet, and accuracy is 0.950 where the policy wants 0.951.",
        ),
        ({"f1:drama": 0.1}, "HOLD", "and f1:drama, which has a threshold, is not defined on these rows."),
        ({"brier": 0.01}, "REJECT", "There is no champion yet, and brier is 0.140 where the policy wants 0.01."),
    ],
)
def test_thresholds_hold_for_a_first_model_alone(tmp_path, thresholds, outcome, reason):
    candidate, champion = counted(tmp_path)
    nobody = write_nobody(tmp_path / "nobody", LABELS[:2])
    made = judge(candidate, nobody, Policy(thresholds=thresholds))
    assert made.outcome == outcome and reason in made.reason
    assert "There is no champion" not in judge(candidate, champion, Policy(thresholds=thresholds)).reason


@pytest.mark.parametrize("name", ["accuracy", "brier"])
def test_a_first_model_that_just_reaches_a_threshold_passes(tmp_path, name):
    candidate, _ = counted(tmp_path)
    limit = read_evaluation(candidate).metrics[name]["value"]
    made = judge(candidate, write_nobody(tmp_path / "nobody", LABELS[:2]), Policy(thresholds={name: limit}))
    assert made.outcome == "PROMOTE"


def test_classes_that_only_one_of_the_two_knows_are_never_the_answer_of_the_other(tmp_path):
    truth = np.arange(90) % 3
    new = read_evaluation(write_numbers(tmp_path / "new", truth, np.eye(3)[truth], ["c", "a", "b"]))
    # The champion knows b, a and d, and answers a, a and d where c, a and b are right.
    answers = np.eye(3)[[1, 1, 2] * 30].tolist()
    table = new.predictions.set_column(3, "probabilities", pa.array(answers, pa.list_(pa.float32())))
    champion = replace(new, labels=["b", "a", "d"], predictions=table, model_version=2)
    for metric, gain in (
        ("recall:c", 1),
        ("recall:a", 0),
        ("recall:b", 1),
        ("accuracy", 2 / 3),
        ("macro_recall", 2 / 3),
    ):
        policy = Policy(primary_metric=metric)
        made = decide(compare(new, champion, policy.goal), policy, uncounted(0.05))
        found = made.difference
        assert (found["candidate"], found["value"]) == pytest.approx((1, gain)), metric


def test_another_test_set_is_an_error(tmp_path):
    _, champion = models(tmp_path, 2.0, 2.0)
    (shorter,) = models(tmp_path / "x", 2.0, rows=399)
    with pytest.raises(UserError, match="same test split"):
        judge(shorter, champion)
    (other,) = models(tmp_path / "y", 2.0, seed=5)
    with pytest.raises(UserError, match="different test rows or labels"):
        judge(other, champion)
    texts = write_numbers(tmp_path / "t", *one_model(), LABELS, texts=["other text"] * 400)
    with pytest.raises(UserError, match="one has the text 'other text'"):
        judge(texts, write_numbers(tmp_path / "u", *one_model(), LABELS))
    with pytest.raises(UserError, match="empty"):
        judge(write_nobody(tmp_path / "n", LABELS), champion)


@pytest.mark.parametrize("keep_texts", [True, False])
def test_a_group_is_quoted_only_where_texts_are_kept(tmp_path, keep_texts):
    def made(name: str, last: str):
        folder = write_numbers(tmp_path / name, *one_model(), LABELS, keep_texts=keep_texts)
        found = read_evaluation(folder)
        groups = pa.array([*[f"customer {i}" for i in range(found.predictions.num_rows - 1)], last])
        table = found.predictions.append_column("cluster", groups)
        return replace(found, evidence_by="customer", predictions=table)

    with pytest.raises(UserError, match="different test rows or labels") as refused:
        pair_predictions(made("one", "Ann Lee"), made("other", "Kim Min"))
    assert ("Ann Lee" in str(refused.value)) == ("Kim Min" in str(refused.value)) == keep_texts
    assert keep_texts or "their cluster differs in the row with the id '0000018f'" in str(refused.value)


@pytest.mark.parametrize("films", [1, 2, 5])
def test_of_few_groups_the_interval_of_a_difference_is_open_or_wide(tmp_path, films):
    sides = []
    for folder in models(tmp_path, 2.5, 2.0):
        found = read_evaluation(folder)
        groups = pa.array([str(i % films) for i in range(found.predictions.num_rows)])
        table = found.predictions.append_column("cluster", groups)
        sides.append(replace(found, evidence_by="film", predictions=table))
    made = decide(compare(*sides, Policy().goal), Policy(), uncounted(0.05))
    assert made.outcome == "HOLD" and "too few to compare models" in made.reason
    found = made.difference
    assert (found["low"] is None) == (films < 5)  # of fewer no swap is as rare as alpha
    assert (found["low_95"] is None) == (films == 1)
    assert films == 1 or found["high_95"] - found["low_95"] > 0.03
    first = weak_points(sides[0])
    assert any("too few values of film to say how sure a metric is" in one for one in first) == (films == 1)


def test_classes_may_come_in_another_order(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    old = scores(rng, truth, 3, 2.0)
    champion = write_numbers(tmp_path / "a", truth, old, LABELS, version=1)
    turned = write_numbers(tmp_path / "b", 2 - truth, old[:, ::-1], LABELS[::-1])
    assert "same answers" in judge(turned, champion).reason


def test_uses_of_the_test_set_are_counted_once_each_and_spend_alpha(tmp_path):
    first, second, champion = models(tmp_path, 2.5, 2.6, 2.0)
    registry = str(tmp_path / "registry")
    uses = [run(tmp_path, model, champion, registry=registry).test_set for model in (first, first, second)]
    assert [use["number"] for use in uses] == [1, 1, 2]
    assert [use["alpha"] for use in uses] == pytest.approx([0.025, 0.025, 0.05 / 6])
    assert uses[0]["counted"] and uses[2]["left"] == pytest.approx(0.05 / 3)


def test_other_rules_are_another_use_and_an_override_is_not(tmp_path):
    candidate, champion = models(tmp_path, 2.5, 2.0)
    by_hand = Policy(override="HOLD", override_by="Ada", override_reason="wait for Monday")
    policies = Policy(), Policy(primary_metric="accuracy"), by_hand
    uses = [run(tmp_path, candidate, champion, policy, str(tmp_path / "registry")).test_set for policy in policies]
    assert [use["number"] for use in uses] == [1, 2, 1]


def test_a_comparison_that_cannot_be_made_is_no_use(tmp_path):
    candidate, champion = models(tmp_path, 2.5, 2.0)
    with pytest.raises(UserError, match="needs rows of the class 'drama'"):
        run(tmp_path, candidate, champion, Policy(primary_metric="f1:drama"), str(tmp_path / "registry"))
    assert not list(tmp_path.glob("registry/test_sets/*"))


@pytest.mark.parametrize("local", [True, False])
def test_people_are_told_of_a_page_that_a_browser_shows_while_the_run_goes_on(tmp_path, local):
    candidate, champion = models(tmp_path, 2.5, 2.0)
    registry = Registry(str(tmp_path / "registry"))
    paths = tmp_path / "decision", tmp_path / "report", tmp_path / "summary.md"
    uri = str(paths[1]) if local else "gs://bucket/report"
    origin = Origin(folder=str(tmp_path) if local else "")
    compare_models(candidate, champion, *paths, Policy(), registry.uri, origin, uri)
    (record,) = registry.decisions()
    assert record.report == (f"{uri}.html" if local else uri)
    assert not local or Path(record.report).read_bytes() == paths[1].read_bytes()


def test_a_model_that_somebody_went_back_from_is_promoted_by_a_person_only(tmp_path):
    candidate, champion = models(tmp_path, 2.5, 2.0)
    registry = Registry(str(tmp_path / "my registry"))
    promote_next(registry, tmp_path / "first", champion.name)
    promote_next(registry, tmp_path / "second", candidate.name)

    def decided(policy=None):
        return run(tmp_path, candidate, champion, policy, registry.uri)

    assert decided().outcome == "PROMOTE"
    registry.rollback(reason="too many complaints")
    held = decided()
    assert held.outcome == held.gate_outcome == "HOLD"
    assert held.reason.startswith("This is the model of version 2, from which ")
    assert " went back to version 1 at 20" in held.reason and " (too many complaints). To make it" in held.reason
    assert f"`kfp-bert registry rollback '{registry.uri}' --to 2` or set override in the policy." in held.reason
    assert "By the primary metric alone it would be promoted: Macro F1 rose" in held.reason
    assert decided(Policy(override="PROMOTE", override_by="Ada", override_reason="mended")).outcome == "PROMOTE"
    worse = run(tmp_path, champion, candidate, registry=registry.uri)
    assert worse.outcome == "REJECT" and "went back" not in worse.reason
    registry.rollback(2)
    assert decided().outcome == "PROMOTE"


def test_a_much_better_candidate_is_promoted_also_at_the_alpha_that_40_uses_leave(tmp_path):
    good, champion = models(tmp_path, 3.5, 2.0, rows=2000)
    policy = Policy(alpha=0.05 / (40 * 41), max_class_drop=0.05, max_slice_drop=0.05, max_calibration_rise=0.1)
    made = judge(good, champion, policy)
    assert made.outcome == "PROMOTE", made.reason


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(5, 120),
    strength=st.floats(0, 4),
    metric=st.sampled_from(["accuracy", "macro_f1", "mcc", "log_loss", "brier", "ece"]),
)
def test_swapping_never_promotes_both_order_of_rows_means_nothing_and_an_equal_candidate_is_never_promoted(
    seed, rows, strength, metric
):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 3, rows)
        one, two = scores(rng, truth, 3, strength), scores(rng, truth, 3, 2.0)
        a = write_numbers(folder / "a", truth, one, LABELS)
        b = write_numbers(folder / "b", truth, two, LABELS)
        shuffled = write_numbers(folder / "c", truth, one, LABELS, order=rng.permutation(rows))
        policy = Policy(primary_metric=metric, alpha=0.2)
        forth, back = judge(a, b, policy), judge(b, a, policy)
        assert not (forth.promote and back.promote)
        other = judge(shuffled, b, policy)
        assert (other.outcome, other.reason) == (forth.outcome, forth.reason)
        assert other.difference == forth.difference
        assert not judge(a, shuffled, policy).promote


@pytest.mark.parametrize(
    ("metric", "what"),
    [
        (
            "accuracy",
            "the 1,000 rows have only 103 texts. They are worth 2.4 independent rows, which is too few to compare "
            "models: collect rows with",
        ),
        (
            "macro_f1",
            "the 900 rows of the class 'dialogue' have only 3 texts. They are worth 2.0 independent "
            "rows, which is too few",
        ),
    ],
)
def test_rows_that_are_few_texts_are_too_little_evidence(tmp_path, metric, what):
    made = judge(*repeated(tmp_path), Policy(primary_metric=metric))
    assert made.outcome == "HOLD" and what in made.reason, made.reason


def test_evidence_is_counted_alike_for_both_models(tmp_path):
    with pytest.raises(
        UserError, match="by 'text' and the champion's by 'row': give evaluate_model and evaluate_champion"
    ):
        judge(*repeated(tmp_path, "row"))


def test_guardrails_need_rows_that_count_as_enough(tmp_path):
    rules = {"primary_metric": "f1:action", "max_class_drop": 0.1, "max_slice_drop": 0.1, "max_negative_flips": 0.5}
    found = judge(*repeated(tmp_path), Policy(**rules)).guardrails
    untested = "F1 of class dialogue (too few texts to test)"
    assert [one["name"] for one in found if one["name"].startswith("F1")] == ["F1 of class action", untested]
    without_test = next(one for one in found if one["name"] == untested)
    assert without_test["p_value"] is None
    assert without_test["passed"] is (without_test["value"] > without_test["limit"])
    rows = [replace(read_evaluation(folder), evidence_by="row") for folder in repeated(tmp_path / "x")]
    policy = Policy(**rules)
    by_row = decide(compare(*rows, policy.goal), policy, uncounted(0.05)).guardrails
    assert [one["name"] for one in by_row if one["name"].startswith("F1")] == [
        "F1 of class action",
        "F1 of class dialogue",
    ]
    flips, flips_by_row = (next(one for one in part if "right before" in one["name"]) for part in (found, by_row))
    assert flips["value"] == flips_by_row["value"] and flips["p_value"] > flips_by_row["p_value"]
