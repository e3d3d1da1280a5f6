"""A use of a test set: how much of alpha a comparison may spend on it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Use:
    """One use of a test set.

    Attributes:
        number: 1 for the first use.
        alpha: What this use may spend.
        left: What is left for all later uses together.
        counted: Whether a registry counts the uses.
    """

    number: int
    alpha: float
    left: float
    counted: bool


def uncounted(alpha: float) -> Use:
    """A use that may spend all of alpha, where no registry counts."""
    return Use(1, alpha, alpha, False)
