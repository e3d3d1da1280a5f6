"""What the gate promises, measured on simulated pairs of models: `make bench-gate`, or `python benchmarks/gate.py`.

Two models answer the same rows. A row's scores are a signal of its class, a part of noise that both models share
and a part that each has for itself; equally good models differ in the latter only. About 8 % of their answers
differ. Classes are balanced or 95:5 (models trained with balanced class weights, as is usual there). Prints one
JSON line last. About 20 minutes of one core.

    --pairs N      simulated pairs in every cell (2000); 200 take some two minutes
    --rows N ...   sizes of the test set (200 500 1000 2000 5000)
    --skip-large   leave out the million rows
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from gate_lineage import growing

from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, confusion
from kfp_bert_components.evaluation.metrics import metrics_with_intervals
from kfp_bert_components.evaluation.row_metrics import row_log_loss
from kfp_bert_components.gate.pivot import Pivot
from kfp_bert_components.gate.swaps import pivot_of_accuracy, pivot_of_counts, pivot_of_rows

ALPHA = 0.05
ROWS = (200, 500, 1000, 2000, 5000)
# Sizes at which the intervals of a single model, and limits other than 0, are looked at.
SOME_ROWS = (200, 1000)
METRICS = ("accuracy", "macro_f1", "mcc", "log_loss")
# Share of class 1, strength of the signal, share of the noise that the two models have in common.
WORLDS = {"balanced": (0.5, 2.3, 0.88), "95:5": (0.05, 2.3, 0.88)}
DRAWS = 999
PRESENT = np.ones(2, bool)
CELLS = np.array([[code // 4, code // 2 % 2, code % 2] for code in range(8)]).T


def pair(rng, rows, world, gain=1.0):
    """Truth, and the probability of class 1 of candidate and champion; the candidate's signal is `gain` times."""
    share, strength, common = WORLDS[world]
    truth = (rng.random(rows) < share).astype(np.int64)
    shared = np.sqrt(common) * rng.standard_normal(rows)
    sides = []
    for signal in (strength * gain, strength):
        seen = signal / 2 * (2 * truth - 1) + shared + np.sqrt(1 - common) * rng.standard_normal(rows)
        sides.append(1 / (1 + np.exp(-signal * seen)))
    return truth, *sides


def table(truth, one, two):
    """Rows in each of the eight cells (truth, candidate, champion)."""
    return np.bincount(truth * 4 + (one > 0.5) * 2 + (two > 0.5), minlength=8)


def losses(truth, side):
    return row_log_loss(truth, np.stack([1 - side, side], 1))


def pivots(truth, one, two, seed):
    """By metric, the comparison that the gate makes."""
    sizes = table(truth, one, two)
    some = sizes > 0
    gains = losses(truth, two) - losses(truth, one)
    present = np.bincount(truth, minlength=2) > 0
    found = {
        "accuracy": pivot_of_accuracy(int(sizes[1 * 4 + 2] + sizes[1]), int(sizes[4 + 1] + sizes[2]), len(truth)),
        "log_loss": pivot_of_rows(gains, float(gains.mean()), DRAWS, seed),
    }
    for name in ("macro_f1", "mcc"):
        found[name] = pivot_of_counts(COUNT_METRICS[name], CELLS[:, some], sizes[some], present, DRAWS, seed)
    return found


def true_values(world, gain, rows=1_000_000):
    """Metrics of a candidate on so many rows that they count as the truth; higher is better."""
    truth, side, _ = pair(np.random.default_rng(99), rows, world, gain)
    counts = confusion(truth, (side > 0.5).astype(int), 2)
    values = {name: float(COUNT_METRICS[name].value(counts, PRESENT)) for name in METRICS if name in COUNT_METRICS}
    return values | {"log_loss": -float(losses(truth, side).mean())}


def naive_gates(truth, one, two, rng):
    """Three usual gates on accuracy: a number went up; by 1 point; TFX's change threshold, which is the first one.

    TFX's Evaluator promotes where candidate - champion > `change_threshold.absolute`; its documentation shows
    -1e-10, so that an equal candidate is promoted too.
    """
    change = float((((one > 0.5) == truth).mean()) - (((two > 0.5) == truth).mean()))
    return {"went up": change > 0, "went up by 1 point": change >= 0.01, "TFX change threshold": change > -1e-10}


def equal_models(world, rows, pairs):
    """Promotions of equal candidates, coverage of 0, smallest resolvable differences, usual gates."""
    promoted, covered, resolvable, naive = (defaultdict(list) for _ in range(4))
    rng = np.random.default_rng([rows, len(world)])
    for turn in range(pairs):
        truth, one, two = pair(rng, rows, world)
        for gate, went in naive_gates(truth, one, two, rng).items():
            naive[gate].append(went)
        for name, pivot in pivots(truth, one, two, turn).items():
            promoted[name].append(pivot.p_value() <= ALPHA)
            low, high = pivot.estimate()
            covered[name].append(low <= 0 <= high)
            resolvable[name].append(pivot.resolvable(ALPHA))
    return promoted, covered, {name: float(np.median(found)) for name, found in resolvable.items()}, naive


