"""The studentised difference of two models on the same rows, and what it looks like when they are exchangeable.

The statistic is (difference - delta) / standard error, the latter by the infinitesimal jackknife. Its reference is
its distribution when the two predictions of each cluster of rows are swapped at random: exact when the models are
exchangeable, and right for large test sets also when they are not (Janssen 1997, Statistics & Probability
Letters 36; Chung and Romano 2013, Annals of Statistics 41); where a difference other than 0 is tested, see `tilt`.
Test and interval use the same critical value, so that they agree for every delta.
"""

from dataclasses import dataclass

import numpy as np

EPSILON = 1e-9
# Place of the tenth largest draw, counted from the end: the last value is the observed arrangement.
_TAIL = 11


@dataclass(frozen=True)
class Pivot:
    """A difference, its standard error and the reference distribution of its studentised value.

    Attributes:
        value: Candidate minus champion, positive where the candidate is better.
        error: Standard error of `value`; 0 when the two never differ.
        values: Studentised values under swaps (or of drawn rows, see `tilt`), ascending, [draws].
        weights: Probability of each of `values`, [draws]; they add up to 1.
        rows: Rows of the test set.
        step: Change of the metric when one cluster changes sides, times the number of rows.
        slope: Change of the squared error per unit of difference, along the least favourable family.
        least: Probability of a single arrangement of the swaps, where only some were drawn or the error is 0; else 0,
            as `values` has all.
        spread: How many times `error` is the standard error that is likely for other texts, see `Clusters.spread`;
            infinite where the clusters are too few to tell.
        most: The largest difference that the metric can have; no end of an interval is beyond it.
    """

    value: float
    error: float
    values: np.ndarray
    weights: np.ndarray
    rows: int
    step: float = 1.0
    slope: float = 0.0
    least: float = 0.0
    spread: float = 1.0
    most: float = float("inf")

    def p_value(self, delta: float = 0.0) -> float:
        """One-sided probability of at least this studentised value if the true difference were `delta`."""
        if self.error == 0:
            # All clusters differ alike: only one arrangement of the swaps is as good.
            return 1.0 if self.value <= delta else self.least
        found = (self.value - delta) / self.error
        if self._open and found > self.values[-2] + EPSILON:
            return self._beyond(found)
        # Of a whole reference no p-value is below the probability of its last value.
        found = min(found, self.values[-1])
        # Shrunk by less than rounding, so that 50 of 1000 equal weights are 0.05 and not a hair more.
        return float(min(1.0, self.weights[np.searchsorted(self.values, found - EPSILON) :].sum()) * (1 - 1e-12))

    def critical(self, alpha: float) -> float:
        """The studentised value above which `p_value` is at most `alpha`; inf if it never is."""
        last = self.weights[np.searchsorted(self.values, self.values[-1] - EPSILON) :].sum()
        if last > alpha * (1 + EPSILON):
            return self._critical_beyond(alpha) if self._open else float("inf")
        tail = np.cumsum(self.weights[::-1])[::-1]
        kept = max(int(np.searchsorted(-tail, -alpha * (1 + EPSILON))) - 1, 0)
        # Equal values count together: those that rounding keeps apart belong to the last one that is kept.
        while kept + 1 < len(tail) and self.values[kept + 1] - self.values[kept] < EPSILON:
            kept += 1
        return float(self.values[kept]) + EPSILON

    def interval(self, alpha: float) -> tuple[float, float]:
        """All differences that the test rejects on neither side at the one-sided level `alpha`.

        It agrees with the test. Where few rows differ it is wider than its name says, as an exact test is strict.
        """
        if self.value != 0 and self.least > alpha:  # no arrangement is that rare
            return -np.inf, np.inf
        return self._possible(*self._around(self.critical(alpha)))

    def estimate(self, confidence: float = 0.95) -> tuple[float, float]:
        """A two-sided interval with coverage close to `confidence`, by the mid-distribution of the swaps.

        Half of the probability of a value counts as its tail (mid-p: Fagerland, Lydersen and Laake 2013, BMC Medical
        Research Methodology 13). So the interval is not wider than it says, as that of an exact test is. As in score
        intervals (Tango 1998, Statistics in Medicine 17), an end uses the standard error of a model with the
        difference there, along the least favourable family (Efron 1987, JASA 82), where that error is larger.
        """
        wanted = (1 - confidence) / 2
        alike = self.error == 0 and self.value != 0 and self.least > wanted
        if alike or not np.isfinite(self.spread):
            return -np.inf, np.inf
        tail = np.cumsum(self.weights[::-1])[::-1] - self.weights / 2
        unique, first = np.unique(np.round(self.values, 9), return_index=True)
        last = np.append(first[1:], len(self.values)) - 1
        tail = (tail[first] + self.weights[first] / 2 + tail[last] - self.weights[last] / 2) / 2
        finite = np.isfinite(unique)
        critical = float(np.interp(-wanted, -tail[finite], unique[finite])) if finite.any() else 0.0
        if not finite.any() or tail[finite][-1] > wanted:  # so few rows differ that no swap is that rare
            from scipy.stats import norm

            critical = max(critical, float(norm.isf(wanted)))
        critical *= self.spread
        low, high = self._around(critical)
        lean = critical**2 * self.slope / 2
        reach = float(np.hypot(lean, critical * self.error))
        return self._possible(min(low, self.value + lean - reach), max(high, self.value + lean + reach))

    def resolvable(self, alpha: float, power: float = 0.8) -> float:
        """Smallest true difference that a test at the level `alpha` shows with the probability `power`.

        A better candidate differs from the champion in more rows than an equal one, so the variance grows with
        the difference (Connor 1987, Biometrics 43, for McNemar's test).
        """
        from scipy.stats import norm

        critical = self.critical(alpha)
        if not np.isfinite(critical):
            critical = float(norm.isf(alpha))
        beta = float(norm.isf(1 - power))
        found = max((critical + beta) * self.error, 1.0 / self.rows * self.step)
        for _ in range(50):
            error = np.sqrt(self.error**2 + found * self.step / self.rows)
            found = (critical + beta) * error
        return float(found)

    @property
    def _open(self) -> bool:
        """Whether the last of `values` stands for the observed arrangement, so that the tail beyond is not known."""
        return self.least > 0 and self.error > 0

    def _beyond(self, found: float) -> float:
        """The p-value beyond the last draw: from the tail of the normal distribution, which is the limit.

        The tail starts at the tenth largest draw, because the largest one alone is too variable (Knijnenburg et al.
        2009, Bioinformatics 25, on p-values below one over the number of draws).
        """
        from scipy.stats import norm

        start, share = self._tail()
        tail = share * float(np.exp(norm.logsf(found) - norm.logsf(start)))
        return max(min(tail, float(self.weights[-1])), self.least)

    def _critical_beyond(self, alpha: float) -> float:
        from scipy.stats import norm

        if self.least > alpha:
            return float("inf")
        start, share = self._tail()
        return max(float(norm.isf(alpha / share * norm.sf(start))), self.values[-2]) + EPSILON

    def _tail(self) -> tuple[float, float]:
        """Where the tail starts, and the probability beyond it."""
        start = self.values[-min(_TAIL, len(self.values) // 2)]
        return start, float(self.weights[np.searchsorted(self.values, start - EPSILON) :].sum())

    def _possible(self, low: float, high: float) -> tuple[float, float]:
        """The ends as far as the metric can go; open ends (infinite) stay open."""
        if not np.isfinite(low):
            return low, high
        return max(low, -self.most), min(high, self.most)

    def _around(self, critical: float) -> tuple[float, float]:
        if self.error == 0:
            return self.value, self.value
        return self.value - critical * self.error, self.value + critical * self.error
