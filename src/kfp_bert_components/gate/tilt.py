"""The reference distribution of the studentised difference when the true difference is not 0.

Swaps give it for a difference of 0 only. Here the observed clusters get weights under which the difference has the
value that is tested; of all such weights those closest to equal ones (exponential tilting). Then as many clusters are
drawn with these weights, so that the number of rows varies (Efron 1981, Canadian Journal of Statistics 9; Davison and
Hinkley 1997, Bootstrap Methods and Their Application, section 4.4).
"""

import numpy as np
from scipy.optimize import brentq

from kfp_bert_components.evaluation.count_metrics import CountMetric
from kfp_bert_components.gate.tables import Table, ratio

# Beyond this all weight lies on the clusters that gain most.
_MOST_TILT = 50.0
NUMBERS_AT_ONCE = 2_000_000


def tilted_draws(metric: CountMetric, table: Table, delta: float, draws: int, seed: int) -> np.ndarray | None:
    """Studentised values of (difference - delta) when the true difference is `delta`, [draws].

    Args:
        metric: A metric of the confusion matrix.
        table: The clusters by type.
        delta: The true difference.
        draws: How many.
        seed: Of the draws.

    Returns:
        None where no weights make such a difference.
    """
    # One cluster more, spread over all types that a swap changes, so that types that were not seen can be drawn too.
    base = table.counts + table.differ / table.differ.sum()
    gains = table.gains(metric, base)
    gains = gains / np.abs(gains).max()
    clusters = int(table.counts.sum())

    def shares(tilt: float) -> np.ndarray:
        weights = base * np.exp(tilt * gains)
        return weights / weights.sum()

    def excess(tilt: float) -> float:
        return float(table.studentise(metric, clusters * shares(tilt)[None])[0][0]) - delta

    if not excess(-_MOST_TILT) < 0 < excess(_MOST_TILT):
        return None
    chosen, rng, found = shares(brentq(excess, -_MOST_TILT, _MOST_TILT)), np.random.default_rng(seed), []
    some = max(1, NUMBERS_AT_ONCE // table.width)
    for start in range(0, draws, some):
        drawn = rng.multinomial(clusters, chosen, min(some, draws - start))
        values, errors = table.studentise(metric, drawn)
        found.append(ratio(values - delta, errors))
    return np.concatenate(found)
