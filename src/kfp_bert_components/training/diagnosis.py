"""Why a loss became infinite or NaN."""

import math

import numpy as np


class NotFiniteError(ArithmeticError):
    """The loss or the gradient of a step is infinite or NaN."""


def check_finite(curve: list[tuple[float, ...]]) -> None:
    """Check the newest step.

    Args:
        curve: Rows of trial, step, loss, learning rate and gradient norm.

    Raises:
        NotFiniteError: Loss or gradient norm of the last row is infinite or NaN.
    """
    _, _, loss, _, norm = curve[-1]
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise NotFiniteError


def explain(
    curve: list[tuple[float, ...]], *, base_model: str, precision: str, learning_rate: float, max_gradient_norm: float
) -> str:
    """One sentence: at which step a run became not finite, what, and the likely cause.

    Args:
        curve: As for `check_finite`, which raised an error.
        base_model: What the run started from; "" for a new network.
        precision: Type of the arithmetic.
        learning_rate: Highest rate of the schedule.
        max_gradient_norm: Limit of the gradient norm; 0 where there was none.
    """
    _, step, loss, _, norm = curve[-1]
    what = f"loss is {loss}" if not math.isfinite(loss) else f"loss is {loss:.3g} but the gradient is {norm}"
    before = np.array([row for row in curve[:-1] if row[0] == curve[-1][0]]).reshape(-1, 5)
    if not len(before):
        cause = _cause_at_first_step(base_model, precision, learning_rate)
    else:
        cause = _cause_at_later_step(before[:, 2], before[:, 4], learning_rate, max_gradient_norm)
    return f"Training stopped at step {step:.0f} because the {what}; the likely cause is {cause}."


def _cause_at_first_step(base_model: str, precision: str, learning_rate: float) -> str:
    if base_model:
        return f"base_model {base_model!r}, whose weights are not finite or overflow in {precision}"
    return f"learning_rate {learning_rate:g}, which is too high for these settings, or precision {precision}"


def _cause_at_later_step(losses: np.ndarray, norms: np.ndarray, rate: float, max_gradient_norm: float) -> str:
    """From the losses and gradient norms of the steps before."""
    if rate > 1e-3 or losses[-1] > 2 * losses.min() + 0.5 or norms[-1] > 20 * np.median(norms):
        clip = "" if max_gradient_norm else " and max_gradient_norm 1"
        return (
            f"learning_rate {rate:g}, which is too high: the loss rose from {losses.min():.3g} to {losses[-1]:.3g} and "
            f"the norm of the gradient from {np.median(norms):.3g} to {norms[-1]:.3g}; try {rate / 5:g}{clip}"
        )
    return f"a step that was too long: try learning_rate {rate / 5:g} and a longer warmup"
