"""What answers the texts of a table."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Predictor:
    """A model, whatever its engine.

    Attributes:
        predict: From texts (and second texts, None for a model of single ones) to the probabilities of the classes,
            float32 [texts, classes]. Texts of similar length may share a call of the engine.
        labels: The classes, in the order of the probabilities.
        pair: Whether it takes two texts.
        fingerprint: Of the model: equal for equal models.
        version: The registry's version of it; 0 where it is of no registry.
        prepare: Called once, before `predict`, with all texts (and second texts) that will be asked, in pieces; for an
            engine that answers all at once. None where there is no need.
    """

    predict: Callable[[Sequence[str], Sequence[str] | None], "np.ndarray"]
    labels: list[str]
    pair: bool
    fingerprint: str
    version: int = 0
    prepare: Callable[[Iterator[tuple[list[str], list[str] | None]]], None] | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return f"version {self.version}" if self.version else f"the model {self.fingerprint[:16]}"
