"""The smoke test of a version that answers its first requests: the same answers as examined, soon enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kfp_bert_components.deployment.rollout import RolloutError
from kfp_bert_components.errors import TransientError, UserError


@dataclass(frozen=True)
class Example:
    """A text to ask for, and the probabilities that the version gave it when it was examined, if known."""

    instance: dict[str, str]
    expected: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Answer:
    """One answer: who gave it, what it says, and how long it took."""

    who: str
    prediction: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class SmokeSettings:
    """How a version is tested.

    Attributes:
        answers: Answers of the new version that are needed.
        tolerance: Largest difference of a probability from the one that was examined.
        max_error_rate: Largest share of requests that fail, whoever they went to.
        max_latency_seconds: Largest 95th percentile of the new version's answering times.
        bake_seconds: Time that the version stays at its first share after the test, and is asked on.
        timeout_seconds: Longest time for getting the answers.
    """

    answers: int = 20
    tolerance: float = 0.01
    max_error_rate: float = 0.05
    max_latency_seconds: float = 2.0
    bake_seconds: float = 0.0
    timeout_seconds: float = 600.0


def smoke_test(
    ask: Callable[[dict[str, str]], Answer],
    new: str,
    examples: Sequence[Example],
    labels: Sequence[str],
    settings: SmokeSettings,
    alive: Callable[[], None] = lambda: None,
) -> str:
    """Ask until the version `new` has answered often enough.

    Args:
        ask: Sends one instance. Raises TransientError or UserError where no answer came.
        new: Who must answer well.
        examples: What to ask, over and over.
        labels: The labels in the order of the probabilities.
        settings: The bounds.
        alive: Called before each request; raises to stop.

    Returns:
        One sentence with what was seen.

    Raises:
        RolloutError: It answers wrongly, too slowly, or with too many errors, or not at all.
    """
    if not examples:
        raise UserError("There is no text to test the version with: give a test split that is not empty.")
    times: list[float] = []
    started, asked, errors = time.monotonic(), 0, 0
    while True:
        alive()
        passed = time.monotonic() - started
        if len(times) >= settings.answers and passed >= settings.bake_seconds:
            break
        if passed > settings.timeout_seconds + settings.bake_seconds:
            raise RolloutError(f"only {len(times)} of {settings.answers} answers came in {passed:.0f} s")
        example = examples[asked % len(examples)]
        asked += 1
        try:
            answer = ask(example.instance)
        except (TransientError, UserError) as error:
            errors += 1
            if errors > max(1, settings.max_error_rate * max(asked, settings.answers)):
                raise RolloutError(f"{errors} of {asked} requests failed, the last with: {error}") from error
            continue
        if answer.who == new:
            times.append(answer.seconds)
            _compare(answer.prediction, example, labels, settings.tolerance)
    slow = sorted(times)[math.ceil(0.95 * len(times)) - 1]
    if slow > settings.max_latency_seconds:
        limit = settings.max_latency_seconds
        raise RolloutError(f"it takes {slow:.2f} s to answer (95th percentile): {limit:g} s are allowed")
    return f"{len(times)} of {asked} answers were its own, all right, within {1000 * slow:.0f} ms (p95)"


def _compare(prediction: dict[str, Any], example: Example, labels: Sequence[str], tolerance: float) -> None:
    text = str(example.instance.get("text"))[:60]
    got = prediction.get("probabilities") if isinstance(prediction, dict) else None
    if not isinstance(got, list) or len(got) != len(labels) or not all(map(_is_share, got)):
        raise RolloutError(f"its answer to {text!r} lacks probabilities: {str(prediction)[:200]}")
    if prediction.get("label") not in labels:
        raise RolloutError(f"its answer to {text!r} has the unknown label {prediction.get('label')!r}")
    if example.expected is None:
        return
    worst = max(abs(one - other) for one, other in zip(got, example.expected, strict=True))
    if worst > tolerance:
        raise RolloutError(
            f"its answer to {text!r} differs by {worst:.4f} from the one that was examined ({tolerance:g} is allowed)"
        )
    best = labels[max(range(len(labels)), key=example.expected.__getitem__)]
    rest = sorted(example.expected)
    if prediction["label"] != best and rest[-1] - rest[-2] > 2 * tolerance:
        raise RolloutError(f"it calls {text!r} {prediction['label']!r}, and {best!r} when it was examined")


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and -1e-6 <= value <= 1 + 1e-6
