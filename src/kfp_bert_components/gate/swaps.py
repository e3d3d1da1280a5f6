"""The studentised difference under random swaps of the two models' answers, for whole clusters of rows at once."""

from functools import lru_cache

import numpy as np

from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, CountMetric
from kfp_bert_components.gate.pivot import EPSILON, Pivot
from kfp_bert_components.gate.tables import Table, ratio, types_of
from kfp_bert_components.gate.tilt import NUMBERS_AT_ONCE, tilted_draws

PERMUTATIONS = 9_999
# Swaps of clusters that are drawn one by one; larger test sets swap random groups of them together, which is exact too.
GROUPS = 4_096
_NUDGE = 1e-3


def pivot_of_counts(
    metric: CountMetric, table: Table, draws: int = PERMUTATIONS, seed: int = 0, delta: float = 0.0
) -> Pivot:
    """Compare on a metric of the confusion matrix.

    Clusters that hold the same are one type: a random swap is a binomial draw a type.

    Args:
        metric: The metric.
        table: The clusters by type.
        draws: Random swaps; 0 takes the normal distribution instead, for large test sets.
        seed: Seed of the draws.
        delta: The difference that will be tested; if it is not 0, what is drawn has that difference.
    """
    counts, mirror, differ = table.counts, table.mirror, table.differ
    value, error = (float(part[0]) for part in table.studentise(metric, counts[None]))
    swapped, rows = int(counts[differ].sum()), table.rows
    if error == 0:
        return _certain(value, rows, int(counts.sum()))
    gains = table.gains(metric, counts)
    step_of, slope = _step(np.repeat(gains, counts * differ)), _slope_of_counts(metric, table, gains)
    if draws == 0:
        return Pivot(value, error, *_normal(), rows, step_of, slope, 0.5 ** min(swapped, 1000))
    if delta:
        tilted = tilted_draws(metric, table, delta, draws, seed)
        if tilted is not None:
            # The observed arrangement counts as at least as good as itself.
            reference = _equal(np.sort(np.append(tilted, np.inf)))
            return Pivot(value, error, *reference, rows, step_of, slope, _least(tilted, swapped))
    rng = np.random.default_rng(seed)
    pairs = np.flatnonzero(np.arange(len(mirror)) < mirror)
    found = []
    step = max(1, NUMBERS_AT_ONCE // table.width)
    for start in range(0, draws, step):
        drawn = np.repeat(counts[None], min(step, draws - start), 0)
        both = counts[pairs] + counts[mirror[pairs]]
        drawn[:, pairs] = rng.binomial(both, 0.5, (len(drawn), len(pairs)))
        drawn[:, mirror[pairs]] = both - drawn[:, pairs]
        found.append(ratio(*table.studentise(metric, drawn)))
    every = np.concatenate(found)
    return Pivot(value, error, *_symmetric(every), rows, step_of, slope, _least(every, swapped))


def pivot_of_accuracy(wins: int, losses: int, rows: int, delta: float = 0.0, draws: int = PERMUTATIONS) -> Pivot:
    """Compare on accuracy where every row is a cluster: nothing is drawn (exact McNemar test).

    Args:
        wins: Rows that only the candidate has right.
        losses: Rows that only the champion has right.
        rows: All rows.
        delta: The difference that will be tested; if it is not 0, tables that have it are drawn.
        draws: How many.
    """
    place = np.arange(rows)
    return pivot_of_flips(place < wins, (place >= wins) & (place < wins + losses), place, delta, draws)


def pivot_of_flips(
    won: np.ndarray, lost: np.ndarray, clusters: np.ndarray, delta: float = 0.0, draws: int = PERMUTATIONS
) -> Pivot:
    """Compare on accuracy.

    Args:
        won: Rows that only the candidate has right, bool [rows].
        lost: Rows that only the champion has right, bool [rows].
        clusters: Number of each row's cluster, int [rows].
        delta: The difference that will be tested; if it is not 0, clusters that have it are drawn.
        draws: How many.
    """
    if delta and (won | lost).any():
        cells, types, counts = types_of(np.ones(len(won), np.int64), 1 - lost, 1 - won, clusters)
        table = Table(cells, counts, np.array([False, True]), types)
        return pivot_of_counts(COUNT_METRICS["accuracy"], table, draws, delta=delta)
    gains = won.astype(np.float64) - lost
    sums, sizes = np.bincount(clusters, gains), np.bincount(clusters)
    return _pivot_of_sums(sums[sizes > 0], sizes[sizes > 0], float(gains.mean()), draws, step=_step(sums))


def pivot_of_rows(
    gains: np.ndarray, value: float, draws: int = PERMUTATIONS, seed: int = 0, clusters: np.ndarray | None = None
) -> Pivot:
    """Compare on a mean, or on a metric through the difference of the influences of each row.

    Where few clusters differ all swaps are taken: then it is the exact permutation test.

    Args:
        gains: Difference a row, [rows], with mean `value` or 0 (influences).
        value: The difference of the metric.
        draws: Random swaps.
        seed: Seed of the draws.
        clusters: Number of each row's cluster, int [rows]; None where every row is one.
    """
    gains = gains - gains.mean() + value
    if clusters is None:
        return _pivot_of_sums(gains, np.ones(len(gains)), value, draws, seed)
    sizes = np.bincount(clusters)
    return _pivot_of_sums(np.bincount(clusters, gains)[sizes > 0], sizes[sizes > 0], value, draws, seed)


def swap_sums(gains: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    """Sums when each row's sign is random, [draws, columns] of gains [rows, columns]."""
    rng = np.random.default_rng(seed)
    if len(gains) > GROUPS:
        order = rng.permutation(len(gains))
        cuts = np.linspace(0, len(gains), GROUPS, endpoint=False).astype(np.int64)
        gains = np.add.reduceat(gains[order], cuts, axis=0)
    found = []
    for start in range(0, draws, 1000):
        some = min(1000, draws - start)
        bits = np.frombuffer(rng.bytes(some * len(gains) // 8 + 1), np.uint8)
        swapped = np.unpackbits(bits, count=some * len(gains)).reshape(some, len(gains))
        found.append(gains.sum(0) - 2.0 * (swapped.astype(np.float64) @ gains))
    return np.concatenate(found)


def _pivot_of_sums(
    sums: np.ndarray, sizes: np.ndarray, value: float, draws: int, seed: int = 0, step: float | None = None
) -> Pivot:
    """Compare on a mean over rows, of which each cluster has the sum `sums` over its `sizes` rows, [clusters] each."""
    rows = int(sizes.sum())
    centred = sums - sizes * value
    error = float(np.sqrt((centred**2).sum())) / rows
    if error <= EPSILON * abs(value) or error == 0:
        return _certain(value, rows, len(sums))
    differ = np.abs(sums) > EPSILON * np.abs(sums).max()
    swapped, weights = _swapped(sums, sizes, differ, draws, seed)
    means = swapped[:, 0] / rows
    # The sum over the clusters of (sum - size * mean)^2, of which only the middle part changes with the signs alone.
    squares = (sums**2).sum() - 2 * means * swapped[:, 1] + means**2 * (sizes.astype(np.float64) ** 2).sum()
    found = ratio(means, np.sqrt(np.maximum(squares, 0)) / rows)
    least = 0.0
    if weights is None:
        reference, least = _symmetric(found), _least(found, int(differ.sum()))
    else:
        order = np.argsort(found, kind="stable")
        reference = found[order], weights[order]
    slope = _slope(centred, rows)
    return Pivot(value, error, *reference, rows, _step(centred) if step is None else step, slope, least)


def _swapped(
    sums: np.ndarray, sizes: np.ndarray, differ: np.ndarray, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Swaps of clusters: sums of s * sum and of s * sum * size over signs s, [swaps, 2], and their probabilities.

    The probabilities are None where swaps were drawn. If all clusters weigh the same, what counts is how many are
    swapped: the sign test, which for rows is McNemar's. All swaps are taken if they are fewer than `draws`.
    """
    from scipy.stats import binom

    both, some, many = np.stack([sums, sums * sizes], axis=1), np.abs(sums[differ]), int(differ.sum())
    if np.ptp(some) == 0 and np.ptp(sizes[differ]) == 0:
        plus = np.arange(many + 1)
        return (2 * plus - many)[:, None] * np.abs(both[differ][0]), binom.pmf(plus, many, 0.5)
    if 2**many <= draws:
        signs = 2.0 * (np.arange(2**many)[:, None] >> np.arange(many) & 1) - 1.0
        return signs @ both[differ], _equal(signs)[1]
    return swap_sums(both, draws, seed), None


def _certain(value: float, rows: int, clusters: int) -> Pivot:
    """What is left where all clusters differ alike: one of the 2^clusters arrangements is as good."""
    return Pivot(value, 0.0, np.zeros(1), np.ones(1), rows, least=0.5 ** min(clusters, 1000))


def _step(gains: np.ndarray) -> float:
    """`Pivot.step`, from what each cluster adds to the difference."""
    total = np.abs(gains).sum()
    return float((gains**2).sum() / total) if total else 1.0


def _slope(centred: np.ndarray, rows: int) -> float:
    """Change of the squared error of a mean along the least favourable family, from gains with mean 0."""
    return float((centred**3).sum() / (centred**2).sum() / rows)


def _slope_of_counts(metric: CountMetric, table: Table, gains: np.ndarray) -> float:
    """`_slope` of a metric of the confusion matrix, by a small step along the least favourable family."""
    nudge = _NUDGE * gains / np.abs(gains).max()
    values, errors = table.studentise(metric, table.counts * np.stack([1 - nudge, 1 + nudge]))
    change = values[1] - values[0]
    return float((errors[1] ** 2 - errors[0] ** 2) / change) if change else 0.0


def _symmetric(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted values with their mirror images (a swap of all rows is a swap too) and equal weights.

    The observed arrangement is one of the swaps and counts as at least as good as itself, wherever that is: so no
    p-value is 0 (Phipson and Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9).
    """
    return _equal(np.sort(np.concatenate([found, -found, [np.inf, -np.inf]])))


def _least(found: np.ndarray, differ: int) -> float:
    """`Pivot.least`, where `differ` clusters differ; 0 if a draw is infinite, which happens only if few differ."""
    return float(0.5 ** min(differ, 1000)) if np.isfinite(found).all() else 0.0


def _equal(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values with equal weights."""
    return values, np.full(len(values), 1 / len(values))


@lru_cache(maxsize=1)
def _normal() -> tuple[np.ndarray, np.ndarray]:
    """The normal distribution as 20,000 values with equal weights."""
    from scipy.stats import norm

    return _symmetric(norm.isf((np.arange(10_000) + 0.5) / 20_000))
