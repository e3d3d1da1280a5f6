"""The studentised difference under random swaps: of the cells of the confusion matrices, or of rows."""

from functools import lru_cache

import numpy as np

from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, CountMetric
from kfp_bert_components.gate.pivot import EPSILON, Pivot
from kfp_bert_components.gate.tables import Side, gains_of, mirror_of, ratio, studentise, with_mirrors
from kfp_bert_components.gate.tilt import tilted_draws

PERMUTATIONS = 9_999
# Swaps of rows that are drawn one by one; larger test sets swap random groups of rows together, which is exact too.
GROUPS = 4_096
_CELLS_AT_ONCE = 2_000_000
_NUDGE = 1e-3


def pivot_of_counts(
    metric: CountMetric,
    cells: np.ndarray,
    sizes: np.ndarray,
    present: np.ndarray,
    draws: int = PERMUTATIONS,
    seed: int = 0,
    delta: float = 0.0,
) -> Pivot:
    """Compare on a metric of the confusion matrix.

    Rows with the same (truth, candidate, champion) are one cell: a random swap is a binomial draw a cell.

    Args:
        metric: The metric.
        cells: Class numbers, int [3, cells]: truth, candidate's and champion's prediction.
        sizes: Rows in each cell, [cells].
        present: Classes to average over, bool [classes].
        draws: Random swaps; 0 takes the normal distribution instead, for large test sets.
        seed: Seed of the draws.
        delta: The difference that will be tested; if it is not 0, what is drawn has that difference.
    """
    cells, sizes = with_mirrors(cells, sizes)
    one, two = Side(cells[0], cells[1], len(present)), Side(cells[0], cells[2], len(present))
    value, error = (float(part[0]) for part in studentise(metric, one, two, sizes[None], present))
    if error == 0:
        return Pivot(value, 0.0, np.zeros(1), np.ones(1), int(sizes.sum()))
    gains = gains_of(metric, one, two, sizes, present)
    step_of = _step(np.repeat(gains, sizes * (cells[1] != cells[2])))
    slope = _slope_of_counts(metric, one, two, sizes, present, gains)
    differ = int(sizes[cells[1] != cells[2]].sum())
    if draws == 0:
        return Pivot(value, error, *_normal(), int(sizes.sum()), step_of, slope, _least(sizes, differ))
    if delta:
        tilted = tilted_draws(metric, (one, two), sizes, cells[1] != cells[2], present, delta, draws, seed)
        if tilted is not None:
            # The observed arrangement counts as at least as good as itself.
            reference = _equal(np.sort(np.append(tilted, np.inf)))
            return Pivot(value, error, *reference, int(sizes.sum()), step_of, slope, _least(tilted, differ))
    rng = np.random.default_rng(seed)
    mirror = mirror_of(cells)
    pairs = np.flatnonzero(cells[1] < cells[2])
    found = []
    step = max(1, _CELLS_AT_ONCE // len(sizes))
    for start in range(0, draws, step):
        swapped = np.repeat(sizes[None], min(step, draws - start), 0)
        both = sizes[pairs] + sizes[mirror[pairs]]
        swapped[:, pairs] = rng.binomial(both, 0.5, (len(swapped), len(pairs)))
        swapped[:, mirror[pairs]] = both - swapped[:, pairs]
        values, errors = studentise(metric, one, two, swapped, present)
        found.append(ratio(values, errors))
    drawn = np.concatenate(found)
    return Pivot(value, error, *_symmetric(drawn), int(sizes.sum()), step_of, slope, _least(drawn, differ))


def pivot_of_accuracy(wins: int, losses: int, rows: int, delta: float = 0.0, draws: int = PERMUTATIONS) -> Pivot:
    """Compare on accuracy: the swaps have a binomial distribution, so nothing is drawn (exact McNemar test).

    Args:
        wins: Rows that only the candidate has right.
        losses: Rows that only the champion has right.
        rows: All rows.
        delta: The difference that will be tested; if it is not 0, tables that have it are drawn.
        draws: How many.
    """
    from scipy.stats import binom

    if delta and wins + losses:
        cells, sizes = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1]]), np.array([wins, losses, rows - wins - losses])
        return pivot_of_counts(COUNT_METRICS["accuracy"], cells, sizes, np.array([False, True]), draws, delta=delta)

    differ = wins + losses
    value = (wins - losses) / rows
    gains = (2 * np.arange(differ + 1) - differ) / rows
    errors = np.sqrt(np.maximum(differ / rows - gains**2, 0) / rows)
    error = float(np.sqrt(max(differ / rows - value**2, 0) / rows))
    if error == 0:
        return Pivot(value, 0.0, np.zeros(1), np.ones(1), rows)
    centred = np.array([1, -1, 0]) - value
    slope = _slope(centred, rows, np.array([wins, losses, rows - differ]))
    weights = binom.pmf(np.arange(differ + 1), differ, 0.5)
    return Pivot(value, error, ratio(gains, errors), weights, rows, slope=slope)


