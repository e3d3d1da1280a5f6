"""What must be shown before a model is promoted."""

from dataclasses import dataclass

from kfp_bert_components.errors import UserError

METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log loss"}


@dataclass(frozen=True)
class Policy:
    """The rules of the gate.

    Attributes:
        primary_metric: accuracy, macro_f1 or log_loss (for which lower is better).
        min_improvement: Improvement of the primary metric that must be shown, in its own unit.
        alpha: Probability of promoting a model that is no better, 0 to 0.5.

    Raises:
        UserError: A value is out of range.
    """

    primary_metric: str = "macro_f1"
    min_improvement: float = 0.0
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if self.primary_metric not in METRICS:
            raise UserError(f"primary_metric must be one of {', '.join(METRICS)}, not {self.primary_metric!r}.")
        if not 0 < self.alpha < 0.5:
            raise UserError(f"alpha must be between 0 and 0.5, not {self.alpha}.")
        if not 0 <= self.min_improvement < 1:
            raise UserError(f"min_improvement must be from 0 to below 1, not {self.min_improvement}.")
