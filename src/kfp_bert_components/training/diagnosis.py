"""Why a loss became infinite or no number."""

import math

import numpy as np

from kfp_bert_components.errors import UserError
from kfp_bert_components.training.settings import TrainingSettings


def check_finite(curve: list[tuple[float, ...]], settings: TrainingSettings) -> None:
    """Stop a run whose last step had a loss or gradient that is not finite.

    Args:
        curve: Rows of trial, step, loss, learning rate and gradient norm; the last one is checked.
        settings: The run's settings.

    Raises:
        UserError: With the step, what was not finite, and the likely cause.
    """
    _, number, loss, _, norm = curve[-1]
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = f"loss is {loss}" if not math.isfinite(loss) else f"loss is {loss:.3g} but the gradient is {norm}"
    raise UserError(
        f"Training stopped at step {number:.0f} because the {what}; the likely cause is "
        f"{_likely_cause(curve, settings)}."
    )


def _likely_cause(curve: list[tuple[float, ...]], settings: TrainingSettings) -> str:
    before = np.array([row for row in curve[:-1] if row[0] == curve[-1][0]]).reshape(-1, 5)
    rate = f"learning_rate {settings.learning_rate:g}"
    if not len(before):
        if settings.base_model:
            overflow = f"whose weights are not finite or overflow in {settings.precision}"
            return f"base_model {settings.base_model!r}, {overflow}"
        return f"{rate}, which is too high for these settings, or precision {settings.precision}"
    losses, norms = before[:, 2], before[:, 4]
    if settings.learning_rate > 1e-3 or losses[-1] > 2 * losses.min() + 0.5 or norms[-1] > 20 * np.median(norms):
        clip = "" if settings.max_gradient_norm else " and max_gradient_norm 1"
        return (
            f"{rate}, which is too high: the loss rose from {losses.min():.3g} to {losses[-1]:.3g} and "
            f"the norm of the gradient from {np.median(norms):.3g} to {norms[-1]:.3g}; "
            f"try {settings.learning_rate / 5:g}{clip}"
        )
    return f"a step that was too long: try {rate.split()[0]} {settings.learning_rate / 5:g} and a longer warmup"