def pivot_of_rows(gains: np.ndarray, value: float, draws: int = PERMUTATIONS, seed: int = 0) -> Pivot:
    """Compare on a mean, or on a metric through the difference of the influences of each row.

    Where few rows differ all swaps are taken: then it is the exact permutation test.

    Args:
        gains: Difference a row, [rows], with mean `value` or 0 (influences).
        value: The difference of the metric.
        draws: Random swaps.
        seed: Seed of the draws.
    """
    rows = len(gains)
    gains = gains - gains.mean() + value
    squares = float((gains**2).sum())
    error = float(np.sqrt(max(squares / rows - value**2, 0) / rows))
    if error <= EPSILON * abs(value) or error == 0:
        return Pivot(value, 0.0, np.zeros(1), np.ones(1), rows)
    differ = gains[np.abs(gains) > EPSILON * np.abs(gains).max()]
    exact = 2 ** len(differ) <= draws
    sums = (_all_swap_sums(differ) if exact else swap_sums(gains[:, None], draws, seed)[:, 0]) / rows
    found = ratio(sums, np.sqrt(np.maximum(squares / rows - sums**2, 0) / rows))
    weighted = _equal(np.sort(found)) if exact else _symmetric(found)
    least = 0.0 if exact else _least(found, len(differ))
    return Pivot(value, error, *weighted, rows, _step(gains - value), _slope(gains - value, rows), least)


def swap_sums(gains: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    """Sums over the rows when each row's sign is random, [draws, columns] of gains [rows, columns]."""
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


def _all_swap_sums(gains: np.ndarray) -> np.ndarray:
    """Sums under each of the 2^rows choices of signs of gains [rows]."""
    choices = np.arange(2 ** len(gains))[:, None] >> np.arange(len(gains)) & 1
    return (2.0 * choices - 1.0) @ gains


def _step(gains: np.ndarray) -> float:
    """`Pivot.step`, from what each row adds to the difference."""
    total = np.abs(gains).sum()
    return float((gains**2).sum() / total) if total else 1.0


def _slope(centred: np.ndarray, rows: int, sizes: np.ndarray | float = 1.0) -> float:
    """Change of the squared error of a mean along the least favourable family, from gains with mean 0."""
    return float((centred**3 * sizes).sum() / (centred**2 * sizes).sum() / rows)


def _slope_of_counts(
    metric: CountMetric, one: Side, two: Side, sizes: np.ndarray, present: np.ndarray, gains: np.ndarray
) -> float:
    """`_slope` of a metric of the confusion matrix, by a small step along the least favourable family."""
    nudge = _NUDGE * gains / np.abs(gains).max()
    values, errors = studentise(metric, one, two, sizes * np.stack([1 - nudge, 1 + nudge]), present)
    change = values[1] - values[0]
    return float((errors[1] ** 2 - errors[0] ** 2) / change) if change else 0.0


def _symmetric(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted values with their mirror images (a swap of all rows is a swap too) and equal weights.

    The observed arrangement is one of the swaps and counts as at least as good as itself, wherever that is: so no
    p-value is 0 (Phipson and Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9).
    """
    return _equal(np.sort(np.concatenate([found, -found, [np.inf, -np.inf]])))


def _least(found: np.ndarray, differ: int) -> float:
    """`Pivot.least`, where `differ` rows differ; 0 if a draw is infinite, which happens only if few rows differ."""
    return float(0.5 ** min(differ, 1000)) if np.isfinite(found).all() else 0.0


def _equal(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values with equal weights."""
    return values, np.full(len(values), 1 / len(values))


@lru_cache(maxsize=1)
def _normal() -> tuple[np.ndarray, np.ndarray]:
    """The normal distribution as 20,000 values with equal weights."""
    from scipy.stats import norm

    return _symmetric(norm.isf((np.arange(10_000) + 0.5) / 20_000))
