"""Two choices behind evidence by clusters, on simulated test sets: `python benchmarks/gate_clusters.py`. Ten minutes.

`few`: false promotions on accuracy by number and size of groups. The models are equal on the whole. Either the
difference in a group is symmetric around 0, or the candidate loses much in a share of the groups and gains a little in
the others.

`variance`: coverage of the interval of one model's accuracy and Brier score where a fifth of the rows are ten texts, by
what the variance is taken to be: that which the texts show, that which they have on average, the larger, or the mean.
"""

import argparse

import numpy as np
from gate import measure, pair

from kfp_bert_components.evaluation.clusters import Clusters
from kfp_bert_components.evaluation.count_intervals import wilson
from kfp_bert_components.evaluation.row_metrics import row_brier
from kfp_bert_components.gate.swaps import pivot_of_flips

ROWS_OF_A_GROUP = 40
# Share of the groups in which the candidate loses, and the gain in the others; None: the standard deviation of a
# symmetric difference.
DIFFERENCES = ((None, 0.1), (0.2, 0.02), (0.2, 0.04), (0.1, 0.03))


def sizes_of(rng, kind, groups):
    if kind == "equal":
        return np.full(groups, ROWS_OF_A_GROUP)
    if kind == "lognormal":
        return (ROWS_OF_A_GROUP * np.exp(rng.normal(0, 1, groups) - 0.5)).astype(int) + 1
    zipf = ROWS_OF_A_GROUP * groups / np.arange(1, groups + 1) / np.log(groups + 1)
    return rng.permutation(np.maximum(zipf, 1).astype(int))


def few(test_sets):
    rng = np.random.default_rng(1)
    for kind in ("equal", "lognormal", "zipf"):
        for groups in (4, 5, 6, 8, 10, 15, 20, 30, 50, 100):
            for share, gain in DIFFERENCES:
                promoted, effective = 0, []
                for _ in range(test_sets):
                    numbers = np.repeat(np.arange(groups), sizes_of(rng, kind, groups))
                    if share is None:
                        shift = rng.normal(0, gain, groups)
                    else:
                        shift = np.where(rng.random(groups) < share, -gain * (1 - share) / share, gain)
                    won, lost = (np.clip(0.15 + side * shift[numbers] / 2, 0, 1) for side in (1, -1))
                    drawn = rng.random(len(numbers))
                    pivot = pivot_of_flips(drawn < won, (drawn >= won) & (drawn < won + lost), numbers, draws=499)
                    promoted += pivot.p_value() <= 0.05
                    effective.append(Clusters(numbers).effective(np.ones(len(numbers))))
                print(f"{kind}, {groups} groups ({np.mean(effective):.1f} effective), {share}, {gain}:", end=" ")
                print(f"promoted {promoted / test_sets:.3f}", flush=True)


def variance(test_sets):
    for world, rows in (("balanced", 1000), ("95:5", 1000), ("balanced", 200)):
        actual = {name: one["value"] for name, one in measure(pair(np.random.default_rng(99), 500_000, world)).items()}
        rng = np.random.default_rng(5)
        covered = {name: np.zeros(2) for name in ("seen", "average", "larger", "mean")}
        for _ in range(test_sets):
            paired = pair(rng, rows, world, kind="repeated")
            right = (paired.predicted[1] == paired.truth).astype(float)
            for i, values in enumerate((right, row_brier(paired.truth, paired.champion))):
                for name, effect in effects(values, paired.truth, paired.clusters).items():
                    if i == 0:
                        low, high = wilson(np.array([values.sum() / effect]), np.array([rows / effect]))[:, 0]
                    else:
                        reach = 1.96 * values.std() * np.sqrt(effect / rows)
                        low, high = values.mean() - reach, values.mean() + reach
                    covered[name][i] += low <= actual[("accuracy", "brier")[i]] <= high
        print(
            f"{world}, {rows} rows:", {name: (found / test_sets).round(3).tolist() for name, found in covered.items()}
        )


def effects(values, truth, clusters):
    squares = (values - values.mean()) ** 2
    seen = (clusters.sums(values - values.mean()) ** 2).sum() / squares.sum()
    average = 0.0
    for number in np.unique(truth):
        of_class = truth == number
        average += squares[of_class].sum() * (np.bincount(clusters.numbers[of_class]) ** 2).sum() / of_class.sum()
    average /= squares.sum()
    return {"seen": seen, "average": average, "larger": max(seen, average), "mean": (seen + average) / 2}


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--test-sets", type=int, default=400)
    chosen = arguments.parse_args()
    few(chosen.test_sets)
    variance(4 * chosen.test_sets)