def better_models(world, rows, resolvable, pairs, curve):
    """Promotions and coverage when the true gain is the reported smallest resolvable difference."""
    powers, coverage = {}, {}
    for name in METRICS:
        gain = gain_for(name, resolvable[name], curve)
        if not gain:
            continue
        rng, shown, covered = np.random.default_rng([rows, 7, len(name)]), [], []
        for turn in range(pairs):
            pivot = one_metric(name, *pair(rng, rows, world, gain), turn)
            shown.append(pivot.p_value() <= ALPHA)
            low, high = pivot.estimate()
            covered.append(low <= resolvable[name] <= high)
        powers[name], coverage[name] = float(np.mean(shown)), float(np.mean(covered))
    return powers, coverage


def at_limits(world, rows, resolvable, pairs, curve):
    """Promotions of candidates that are better or worse by exactly what the policy allows, and of equal ones.

    The limits are a loss as large as the smallest resolvable difference (`margin`), and a gain of half of that
    (`min_improvement`). An equal candidate should be promoted where the loss is allowed.
    """
    levels, powers = {}, {}
    for name in METRICS:
        for kind, delta in (("margin", -resolvable[name]), ("min_improvement", resolvable[name] / 2)):
            gain = gain_for(name, delta, curve)
            if gain:
                levels[name, kind] = promoted_share(name, world, rows, gain, delta, pairs)
        powers[name] = promoted_share(name, world, rows, 1.0, -resolvable[name], pairs // 4)
    return levels, powers


def promoted_share(name, world, rows, gain, delta, pairs):
    rng = np.random.default_rng([rows, 13, len(name)])
    return float(
        np.mean(
            [
                one_metric(name, *pair(rng, rows, world, gain), turn, delta).p_value(delta) <= ALPHA
                for turn in range(pairs)
            ]
        )
    )


def gain_for(name, difference, curve):
    """How many times the signal of the champion a candidate needs to be better by `difference`; None: no such one."""
    gains, values = curve
    equal = values[list(gains).index(1.0)]
    reached = np.array([one[name] - equal[name] for one in values])
    return float(np.interp(difference, reached, gains)) if reached[0] < difference < reached[-1] else None


def one_model(world, rows, models):
    """Coverage of the interval of each metric of one model, as evaluate_model gives it."""
    truth, side, _ = pair(np.random.default_rng(99), 1_000_000, world)
    actual = {name: one["value"] for name, one in measure(truth, side).items()}
    rng, covered = np.random.default_rng([rows, 11, len(world)]), defaultdict(list)
    for seed in range(models):
        truth, side, _ = pair(rng, rows, world)
        for name, one in measure(truth, side, seed).items():
            covered[name].append(one["low"] <= actual[name] <= one["high"])
    return {name: float(np.mean(found)) for name, found in covered.items()}


def measure(truth, side, seed=0):
    return metrics_with_intervals(truth, np.stack([1 - side, side], 1), ["frequent", "rare"], seed)


def one_metric(name, truth, one, two, seed, delta=0.0) -> Pivot:
    if name == "log_loss":
        gains = losses(truth, two) - losses(truth, one)
        return pivot_of_rows(gains, float(gains.mean()), DRAWS, seed)
    sizes = table(truth, one, two)
    if name == "accuracy":
        return pivot_of_accuracy(int(sizes[6] + sizes[1]), int(sizes[5] + sizes[2]), len(truth), delta, DRAWS)
    some = sizes > 0
    present = np.bincount(truth, minlength=2) > 0
    return pivot_of_counts(COUNT_METRICS[name], CELLS[:, some], sizes[some], present, DRAWS, seed, delta)


def reuse(sets, uses=20, rows=1000):
    """Share of test sets on which at least one of 20 equal candidates is promoted, with alpha spent and without."""
    rng, spent, unspent = np.random.default_rng(5), 0, 0
    _, strength, common = WORLDS["balanced"]
    for _ in range(sets):
        truth, _, champion = pair(rng, rows, "balanced")
        shared = strength / 2 * (2 * truth - 1)
        seen = np.log(champion / (1 - champion)) / strength - shared
        values = []
        for _use in range(uses):
            # An equally good candidate that shares the same part of its noise with the champion.
            own = common * seen + np.sqrt(1 - common**2) * rng.standard_normal(rows)
            said, right = shared + own > 0, truth == 1
            wins = int(((said == right) & ((champion > 0.5) != right)).sum())
            lost = int(((said != right) & ((champion > 0.5) == right)).sum())
            values.append(pivot_of_accuracy(wins, lost, rows).p_value())
        levels = ALPHA / (np.arange(1, uses + 1) * np.arange(2, uses + 2))
        spent += bool((np.array(values) <= levels).any())
        unspent += min(values) <= ALPHA
    return spent / sets, unspent / sets


def large():
    """Seconds and peak GiB of measuring and comparing a million rows of 20 classes, in a process of its own."""
    script = Path(__file__).with_name("gate_large.py")
    out = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pairs", type=int, default=2000)
    arguments.add_argument("--rows", type=int, nargs="+", default=ROWS)
    arguments.add_argument("--skip-large", action="store_true")
    chosen = arguments.parse_args()
    results, levels, powers, coverages, alone, naive = [], {}, {}, {}, {}, defaultdict(list)
    limits, allowing = {}, {}
    for world in WORLDS:
        gains = np.concatenate([np.linspace(0.3, 1, 15)[:-1], np.linspace(1, 1.5, 11), np.linspace(1.6, 4, 13)])
        curve = gains, [true_values(world, gain) for gain in gains]
        for rows in chosen.rows:
            start = time.perf_counter()
            promoted, covered, resolvable, usual = equal_models(world, rows, chosen.pairs)
            power, coverage = better_models(world, rows, resolvable, chosen.pairs, curve)
            for gate, went in usual.items():
                naive[gate].append((f"{world}, {rows} rows", float(np.mean(went))))
            for name in METRICS:
                cell = f"{name}, {world}, {rows} rows"
                levels[cell] = float(np.mean(promoted[name]))
                coverages[f"{cell}, equal"] = float(np.mean(covered[name]))
                if name in power:
                    powers[cell], coverages[f"{cell}, better"] = power[name], coverage[name]
                print(
                    f"{cell:34} promoted {levels[cell]:.4f}  coverage {coverages[f'{cell}, equal']:.4f} "
                    f"{coverage.get(name, float('nan')):.4f}  resolvable {resolvable[name]:.4f}  "
                    f"power {power.get(name, float('nan')):.4f}",
                    flush=True,
                )
            if rows in SOME_ROWS:
                for name, value in one_model(world, rows, chosen.pairs // 2).items():
                    alone[f"{name}, {world}, {rows} rows"] = value
                at, allowed = at_limits(world, rows, resolvable, chosen.pairs, curve)
                limits |= {f"{name}, {kind}, {world}, {rows} rows": value for (name, kind), value in at.items()}
                allowing |= {f"{name}, {world}, {rows} rows": value for name, value in allowed.items()}
            print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    allowed = ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / chosen.pairs)

    def add(name, value, runs=chosen.pairs, peer=None, **more):
        results.append({"name": name, "value": value, "peer": peer, "peer_version": None, "runs": runs, **more})

    worst = max(levels, key=levels.__getitem__)
    add("false_promotion_worst", levels[worst], cell=worst)
    add("false_promotion_worst_allowed", float(allowed))
    weakest = min(powers, key=powers.__getitem__)
    add("power_at_mde_worst", powers[weakest], cell=weakest)
    low, high = min(coverages, key=coverages.__getitem__), max(coverages, key=coverages.__getitem__)
    add("coverage_min", coverages[low], cell=low)
    add("coverage_max", coverages[high], cell=high)
    if limits:
        furthest, least = max(limits, key=limits.__getitem__), min(allowing, key=allowing.__getitem__)
        add("promotion_at_limit_worst", limits[furthest], cell=furthest)
        add("power_of_margin_worst", allowing[least], chosen.pairs // 4, cell=least)
        ends = min(alone, key=alone.__getitem__), max(alone, key=alone.__getitem__)
        add("coverage_of_one_model_min", alone[ends[0]], chosen.pairs // 2, cell=ends[0])
        add("coverage_of_one_model_max", alone[ends[1]], chosen.pairs // 2, cell=ends[1])
    spent, unspent = reuse(chosen.pairs)
    add("reuse_false_promotion", spent, peer="alpha not spent", peer_value=unspent)
    results.append(growing(10 * chosen.pairs)[0])
    if not chosen.skip_large:
        took = large()
        add("seconds_1m_rows", took["seconds"], 1, peak_gib=took["peak_gib"])
    for gate, cells in naive.items():
        cell, value = max(cells, key=lambda one: one[1])
        add("naive_false_promotion", value, peer=gate, cell=cell, cells=dict(cells))
    environment = {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()}
    missing = {"seconds_1m_rows": "left out by --skip-large"} if chosen.skip_large else {}
    print(
        json.dumps(
            {
                "benchmark": "gate",
                "environment": environment,
                "results": results,
                "missing": missing,
                "cells": {
                    "false_promotion": levels,
                    "power": powers,
                    "coverage": coverages,
                    "coverage_of_one_model": alone,
                    "promotion_at_limit": limits,
                    "power_of_margin": allowing,
                },
            }
        )
    )


if __name__ == "__main__":
    main()
