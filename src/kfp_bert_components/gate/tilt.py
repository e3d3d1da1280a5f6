"""The reference distribution of the studentised difference when the true difference is not 0.

Swaps give it for a difference of 0 only. Here the observed rows get weights under which the difference has the value
that is tested; of all such weights those closest to equal ones (exponential tilting). Then rows are drawn with these
weights (Efron 1981, Canadian Journal of Statistics 9; Davison and Hinkley 1997, Bootstrap Methods and Their
Application, section 4.4).
"""

import numpy as np
from scipy.optimize import brentq

from kfp_bert_components.evaluation.count_metrics import CountMetric
from kfp_bert_components.gate.tables import Side, gains_of, ratio, studentise

# Beyond this all weight lies on the rows that gain most.
_MOST_TILT = 50.0
_CELLS_AT_ONCE = 2_000_000


def tilted_draws(
    metric: CountMetric,
    sides: tuple[Side, Side],
    sizes: np.ndarray,
    differ: np.ndarray,
    present: np.ndarray,
    delta: float,
    draws: int,
    seed: int,
) -> np.ndarray | None:
    """Studentised values of (difference - delta) when the true difference is `delta`, [draws].

    Args:
        metric: A metric of the confusion matrix.
        sides: Candidate and champion.
        sizes: Rows in each cell, [cells].
        differ: Where the two models' predictions differ, bool [cells].
        present: Classes to average over, bool [classes].
        delta: The true difference.
        draws: How many.
        seed: Of the draws.

    Returns:
        None where no weights make such a difference.
    """
    # One row more, spread over all cells where the two differ, so that cells without rows can be drawn too.
    base = sizes + differ / differ.sum()
    gains = gains_of(metric, *sides, base, present)
    gains = gains / np.abs(gains).max()
    rows = int(sizes.sum())

    def shares(tilt: float) -> np.ndarray:
        weights = base * np.exp(tilt * gains)
        return weights / weights.sum()

    def excess(tilt: float) -> float:
        return float(studentise(metric, *sides, rows * shares(tilt)[None], present)[0][0]) - delta

    if not excess(-_MOST_TILT) < 0 < excess(_MOST_TILT):
        return None
    chosen, rng, found = shares(brentq(excess, -_MOST_TILT, _MOST_TILT)), np.random.default_rng(seed), []
    some = max(1, _CELLS_AT_ONCE // len(sizes))
    for start in range(0, draws, some):
        drawn = rng.multinomial(rows, chosen, min(some, draws - start))
        values, errors = studentise(metric, *sides, drawn, present)
        found.append(ratio(values - delta, errors))
    return np.concatenate(found)
