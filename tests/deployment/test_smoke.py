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
