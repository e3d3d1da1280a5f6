"""The smoke test by itself: how many answers, how right, how many errors, and for how long."""

import itertools
import time

import pytest

from kfp_bert_components.deployment import (
    Answer,
    RolloutError,
    SmokeRequest,
    SmokeRequests,
    SmokeSettings,
    smoke_test,
)
from kfp_bert_components.errors import TransientError, UserError

REQUESTS = SmokeRequests([SmokeRequest({"text": "HELLO"}, (0.1, 0.9))], ["calm", "shout"])
RIGHT = {"label": "shout", "probabilities": [0.1, 0.9]}


def run(answers, requests=REQUESTS, **settings):
    """Test a version that gives these predictions; an exception among them is raised."""
    given = iter(answers)

    def ask(instance):
        prediction = next(given)
        if isinstance(prediction, Exception):
            raise prediction
        return Answer("new", prediction, 0.0)

    return smoke_test(ask, "new", requests, SmokeSettings(**{"answers": 3, **settings}))


def test_a_version_is_asked_as_long_as_it_bakes():
    started = time.monotonic()
    run(itertools.repeat(RIGHT), bake_seconds=0.2)
    assert time.monotonic() - started >= 0.2
    with pytest.raises(RolloutError, match="differs by"):
        wrong = {"label": "calm", "probabilities": [0.9, 0.1]}
        run(itertools.chain([RIGHT] * 50, itertools.repeat(wrong)), bake_seconds=30.0)


@pytest.mark.parametrize(
    ("prediction", "says"),
    [
        ({"label": "shout", "probabilities": [0.2, 0.8]}, "differs by 0.1000"),
        (
            {"label": "calm", "probabilities": [0.1, 0.9]},
            "its label of 'HELLO' is 'calm', and in its evaluation it was 'shout'",
        ),
        ({"label": "other", "probabilities": [0.1, 0.9]}, "unknown label"),
        ({"label": "shout", "probabilities": [0.9]}, "lacks probabilities"),
        ({"label": "shout", "probabilities": [float("nan"), 0.9]}, "lacks probabilities"),
        ({"label": "shout"}, "lacks probabilities"),
        ("shout", "lacks probabilities"),
    ],
)
def test_an_answer_other_than_that_of_the_evaluation_fails_the_version(prediction, says):
    with pytest.raises(RolloutError, match=says):
        run([RIGHT, prediction])


def test_errors_are_allowed_up_to_their_share():
    failed = TransientError("503")
    assert run([failed, RIGHT, RIGHT, RIGHT]).startswith("3 of 4 answers were its own")
    with pytest.raises(RolloutError, match="2 of 2 requests failed"):
        run([failed, failed, RIGHT, RIGHT, RIGHT])
    run([failed, failed, RIGHT, RIGHT, RIGHT], max_error_rate=0.7)


def test_answers_of_others_do_not_count_and_too_few_in_time_fail_the_version():
    with pytest.raises(RolloutError, match="only 0 of 3 answers came"):
        smoke_test(
            lambda instance: Answer("old", RIGHT, 0.0),
            "new",
            REQUESTS,
            SmokeSettings(answers=3, timeout_seconds=0.05),
        )
    with pytest.raises(UserError, match="has no rows to test"):
        run([], requests=SmokeRequests([], ["calm", "shout"]))


@pytest.mark.parametrize(
    "settings",
    [{"answers": 0}, {"tolerance": -0.1}, {"max_error_rate": 1.5}, {"max_latency_seconds": 0.0}, {"bake_seconds": -1}],
)
def test_settings_out_of_their_range_are_refused_by_name(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        SmokeSettings(**settings)


def test_nineteen_of_twenty_answers_must_be_fast_enough():
    def timed(*seconds):
        times = iter(seconds)
        settings = SmokeSettings(answers=len(seconds), max_latency_seconds=1.0)
        return smoke_test(lambda instance: Answer("new", RIGHT, next(times)), "new", REQUESTS, settings)

    assert timed(5.0, *[0.25] * 19) == "20 of 20 answers were its own, all right, within 250 ms (p95)"
    assert timed(1.0, 0.5).endswith("within 1000 ms (p95)")
    with pytest.raises(RolloutError, match=r"^it takes 5\.00 s to answer \(95th percentile\): 1 s are allowed$"):
        timed(5.0, 5.0, *[0.25] * 18)


def test_requests_are_sent_in_their_order_again_and_again_and_other_answers_are_not_judged():
    rows = [SmokeRequest({"text": text}, (0.1, 0.9)) for text in "abc"]
    sent = []

    def ask(instance):
        sent.append(instance["text"])
        new = len(sent) % 2
        return Answer("new" if new else "old", RIGHT if new else {"label": "?"}, 0.0)

    said = smoke_test(ask, "new", SmokeRequests(rows, ["calm", "shout"]), SmokeSettings(answers=4))
    assert "".join(sent) == "abcabca" and said.startswith("4 of 7 answers were its own")


def test_a_label_may_differ_where_the_evaluation_was_undecided_within_the_tolerance():
    def label(expected, **settings):
        requests = SmokeRequests([SmokeRequest({"text": "x"}, expected)], ["calm", "shout"])
        run([{"label": "calm", "probabilities": list(expected)}] * 3, requests, **settings)

    label((0.495, 0.505))
    label((0.4, 0.6), tolerance=0.1)
    with pytest.raises(RolloutError, match="its label of 'x' is 'calm', and in its evaluation it was 'shout'"):
        label((0.48, 0.52))


@pytest.mark.parametrize("probabilities", [[-0.01, 0.9], [0.1, 1.01], ["0.1", 0.9], [0.1, 0.9, 0.0], [None, 0.9]])
def test_what_is_no_probability_is_no_answer(probabilities):
    with pytest.raises(RolloutError, match="its answer to 'HELLO' lacks probabilities: {'label'"):
        run([{"label": "shout", "probabilities": probabilities}], tolerance=1)


def test_rounding_beyond_zero_and_one_is_allowed():
    assert run([{"label": "shout", "probabilities": [-5e-7, 1 + 5e-7]}] * 3, tolerance=0.2)


def test_it_is_checked_before_each_request_whether_to_go_on():
    checks = []
    smoke_test(
        lambda instance: Answer("new", RIGHT, 0.0), "new", REQUESTS, SmokeSettings(answers=3), lambda: checks.append(1)
    )
    assert len(checks) == 4
