"""Where a run stands: all that it needs to go on, apart from the weights and the optimizer's variables."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kfp_bert_components.training.metrics import is_better


@dataclass
class Best:
    """The best weights so far, over all trials.

    Attributes:
        trial: Number of the trial (seed) that they are from.
        step: Step of that trial.
        value: The metric that the run is steered by.
        weights: Values of the model's variables.
    """

    trial: int
    step: int
    value: float
    weights: list[np.ndarray]


@dataclass
class RunState:
    """Progress of a run over its trials: one for each seed.

    Attributes:
        trial: The trial that runs now.
        step: Steps that it has done.
        curve: One row for each step done: trial, step, loss, learning rate, gradient norm.
        evaluations: One for each time the validation rows were scored: trial, step, and the metrics.
        outcomes: How each trial that is over ended: "finished", "no better" or "hopeless".
        best: The best weights so far.
        examples: Rows trained on, over all trials.
        seconds: Time spent training.
    """

    trial: int = 0
    step: int = 0
    curve: list[tuple[float, ...]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    best: Best | None = None
    examples: int = 0
    seconds: float = 0.0

    def values(self, metric: str, trial: int) -> list[float]:
        """The metric at each evaluation of a trial."""
        return [e["metrics"].get(metric, float("nan")) for e in self.evaluations if e["trial"] == trial]

    def since_best(self, metric: str) -> int:
        """Evaluations of this trial since its best one."""
        best, at = None, -1
        values = self.values(metric, self.trial)
        for number, value in enumerate(values):
            if is_better(metric, value, best):
                best, at = value, number
        return len(values) - 1 - at

    def hopeless(self, metric: str) -> bool:
        """Whether this trial's best is below the median of the best that earlier ones had at this evaluation.

        Bad seeds show themselves early (Dodge et al. 2020); the rule is the median stopping rule of Golovin
        et al. 2017 (Google Vizier).
        """
        count = len(self.values(metric, self.trial))
        before = []
        for trial in range(self.trial):
            values = self.values(metric, trial)
            if len(values) >= count:
                before.append(_best(metric, values[:count]))
        if not before:
            return False
        mine = _best(metric, self.values(metric, self.trial))
        return is_better(metric, float(np.median(before)), mine)


def _best(metric: str, values: list[float]) -> float:
    there = [value for value in values if value == value]
    if not there:
        return float("inf") if metric == "loss" else float("-inf")
    return min(there) if metric == "loss" else max(there)
