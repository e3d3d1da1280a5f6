"""How many steps a trial has, the learning rate of each, and after which ones it is evaluated."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The steps of one trial.

    Attributes:
        rows: Number of training rows, at least 1.
        batch_size: Rows in a batch.
        accumulation_steps: Batches in one step of the optimizer.
        epochs: Passes over the training rows.
        evaluations_per_epoch: How often the validation rows are scored in an epoch.
        peak_rate: Highest learning rate.
        warmup: Share of the steps, 0 to 1, over which the rate rises.
    """

    rows: int
    batch_size: int
    accumulation_steps: int
    epochs: int
    evaluations_per_epoch: int
    peak_rate: float
    warmup: float

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in one pass over the training rows."""
        return math.ceil(math.ceil(self.rows / self.batch_size) / self.accumulation_steps)

    @property
    def steps(self) -> int:
        """Steps of the whole trial."""
        return self.steps_per_epoch * self.epochs

    def rate(self, step: int) -> float:
        """Learning rate of a step; steps are numbered from 0."""
        return learning_rate(step, self.steps, self.peak_rate, self.warmup)

    def is_evaluated_after(self, steps: int) -> bool:
        """Whether the validation rows are scored when so many steps are done."""
        within, times = (steps - 1) % self.steps_per_epoch + 1, self.evaluations_per_epoch
        return steps > 0 and any(within == round(self.steps_per_epoch * k / times) for k in range(1, times + 1))


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warmup from 0 to `peak`, then linear decay to 0, as in Devlin et al. 2019.

    Args:
        step: Number of the step, from 0.
        steps: Number of steps in the trial.
        peak: The highest rate.
        warmup: Share of the steps over which the rate rises.

    Returns:
        The rate of this step: the same that transformers' `get_linear_schedule_with_warmup` gives.
    """
    rising = int(steps * warmup + 0.5)
    if step < rising:
        return peak * step / rising
    return peak * max(0, steps - step) / max(1, steps - rising)
