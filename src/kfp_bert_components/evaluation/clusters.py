"""Clusters of rows: rows that are evidence only together, such as copies of a text or the lines of one film.

A metric weighs rows. How sure it is depends on clusters: its squared standard error is the sum over the clusters of the
squared sum of their rows' influences (Cameron, Gelbach and Miller 2008, Review of Economics and Statistics 90). The
population is one of clusters: the same test set drawn anew has other texts, or other films.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kfp_bert_components.evaluation.count_intervals import NORMAL

# Fewer effective clusters hold a candidate back; see docs/gate.md for the simulations.
FEWEST = 10
# One cluster does not show how much clusters differ, and neither do several of which one has most of the rows.
FEWEST_FOR_A_SPREAD = 1.999  # 2, less rounding


@dataclass(frozen=True)
class Clusters:
    """Which rows belong together.

    Attributes:
        numbers: For each row the number of its cluster, from 0 without gaps, int [rows].
        copies: Whether the rows of a cluster are copies of a text, so that a model gives all of them the same answer.
    """

    numbers: np.ndarray
    copies: bool = True

    @cached_property
    def count(self) -> int:
        """How many clusters there are."""
        return int(self.numbers.max()) + 1 if len(self.numbers) else 0

    @property
    def single(self) -> bool:
        """Whether every cluster is one row."""
        return self.count == len(self.numbers)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of `values` [rows] or [rows, columns] over the rows of each cluster, in rows of the result."""
        if self.single:
            return values
        columns = [np.bincount(self.numbers, column, self.count) for column in np.atleast_2d(values.T)]
        return np.stack(columns, 1) if values.ndim > 1 else columns[0]

    def of(self, rows: np.ndarray) -> "Clusters":
        """The clusters of some of the rows, in this order; numbered as they come."""
        _, first, numbers = np.unique(self.numbers[rows], return_index=True, return_inverse=True)
        places = np.empty(len(first), np.int64)
        places[np.argsort(first)] = np.arange(len(first))
        return Clusters(places[numbers], self.copies)

    def effective(self, weights: np.ndarray) -> float:
        """How many clusters of equal weight would be as good (Kish 1965, Survey Sampling), by `weights` [rows]."""
        squares = float((self.sums(weights.astype(np.float64)) ** 2).sum())
        return float(weights.sum()) ** 2 / squares if squares else 0.0

    def by_part(self, parts: np.ndarray, many: int) -> np.ndarray:
        """`effective` of the rows of each part, [many]; `parts` says which part each row is in, int [rows]."""
        _, where, sizes = self._within(parts, many)
        squares = np.bincount(where, sizes.astype(np.float64) ** 2, many)
        return np.divide(np.bincount(parts, minlength=many) ** 2, squares, out=np.zeros(many), where=squares > 0)

    def design_effect(self, influences: np.ndarray, parts: np.ndarray) -> float:
        """How many times larger than that of independent rows the variance of a metric is, at least 1.

        Few clusters make most of a variance that texts of very unequal weight have, so the observed one is mostly too
        small and sometimes far too large. Copies get the same answer, so what it is on average is known: the variance
        of a row of its class times the square of the number of copies. The mean of both is taken.

        Groups have an answer for each row, so the observed variance is all there is. It is as uncertain as it has
        clusters, and counts for more as Student's distribution says (Korn and Graubard 1998, Survey Methodology 24).

        Args:
            influences: Of each row on the metric, [rows].
            parts: Parts of the test set with variances of their own, such as classes, int [rows].
        """
        if self.single:
            return 1.0
        squares = influences**2
        if not squares.sum():  # no row speaks against any other: nothing is known but that copies answer alike
            return len(influences) / self.effective(np.ones(len(influences)))
        seen = float((self.sums(influences) ** 2).sum() / squares.sum())
        if not self.copies:
            return max(seen * float(student(self.effective(np.ones(len(influences))))), 1.0)
        _, where, sizes = self._within(parts, int(parts.max()) + 1)
        total = np.bincount(parts, squares)
        alike = np.bincount(where, sizes.astype(np.float64) ** 2, len(total)) / np.maximum(np.bincount(parts), 1)
        return max((seen + float((total * alike).sum() / total.sum())) / 2, 1.0)

    def spread(self, influences: np.ndarray, parts: np.ndarray) -> float:
        """How many times the standard error by `design_effect` is the one that the clusters alone show, for copies."""
        seen, rows = float((self.sums(influences) ** 2).sum()), float((influences**2).sum())
        if self.single or not self.copies or not seen:
            return 1.0
        return float(np.sqrt(self.design_effect(influences, parts) * rows / seen))

    def error(self, influences: np.ndarray, parts: np.ndarray) -> float:
        """Standard error of a metric from the influences of the rows, see `design_effect`."""
        return float(np.sqrt((influences**2).sum() * self.design_effect(influences, parts))) / len(influences)

    def share_effects(self, rows: np.ndarray, parts: np.ndarray, hits: np.ndarray, many: int) -> np.ndarray:
        """`design_effect` of a share in each part, [many].

        Args:
            rows: The rows, int [members]; a row may be in several parts.
            parts: The part of each of them.
            hits: Which of them count, bool [members].
            many: How many parts there are.
        """
        if self.single:
            return np.ones(many)
        codes, places, sizes = np.unique(self.numbers[rows] * many + parts, return_inverse=True, return_counts=True)
        where, found = codes % many, np.bincount(places, hits, len(codes))
        total, right = np.bincount(where, sizes, many), np.bincount(where, found, many)
        share = np.divide(right, total, out=np.zeros(many), where=total > 0)
        spread = total * share * (1 - share)
        alike = np.divide(np.bincount(where, sizes.astype(float) ** 2, many), total, out=np.ones(many), where=total > 0)
        seen = np.bincount(where, (found - share[where] * sizes) ** 2, many)
        seen = np.divide(seen, spread, out=alike.copy(), where=spread > 0)
        if self.copies:
            return np.maximum((seen + alike) / 2, 1)
        effective = np.divide(total, alike, out=np.full(many, np.inf), where=alike > 0)
        known = np.maximum(np.where(spread > 0, seen * student(effective), alike), 1)
        return np.where(effective < FEWEST_FOR_A_SPREAD, np.inf, known)

    def _within(self, parts: np.ndarray, many: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each pair of a cluster and a part that has rows: cluster, part and rows."""
        codes, sizes = np.unique(self.numbers * many + parts, return_counts=True)
        return codes // many, codes % many, sizes


def student(effective: np.ndarray | float) -> np.ndarray:
    """The square of Student's over the normal quantile, for as many effective clusters."""
    from scipy.stats import t

    return (t.isf(0.025, np.maximum(np.asarray(effective) - 1, 1.0)) / NORMAL) ** 2


def row_weights(metric: str, truth: np.ndarray, label: int = -1) -> np.ndarray:
    """What each row weighs in a metric, [rows]: averages over classes give every class the same weight.

    Args:
        metric: Its name.
        truth: Numbers of the true classes, int [rows].
        label: For a metric of one class, its number.
    """
    kind, _, single = metric.partition(":")
    if single:
        return (truth == label).astype(np.float64)
    if kind.startswith("macro_") or kind in ("mcc", "roc_auc", "pr_auc"):
        return 1 / np.bincount(truth)[truth]
    return np.ones(len(truth))


def independent(rows: int) -> Clusters:
    """Every row for itself."""
    return Clusters(np.arange(rows))
