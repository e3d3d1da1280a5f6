"""Intervals of metrics of the confusion matrix: Wilson's score interval, also where a metric is no share of rows.

An end of a score interval is a value that lies 1.96 standard errors from the observed one. The standard error is not
that of the observed model, but of a model that has the end's value (Wilson 1927, JASA 22). So a model without a mistake
has an interval too. Many models have that value; the one along the least favourable family is taken: every cell of the
matrix is weighted by the exponential of what one more row in it would add to the metric (Efron 1987, JASA 82; DiCiccio
and Romano 1990, International Statistical Review 58). For accuracy this gives Wilson's interval itself.
"""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, CountMetric, Margins, by_class, divide

NORMAL = 1.959964
_MOST_STEPS = 48
# One row in a billion spreads a metric by more than this; what is less was left by rounding.
_NO_SPREAD = 1e-9

Interval = tuple[float, float]
# By name of a metric, how many rows are as good as one independent row; of metrics of single classes [classes].
Effects = Mapping[str, float | np.ndarray]


def count_intervals(counts: np.ndarray, effects: Effects | None = None) -> dict[str, Interval]:
    """95 % intervals of the metrics over all classes.

    Args:
        counts: Counts of (true, predicted), int [classes, classes].
        effects: Design effects; 1 where a metric is not named. The interval is that of so many times fewer rows (Korn
            and Graubard 1998, Survey Methodology 24).

    Returns:
        By name of the metric: low, high.
    """
    known = effects or {}
    found = {name: _score_interval(metric, counts / known.get(name, 1.0)) for name, metric in COUNT_METRICS.items()}
    for name, (least, most) in _farthest(Margins.of(counts), known).items():
        low, high = found[name]
        found[name] = max(low, least), min(high, most)
    return found


def class_intervals(counts: Margins, effects: Effects | None = None) -> dict[str, np.ndarray]:
    """95 % intervals of precision, recall and F1 of every class, by their names; [2, classes] each.

    Precision and recall are shares of rows. So is F1 / (2 - F1), Jaccard's index: of the rows that belong to the
    class or are predicted to, the share for which both hold. Brown, Cai and DasGupta 2001 (Statistical Science 16)
    recommend Wilson's interval for a share. The precision of a class that is never predicted is a share of no rows,
    and its interval is 0 to 1.

    Args:
        counts: Rows of each class.
        effects: Design effects; 1 where a metric is not named.
    """
    right, true, predicted = counts
    rows = {"precision": predicted, "recall": true, "f1": true + predicted - right}
    found = {}
    for kind, below in rows.items():
        effect = (effects or {}).get(kind, np.ones(len(true)))
        found[kind] = wilson(right / effect, below / effect)
    return found | {"f1": 2 * found["f1"] / (1 + found["f1"])}


def wilson(hits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Wilson's 95 % interval of the share `hits` / `rows`, [2, shares]; 0 to 1 where there are no rows."""
    from scipy.stats import norm

    some = rows > 0
    found = np.stack([np.zeros(len(rows)), np.ones(len(rows))])
    share, count, normal = hits[some] / rows[some], rows[some], norm.isf(0.025)
    shrunk = 1 + normal**2 / count
    centre = (share + normal**2 / (2 * count)) / shrunk
    reach = normal * np.sqrt(share * (1 - share) / count + normal**2 / (4 * count**2)) / shrunk
    found[:, some] = np.clip([centre - reach, centre + reach], 0, 1)
    return found


def _farthest(counts: Margins, effects: Effects) -> dict[str, Interval]:
    """How far the ends of the averages over classes may lie, by name: where every class is at its own end.

    A family of `_score_interval` need not have a member at the wanted distance: one row more can change the precision
    of a class that is never predicted from 0 to 1. Weighted averages move with the shares of the classes too.
    """
    true, found = counts.true, {}
    even, shares = (true > 0) / max((true > 0).sum(), 1), true / true.sum()
    for kind, ends in class_intervals(counts, effects).items():
        low, high = ends @ even
        found[f"macro_{kind}"] = float(low), float(high)
        values, (low, high) = by_class(counts, kind), ends @ shares
        rows = true.sum() / effects.get(f"weighted_{kind}", 1.0)
        moved = NORMAL * np.sqrt(shares @ (values - values @ shares) ** 2 / rows)
        found[f"weighted_{kind}"] = float(low - moved), float(high + moved)
    return found


def _score_interval(metric: CountMetric, counts: np.ndarray) -> Interval:
    """The interval of one metric, from counts [classes, classes]."""
    present, rows = counts.sum(1) > 0, counts.sum()
    value = float(metric.value(Margins.of(counts), present))
    base = counts + _unseen(present)
    centre, slopes = metric.both(Margins.of(base), present)
    spread = np.sqrt((slopes.matrix() ** 2 * base).sum() / base.sum())
    if spread < _NO_SPREAD:
        return min(value, float(centre)), max(value, float(centre))
    # In steps that should be a quarter of the way to an end.
    step = 0.25 * NORMAL / np.sqrt(rows) / spread * slopes.matrix()

    @cache
    def at(steps: float) -> tuple[float, float]:
        """The metric and its standard error in a member of the family."""
        matrix = rows * _tilted(base, steps * step, metric.estimates_shares)
        found, slopes = metric.both(Margins.of(matrix), present)
        return float(found), float(np.sqrt((slopes.matrix() ** 2 * matrix).sum()) / rows)

    return min(value, _end(at, value, -1)), max(value, _end(at, value, 1))


def _unseen(present: np.ndarray) -> np.ndarray:
    """One row, spread over all cells: mistakes that were not seen can happen too."""
    classes = len(present)
    found = np.full((classes, classes), 0.5 / max(classes - 1, 1))
    np.fill_diagonal(found, 0.5)
    return found / classes * present[:, None]


def _tilted(base: np.ndarray, tilt: np.ndarray, move_shares: bool) -> np.ndarray:
    """Shares of the cells, weighted by the exponential of `tilt`; class shares stay unless `move_shares`."""
    if move_shares:
        weighted = base * np.exp(tilt - tilt.max())
        return weighted / weighted.sum()
    weighted = base * np.exp(tilt - tilt.max(1, keepdims=True))
    true = base.sum(1, keepdims=True)
    return weighted * divide(true, weighted.sum(1, keepdims=True)) / base.sum()


def _end(at: Callable[[float], tuple[float, float]], value: float, side: int) -> float:
    """Where along the family `value` lies 1.96 standard errors away; the last member if it is nearer everywhere."""
    from scipy.optimize import brentq

    def excess(steps: float) -> float:
        found, error = at(side * steps)
        return side * (found - value) - NORMAL * error

    beyond = next((steps for steps in range(1, _MOST_STEPS) if excess(steps) > 0), _MOST_STEPS)
    if excess(beyond - 1) < 0 < excess(beyond):
        return at(side * brentq(excess, beyond - 1, beyond))[0]
    return at(side * beyond)[0]
