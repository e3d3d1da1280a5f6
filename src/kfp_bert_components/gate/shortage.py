"""Whether a test set holds enough evidence for a metric, where rows are not evidence of their own.

A swap test is exact for exchangeable models, however unequal clusters are. Two models that are equal on the whole, but
each better on other clusters, are not exchangeable, and then the test is right only in the limit of many clusters.
What counts is the effective number of clusters, (sum of weights)^2 / sum of squared weights (Kish 1965, Survey
Sampling; Carter, Schnepel and Steigerwald 2017, Review of Economics and Statistics 99). The rule looks at the weights
alone and not at the answers, so it does not choose among outcomes.
"""

from dataclasses import dataclass

import numpy as np

from kfp_bert_components.evaluation.clusters import FEWEST, independent, row_weights
from kfp_bert_components.gate.paired import PairedPredictions


@dataclass(frozen=True)
class Shortage:
    """Where evidence is short.

    Attributes:
        label: The class that is short of it; "" for the whole test set.
        rows: Test rows of it.
        clusters: Its texts or groups.
        effective: What these count as.
    """

    label: str
    rows: int
    clusters: int
    effective: float


def shortage(paired: PairedPredictions, metric: str) -> Shortage | None:
    """What is short of evidence for `metric` because its rows are copies or belong to few groups; None if nothing is.

    A test set whose rows alone would be too few is not held back here: the test of independent rows keeps its level
    however few they are.
    """
    weights = weights_of(paired, metric)
    alone = independent(paired.rows).effective(weights)
    if paired.clusters.single or not paired.clusters.effective(weights) < FEWEST <= alone:
        return None
    share = np.bincount(paired.truth, weights, len(paired.labels))
    effective = paired.clusters.by_part(paired.truth, len(paired.labels))
    # A class adds the square of its share in the weight over its effective number.
    worst = int(np.divide(share**2, effective, out=np.zeros(len(share)), where=effective > 0).argmax())
    whole = len(np.unique(weights)) == 1
    rows = np.arange(paired.rows) if whole else np.flatnonzero(paired.truth == worst)
    part = paired.clusters.of(rows)
    return Shortage("" if whole else paired.labels[worst], len(rows), part.count, part.effective(np.ones(len(rows))))


def weights_of(paired: PairedPredictions, metric: str) -> np.ndarray:
    """What each row weighs in a metric, [rows], see `row_weights`."""
    label = metric.partition(":")[2]
    return row_weights(metric, paired.truth, paired.labels.index(label) if label else -1)
