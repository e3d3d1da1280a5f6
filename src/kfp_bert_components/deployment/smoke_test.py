"""The smoke test of a version that has just begun to answer: are its answers right, and fast enough?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from kfp_bert_components.deployment.journal import LeaseLostError
from kfp_bert_components.deployment.smoke_requests import SmokeRequest, SmokeRequests
from kfp_bert_components.deployment.target import RolloutError
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.validation import checked_dataclass

# How far the sum of the probabilities may be from 1.
_SUM = 1e-3
NO_ROWS = "The version's evaluation has no rows to test it with: evaluate it on a test split with rows."


@dataclass(frozen=True)
class Answer:
    """One answer of a model server.

    Attributes:
        who: The version or deployed model that answered, as the server names it.
        prediction: What it answered: "label" and "probabilities".
        seconds: How long the answer took.
    """

    who: str
    prediction: dict[str, Any]
    seconds: float


@checked_dataclass
class SmokeSettings:
    """When a version passes its smoke test.

    Attributes:
        answers: Answers of the new version that are needed.
        tolerance: Largest difference of a probability from the one in the version's evaluation.
        max_error_rate: Largest share of failed requests, 0 to 1. Requests that others answered count as well.
        max_latency_seconds: Largest 95th percentile of the new version's answering times.
        bake_seconds: Least duration of the test.
        timeout_seconds: Longest time, on top of `bake_seconds`, for getting the answers.

    Raises:
        UserError: A value is out of its range.
    """

    answers: Annotated[int, Field(ge=1)] = 20
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.05
    max_latency_seconds: Annotated[float, Field(gt=0)] = 2.0
    bake_seconds: Annotated[float, Field(ge=0)] = 0.0
    timeout_seconds: Annotated[float, Field(gt=0)] = 600.0


def smoke_test(
    ask: Callable[[dict[str, str]], Answer],
    new: str,
    requests: SmokeRequests,
    settings: SmokeSettings,
    check: Callable[[], None] = lambda: None,
) -> str:
    """Send requests until the version `new` has answered often enough.

    Args:
        ask: Sends one instance, {"text": ...}. It raises TransientError or UserError if no answer came.
        new: The version under test, as `Answer.who` names it. Answers of others only count for the error rate.
        requests: What to send; it begins again from the first one when all were sent. Where no answer is expected,
            only the form of the answer is looked at.
        settings: When the version passes.
        check: Called before each request; the test ends with what it raises.

    Returns:
        One sentence with the result.

    Raises:
        RolloutError: Answers of the version were wrong, too slow or too few, or too many requests failed.
        UserError: There are no requests.
    """
    if not requests.rows:
        raise UserError(NO_ROWS)
    times: list[float] = []
    started, asked, errors = time.monotonic(), 0, 0
    while True:
        check()
        passed = time.monotonic() - started
        if len(times) >= settings.answers and passed >= settings.bake_seconds:
            break
        if passed > settings.timeout_seconds + settings.bake_seconds:
            raise RolloutError(f"only {len(times)} of {settings.answers} answers came in {passed:.0f} s")
        request = requests.rows[asked % len(requests.rows)]
        asked += 1
        try:
            answer = ask(request.instance)
        except LeaseLostError:
            raise
        except (TransientError, UserError) as error:
            errors += 1
            if errors > max(1, settings.max_error_rate * max(asked, settings.answers)):
                raise RolloutError(f"{errors} of {asked} requests failed, the last with: {error}") from error
            continue
        if answer.who == new:
            times.append(answer.seconds)
            _check_answer(answer.prediction, request, requests.labels, settings.tolerance)
    slow = sorted(times)[math.ceil(0.95 * len(times)) - 1]
    if slow > settings.max_latency_seconds:
        limit = settings.max_latency_seconds
        raise RolloutError(f"it takes {slow:.2f} s to answer (95th percentile): {limit:g} s are allowed")
    right = "all right" if requests.rows[0].expected else "all of the right form"
    return f"{len(times)} of {asked} answers were its own, {right}, within {1000 * slow:.0f} ms (p95)"


def check_answers(predictions: Sequence[dict[str, Any]], requests: SmokeRequests, tolerance: float) -> str:
    """Compare the predictions for all requests, in their order, with the answers in the evaluation.

    Args:
        predictions: What the version answered.
        requests: What it was asked, and the answers to expect.
        tolerance: Largest difference of a probability.

    Returns:
        One sentence with the result.

    Raises:
        RolloutError: An answer is wrong or missing.
        UserError: There are no requests.
    """
    if not requests.rows:
        raise UserError(NO_ROWS)
    if len(predictions) != len(requests.rows):
        raise RolloutError(f"it gave {len(predictions)} answers to {len(requests.rows)} texts")
    for prediction, request in zip(predictions, requests.rows, strict=True):
        _check_answer(prediction, request, requests.labels, tolerance)
    if not requests.rows[0].expected:
        return f"asked here for {len(predictions)} fixed texts, and all answers have the right form"
    return f"asked here for {len(predictions)} texts of its evaluation, and all answers are right"


def _check_answer(prediction: dict[str, Any], request: SmokeRequest, labels: Sequence[str], tolerance: float) -> None:
    """Compare an answer with the one in the evaluation; RolloutError if they differ."""
    text = str(request.instance.get("text"))[:60]
    got = prediction.get("probabilities") if isinstance(prediction, dict) else None
    if not isinstance(got, list) or len(got) != len(labels) or not all(map(_is_probability, got)):
        raise RolloutError(f"its answer to {text!r} lacks probabilities: {str(prediction)[:200]}")
    if prediction.get("label") not in labels:
        raise RolloutError(f"its answer to {text!r} has the unknown label {prediction.get('label')!r}")
    if not request.expected:
        if abs(sum(got) - 1) > _SUM or got[labels.index(prediction["label"])] < max(got):
            raise RolloutError(
                f"its answer to {text!r} has the label {prediction['label']!r} and the probabilities {got[:5]}"
            )
        return
    worst = max(abs(one - other) for one, other in zip(got, request.expected, strict=True))
    if worst > tolerance:
        raise RolloutError(
            f"its answer to {text!r} differs by {worst:.4f} from the one in its evaluation ({tolerance:g} is allowed)"
        )
    best = labels[max(range(len(labels)), key=request.expected.__getitem__)]
    ordered = sorted(request.expected)
    if prediction["label"] != best and ordered[-1] - ordered[-2] > 2 * tolerance:
        raise RolloutError(f"its label of {text!r} is {prediction['label']!r}, and in its evaluation it was {best!r}")


def _is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and -1e-6 <= value <= 1 + 1e-6
