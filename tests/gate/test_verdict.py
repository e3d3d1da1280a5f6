"""Outcomes and the sentences that say why, from the test of the primary metric and the guardrails."""

import pytest

from kfp_bert_components.gate.guardrails import Guardrail
from kfp_bert_components.gate.policy import Goal
from kfp_bert_components.gate.swaps import pivot_of_accuracy
from kfp_bert_components.gate.verdict import PrimaryTest, more_rows, verdict


def primary(wins, losses, rows=400, *, metric="accuracy", min_improvement=0.0, margin=0.0, same=False, **facts):
    """The test of a candidate that alone is right in `wins` rows, and alone is wrong in `losses`."""
    goal = Goal(metric, min_improvement, margin)
    return PrimaryTest(goal, pivot_of_accuracy(wins, losses, rows, goal.delta), rows, "version 4", same, **facts)


def slower(**facts):
    found = {"name": "latency", "value": 2.5, "limit": 2.0, "p_value": None, "passed": False, "broken": True}
    return Guardrail(**found | facts)


SURE = "Accuracy rose by 0.100 over version 4 (90 % interval +0.066 to +0.134): 400 test rows show that this is"
UNSURE = "this test set of 400 rows cannot tell this from"


@pytest.mark.parametrize(
    ("test", "outcome", "reason"),
    [
        (primary(60, 20), "PROMOTE", f"{SURE} more than no change at alpha 0.05."),
        (
            primary(60, 20, min_improvement=0.02),
            "PROMOTE",
            f"{SURE} more than a gain of 0.020 at alpha 0.05.".replace("66 to +0.134", "65 to +0.135"),
        ),
        (
            primary(20, 60),
            "REJECT",
            "Accuracy fell by 0.100 against version 4 (90 % interval −0.134 to −0.066): 400 test rows show that this "
            "is a change for the worse at alpha 0.05.",
        ),
        (
            primary(40, 40, 4000, margin=0.02),
            "PROMOTE",
            "Accuracy is the same as that of version 4 (90 % interval −0.004 to +0.004): 4,000 test rows show that "
            "this is better than a loss of 0.020 at alpha 0.05.",
        ),
        (
            primary(20, 60, margin=0.02),
            "REJECT",
            "Accuracy fell by 0.100 against version 4 (90 % interval −0.136 to −0.064): 400 test rows show that this "
            "is worse than a loss of 0.020 at alpha 0.05.",
        ),
        (
            primary(20, 20, 40_000, min_improvement=0.05),
            "REJECT",
            "Accuracy is the same as that of version 4 (90 % interval 0.000 to 0.000): 40,000 test rows show "
            "that this is less than a gain of 0.050 at alpha 0.05.",
        ),
        (
            primary(22, 20),
            "HOLD",
            "Accuracy rose by 0.005 over version 4 (90 % interval −0.020 to +0.030): "
            f"{UNSURE} no change at alpha 0.05. Collect about 35,000 more rows.",
        ),
        (
            primary(20, 20),
            "HOLD",
            "Accuracy is the same as that of version 4 (90 % interval −0.025 to +0.025): "
            f"{UNSURE} no change at alpha 0.05.",
        ),
        (
            primary(3, 0),
            "HOLD",
            "Accuracy rose by 0.007 over version 4 (too few rows differ for an interval): "
            f"{UNSURE} no change at alpha 0.05. Collect about 2,800 more rows.",
        ),
        (
            primary(60, 20, same=True),
            "REJECT",
            "The candidate gives the same answers as version 4 on all 400 test rows, so there is nothing to gain.",
        ),
        (
            primary(0, 0, same=True, itself=True),
            "REJECT",
            "Nothing has changed: the candidate is version 4 itself. There is nothing to promote.",
        ),
        (
            primary(20, 60, metric="ece"),
            "REJECT",
            "Calibration error (ECE) got worse by 0.100 against version 4 (90 % interval of the improvement −0.134 to "
            "−0.066): 400 test rows show that this is a change for the worse at alpha 0.05.",
        ),
        (
            primary(60, 20, metric="ece"),
            "PROMOTE",
            "Calibration error (ECE) improved by 0.100 over version 4 (90 % interval of the improvement +0.066 to "
            "+0.134): 400 test rows show that this is more than no change at alpha 0.05.",
        ),
        (
            primary(60, 20, first=True),
            "PROMOTE",
            SURE.replace("rose by 0.100 over", "is 0.100 better than") + " more than no change at alpha 0.05.",
        ),
        (
            primary(60, 20, rare="spam", margin=0.02),
            "HOLD",
            "Accuracy rose by 0.100 over version 4 (90 % interval +0.064 to +0.136), but the class 'spam' has too few "
            "rows to test Accuracy against a loss of 0.020: collect 50 rows of each class, or choose another metric.",
        ),
    ],
)
def test_the_primary_metric_gives_an_outcome_and_a_sentence(test, outcome, reason):
    assert verdict(test, 0.05, []) == (outcome, reason)


