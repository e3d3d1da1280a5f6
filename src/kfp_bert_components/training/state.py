"""How far a run has come: what it needs to go on, apart from the variables of network and optimizer."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kfp_bert_components.training.metrics import is_better


@dataclass
class Best:
    """The best weights so far, over all trials.

    Attributes:
        trial: Number of the trial (seed) that they are from.
        step: Steps that this trial had done.
        value: The metric that says which weights are best; NaN where it could not be measured.
        weights: Values of the network's variables.
    """

    trial: int
    step: int
    value: float
    weights: list[np.ndarray]


@dataclass
class RunState:
    """Progress of a run over its trials, one for each seed.

    Attributes:
        trial: Number of the current trial, from 0.
        step: Steps that it has done.
        curve: One row for each step done, over all trials: trial, step, loss, learning rate, gradient norm.
        evaluations: One dict for each time the validation rows were scored: trial, step, and metrics.
        outcomes: How each trial ended that is over: "finished", "no better" (no better metric for some time) or
            "hopeless" (below the median of the earlier trials).
        best: The best weights so far; None before the first evaluation.
        examples: Rows trained on, over all trials.
        seconds: Time spent training, over all trials.
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
        """The metric at each evaluation of a trial; NaN where it could not be measured."""
        return [e["metrics"].get(metric, math.nan) for e in self.evaluations if e["trial"] == trial]

    @property
    def evaluated(self) -> bool:
        """Whether the current trial was evaluated after its newest step."""
        last = self.evaluations[-1] if self.evaluations else {}
        return (last.get("trial"), last.get("step")) == (self.trial, self.step)

    def evaluations_since_best(self, metric: str) -> int:
        """Number of evaluations of the current trial after its best one."""
        best, at = None, -1
        values = self.values(metric, self.trial)
        for number, value in enumerate(values):
            if is_better(metric, value, best):
                best, at = value, number
        return len(values) - 1 - at

    def below_median(self, metric: str) -> bool:
        """Whether the current trial is worse than the median of the earlier trials after as many evaluations.

        Of each trial its best value so far is compared. This is the median stopping rule of Golovin et al. 2017
        (Google Vizier); it works because bad seeds can be told early (Dodge et al. 2020).
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

    def rates_to_best(self) -> list[float]:
        """The learning rate of each step that led to the best weights."""
        assert self.best is not None
        return [row[3] for row in self.curve if row[0] == self.best.trial and row[1] <= self.best.step]

    def metrics(self, steps_per_epoch: int, first_seed: int) -> dict[str, float]:
        """What `training.finetune` returns; metrics that are not finite are left out.

        Args:
            steps_per_epoch: Steps in one pass over the training rows.
            first_seed: Seed of the first trial.
        """
        best = self.best
        assert best is not None  # every trial ends with an evaluation
        kept = next(e for e in self.evaluations if (e["trial"], e["step"]) == (best.trial, best.step))
        last_epoch = [row[2] for row in self.curve if row[0] == self.curve[-1][0]][-steps_per_epoch:]
        metrics = {f"validation_{name}": value for name, value in kept["metrics"].items() if ":" not in name}
        metrics |= {
            "train_loss": sum(last_epoch) / len(last_epoch),
            "best_step": best.step,
            "best_seed": first_seed + best.trial,
            "steps": len(self.curve),
            "epochs_trained": len(self.curve) / steps_per_epoch,
            "seconds": self.seconds,
            "examples_per_second": self.examples / max(self.seconds, 1e-9),
        }
        return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _best(metric: str, values: list[float]) -> float:
    measured = [value for value in values if not math.isnan(value)]
    if metric == "loss":
        return min(measured, default=math.inf)
    return max(measured, default=-math.inf)