def test_a_test_set_that_would_have_shown_the_wanted_gain_rejects():
    outcome, reason = verdict(primary(165, 140, 10_000, min_improvement=0.005), 0.05, [])
    assert outcome == "REJECT"
    assert reason.endswith(": if there were a gain of 0.005, these 10,000 test rows would have shown it at alpha 0.05.")


@pytest.mark.parametrize(
    ("guardrails", "outcome", "end"),
    [
        ([slower()], "REJECT", "latency is 2.500, beyond the limit of 2.000."),
        ([slower(broken=False), slower(name="size")], "REJECT", "size is 2.500, beyond the limit of 2.000."),
        ([slower(limit=-0.05, value=-0.1)], "REJECT", "latency changed by −0.100, beyond the limit of −0.050."),
        (
            [slower(name="speed", passed=True), slower(limit=-0.05, broken=False), slower(name="size", broken=False)],
            "HOLD",
            "these rows do not show that latency stays within the limit of −0.050: collect more rows.",
        ),
    ],
)
def test_a_guardrail_that_fails_keeps_back_what_the_primary_metric_would_promote(guardrails, outcome, end):
    better, worse = primary(60, 20), primary(20, 60)
    assert verdict(better, 0.05, guardrails) == (outcome, f"Accuracy rose by 0.100 over version 4, but {end}")
    assert verdict(worse, 0.05, guardrails) == verdict(worse, 0.05, [])
    assert verdict(better, 0.05, [slower(passed=True)]) == verdict(better, 0.05, [])


def test_the_rows_to_collect_would_show_a_gain_like_the_observed_one():
    test = primary(300, 270, 4000)
    more = more_rows(test, 0.05)
    assert more > 10_000 and more % 1000 == 0
    for times, enough in ((1 + more / 4000, True), (1 + 0.75 * more / 4000, False)):
        larger = pivot_of_accuracy(round(300 * times), round(270 * times), round(4000 * times))
        assert (larger.resolvable(0.05) <= test.pivot.value) == enough
    # None are asked for where the gain is shown, is no gain, or would need more than 100 times the rows.
    assert more_rows(primary(60, 20), 0.05) == more_rows(primary(24, 34), 0.05) == 0
    assert more_rows(primary(201, 200, 4000), 0.05) == 0
    # A gain that the policy asks for counts where the observed one is smaller.
    assert more_rows(primary(20, 20, min_improvement=0.02), 0.05) > 0
    # With a margin it is what is left of it that must be shown, and with a gain to show what lies beyond that.
    assert more_rows(primary(20, 22, margin=0.02), 0.05) > 0
    assert more_rows(primary(30, 20, min_improvement=0.02), 0.05) > more_rows(primary(30, 20), 0.05) > 0
    # Of a few rows the number is not rounded.
    assert more_rows(primary(22, 7, 40), 0.05) == 7
