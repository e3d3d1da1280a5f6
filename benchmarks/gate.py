"""What the gate promises, measured on simulated pairs of models: `make bench-gate`, or `python benchmarks/gate.py`.

Two models answer the same rows. A row's scores are a signal of its class, a part of noise that both models share
and a part that each has for itself; equally good models differ in the latter only. About 8 % of their answers
differ. Classes are balanced or 95:5 (models trained with balanced class weights, as is usual there). Rows are

    independent   each another text
    repeated      a fifth of the rows are ten texts (shares by Zipf's law: the most frequent one has 6.8 % of the rows);
                  labels and answers are a text's, and texts are drawn anew for each test set
    N groups      rows of N films or customers, chosen at random; three tenths of the variance of each part of a model's
                  noise are the group's, and groups are drawn anew for each test set

Where rows are not independent, the same comparison by rows stands beside it. Prints one JSON line last.

    --pairs N       simulated pairs in every cell (2000); 200 take a tenth of the time
    --rows N ...    sizes of the test set (200 500 1000 2000 5000)
    --only KIND ... kinds of rows: independent, repeated, groups (all of them)
    --processes N   cells measured at the same time (1)
    --skip-large    leave out the million rows and the thousand classes
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# One thread for each process: the matrices are small.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from gate_lineage import growing

from kfp_bert_components.evaluation.clusters import Clusters, independent
from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS
from kfp_bert_components.evaluation.metrics import metrics_with_intervals
from kfp_bert_components.evaluation.row_metrics import row_log_loss
from kfp_bert_components.gate.difference import difference
from kfp_bert_components.gate.paired import PairedPredictions
from kfp_bert_components.gate.shortage import shortage
from kfp_bert_components.gate.swaps import pivot_of_accuracy

ALPHA = 0.05
ROWS = (200, 500, 1000, 2000, 5000)
# Sizes at which the intervals of a single model, and limits other than 0, are looked at.
SOME_ROWS = (200, 1000)
METRICS = ("accuracy", "macro_f1", "mcc", "log_loss")
# Share of class 1, strength of the signal, share of the noise that the two models have in common.
WORLDS = {"balanced": (0.5, 2.3, 0.88), "95:5": (0.05, 2.3, 0.88)}
KINDS = {"independent": ["independent"], "repeated": ["repeated"], "groups": ["20 groups", "50 groups", "200 groups"]}
# Of the variance of a part of the noise, the share that the rows of a group have in common.
WITHIN = 0.3
COMMON_TEXTS, COMMON_SHARE = 10, 0.2
DRAWS = 999
PRESENT = np.ones(2, bool)
LABELS = ["frequent", "rare"]


def cluster_of(rng, rows, kind):
    """The clusters of the rows, in random order."""
    if kind == "independent":
        return independent(rows)
    if kind == "repeated":
        often = int(rows * COMMON_SHARE)
        zipf = 1 / np.arange(1, COMMON_TEXTS + 1)
        numbers = np.r_[rng.choice(COMMON_TEXTS, often, p=zipf / zipf.sum()), COMMON_TEXTS + np.arange(rows - often)]
        return Clusters(numbers).of(np.arange(rows))
    return Clusters(rng.integers(0, int(kind.split()[0]), rows), copies=False).of(np.arange(rows))


def pair(rng, rows, world, gain=1.0, kind="independent"):
    """Two models on the same rows; the candidate's signal is `gain` times that of the champion."""
    share, strength, common = WORLDS[world]
    clusters = cluster_of(rng, rows, kind)

    def noise():
        if clusters.single:
            return rng.standard_normal(rows)
        of_cluster = rng.standard_normal(clusters.count)[clusters.numbers]
        if clusters.copies:
            return of_cluster
        return np.sqrt(WITHIN) * of_cluster + np.sqrt(1 - WITHIN) * rng.standard_normal(rows)

    truth = (rng.random(rows) < share).astype(np.int64)
    if clusters.copies:
        truth = truth[np.unique(clusters.numbers, return_index=True)[1]][clusters.numbers]
    shared, sides = np.sqrt(common) * noise(), []
    for signal in (strength * gain, strength):
        seen = signal / 2 * (2 * truth - 1) + shared + np.sqrt(1 - common) * noise()
        one = 1 / (1 + np.exp(-signal * seen))
        sides.append(np.stack([1 - one, one], 1))
    return PairedPredictions(LABELS, truth, *sides, np.arange(rows), clusters)


def by_rows(paired):
    """The same pair with every row for itself."""
    return PairedPredictions(
        paired.labels, paired.truth, paired.candidate, paired.champion, paired.order, independent(paired.rows)
    )


def compare(paired, name, seed, delta=0.0):
    """The comparison that the gate makes; None where it says that there is too little evidence to make one."""
    return None if shortage(paired, name) else difference(paired, name, DRAWS, delta, seed)[0]


def true_values(world, gain, rows=1_000_000):
    """Metrics of a candidate on so many rows that they count as the truth; higher is better."""
    paired = pair(np.random.default_rng(99), rows, world, gain)
    values = {
        name: float(COUNT_METRICS[name].value(paired.margins[0], PRESENT)) for name in METRICS if name in COUNT_METRICS
    }
    return values | {"log_loss": -float(row_log_loss(paired.truth, paired.candidate).mean())}


def naive_gates(paired):
    """Three usual gates on accuracy: a number went up; by 1 point; TFX's change threshold, which is the first one.

    TFX's Evaluator promotes where candidate - champion > `change_threshold.absolute`; its documentation shows
    -1e-10, so that an equal candidate is promoted too.
    """
    change = float(np.subtract(*((said == paired.truth).mean() for said in paired.predicted)))
    return {"went up": change > 0, "went up by 1 point": change >= 0.01, "TFX change threshold": change > -1e-10}


def equal_models(world, rows, pairs, kind):
    """What is seen of equal candidates: lists by what and by metric."""
    seen = defaultdict(lambda: defaultdict(list))
    rng = np.random.default_rng([rows, len(world), len(kind), int(kind.split()[0]) if " " in kind else 0])
    for turn in range(pairs):
        paired = pair(rng, rows, world, kind=kind)
        for gate, went in naive_gates(paired).items():
            seen["naive"][gate].append(went)
        for name in METRICS:
            pivot = compare(paired, name, turn)
            seen["held"][name].append(pivot is None)
            seen["promoted"][name].append(pivot is not None and pivot.p_value() <= ALPHA)
            if pivot is not None:
                low, high = pivot.estimate()
                seen["covered"][name].append(low <= 0 <= high)
                seen["resolvable"][name].append(pivot.resolvable(ALPHA))
            if kind != "independent":
                seen["by rows"][name].append(difference(by_rows(paired), name, DRAWS, 0.0, turn)[0].p_value() <= ALPHA)
    return seen


def better_models(world, rows, resolvable, pairs, curve, kind):
    """Promotions and coverage when the true gain is the reported smallest resolvable difference."""
    powers, coverage = {}, {}
    for name in METRICS:
        gain = gain_for(name, resolvable[name], curve) if name in resolvable else None
        if not gain:
            continue
        rng, shown, covered = np.random.default_rng([rows, 7, len(name)]), [], []
        for turn in range(pairs):
            pivot = compare(pair(rng, rows, world, gain, kind), name, turn)
            if pivot is not None:
                shown.append(pivot.p_value() <= ALPHA)
                low, high = pivot.estimate()
                covered.append(low <= resolvable[name] <= high)
        powers[name], coverage[name] = float(np.mean(shown)), float(np.mean(covered))
    return powers, coverage


def at_limits(world, rows, resolvable, pairs, curve, kind):
    """Promotions of candidates that are better or worse by exactly what the policy allows, and of equal ones.

    The limits are a loss as large as the smallest resolvable difference (`margin`), and a gain of half of that
    (`min_improvement`). An equal candidate should be promoted where the loss is allowed.
    """
    levels, powers = {}, {}
    for name in METRICS:
        if name not in resolvable:
            continue
        for limit, delta in (("margin", -resolvable[name]), ("min_improvement", resolvable[name] / 2)):
            gain = gain_for(name, delta, curve)
            if gain:
                levels[name, limit] = promoted_share(name, world, rows, gain, delta, pairs, kind)
        powers[name] = promoted_share(name, world, rows, 1.0, -resolvable[name], pairs // 4, kind)
    return levels, powers


def promoted_share(name, world, rows, gain, delta, pairs, kind):
    rng, promoted = np.random.default_rng([rows, 13, len(name)]), []
    for turn in range(pairs):
        pivot = compare(pair(rng, rows, world, gain, kind), name, turn, delta)
        promoted.append(pivot is not None and pivot.p_value(delta) <= ALPHA)
    return float(np.mean(promoted))


def gain_for(name, difference, curve):
    """How many times the signal of the champion a candidate needs to be better by `difference`; None: no such one."""
    gains, values = curve
    equal = values[list(gains).index(1.0)]
    reached = np.array([one[name] - equal[name] for one in values])
    return float(np.interp(difference, reached, gains)) if reached[0] < difference < reached[-1] else None


def one_model(world, rows, models, kind):
    """Coverage of the interval of each metric of one model, as evaluate_model gives it."""
    actual = {name: one["value"] for name, one in measure(pair(np.random.default_rng(99), 1_000_000, world)).items()}
    rng, covered = np.random.default_rng([rows, 11, len(world)]), defaultdict(list)
    for seed in range(models):
        for name, one in measure(pair(rng, rows, world, kind=kind), seed).items():
            covered[name].append(one["low"] <= actual[name] <= one["high"])
    return {name: float(np.mean(found)) for name, found in covered.items()}


def measure(paired, seed=0):
    return metrics_with_intervals(paired.truth, paired.champion, LABELS, seed, paired.clusters)


def cells(kind, world, rows, pairs, curve):
    """All that is measured of one kind of rows: by what is measured, by cell."""
    start, found = time.perf_counter(), defaultdict(dict)
    seen = equal_models(world, rows, pairs, kind)
    resolvable = {name: float(np.median(values)) for name, values in seen["resolvable"].items() if values}
    power, coverage = better_models(world, rows, resolvable, pairs, curve, kind)
    where = f"{world}, {rows} rows" + (f", {kind}" if kind != "independent" else "")
    for gate, went in seen["naive"].items():
        found["naive"][gate, where] = float(np.mean(went))
    for name in METRICS:
        cell = f"{name}, {where}"
        found["false_promotion"][cell] = float(np.mean(seen["promoted"][name]))
        found["held"][cell] = float(np.mean(seen["held"][name]))
        if name not in resolvable:
            continue
        found["coverage"][f"{cell}, equal"] = float(np.mean(seen["covered"][name]))
        found["resolvable"][cell] = resolvable[name]
        if kind != "independent":
            found["by_rows"][cell] = float(np.mean(seen["by rows"][name]))
        if name in power:
            found["power"][cell], found["coverage"][f"{cell}, better"] = power[name], coverage[name]
    if rows in SOME_ROWS:
        for name, value in one_model(world, rows, pairs // 2, kind).items():
            found["coverage_of_one_model"][f"{name}, {where}"] = value
        at, allowed = at_limits(world, rows, resolvable, pairs, curve, kind)
        found["promotion_at_limit"] = {f"{name}, {limit}, {where}": value for (name, limit), value in at.items()}
        found["power_of_margin"] = {f"{name}, {where}": value for name, value in allowed.items()}
    return where, time.perf_counter() - start, dict(found)


def reuse(sets, uses=20, rows=1000):
    """Share of test sets on which at least one of 20 equal candidates is promoted, with alpha spent and without."""
    rng, spent, unspent = np.random.default_rng(5), 0, 0
    _, strength, common = WORLDS["balanced"]
    for _ in range(sets):
        paired = pair(rng, rows, "balanced")
        truth, champion = paired.truth, paired.champion[:, 1]
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


def large(rows, classes):
    """Seconds and peak GiB of measuring and comparing so many rows, in a process of its own."""
    script = Path(__file__).with_name("gate_large.py")
    out = subprocess.run([sys.executable, script, str(rows), str(classes)], check=True, capture_output=True, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def curve_of(world):
    gains = np.concatenate([np.linspace(0.3, 1, 15)[:-1], np.linspace(1, 1.5, 11), np.linspace(1.6, 4, 13)])
    return gains, [true_values(world, gain) for gain in gains]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pairs", type=int, default=2000)
    arguments.add_argument("--rows", type=int, nargs="+", default=ROWS)
    arguments.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    arguments.add_argument("--processes", type=int, default=1)
    arguments.add_argument("--skip-large", action="store_true")
    chosen = arguments.parse_args()
    every = defaultdict(dict)
    with ProcessPoolExecutor(chosen.processes) as pool:
        curves = dict(zip(WORLDS, pool.map(curve_of, WORLDS), strict=True))
        # The largest first, so that the processes end together.
        tasks = [
            pool.submit(cells, kind, world, rows, chosen.pairs, curves[world])
            for rows in sorted(chosen.rows, reverse=True)
            for one in chosen.only
            for kind in KINDS[one]
            for world in WORLDS
        ]
        for task in tasks:
            where, took, found = task.result()
            for what, values in found.items():
                every[what] |= values
            show(where, took, found)
    results = []

    def add(name, value, runs=chosen.pairs, peer=None, **more):
        results.append({"name": name, "value": value, "peer": peer, "peer_version": None, "runs": runs, **more})

    def worst(name, values, pick=max, runs=chosen.pairs, **more):
        if values:
            cell = pick(values, key=values.__getitem__)
            add(name, values[cell], runs, cell=cell, **more)

    def of(what, kind):
        """The cells of one kind."""
        ends = {"independent": "rows", "repeated": "repeated", "groups": "groups"}[kind]
        return {
            cell: value
            for cell, value in every[what].items()
            if cell.removesuffix(", equal").removesuffix(", better").endswith(ends)
        }

    for kind in chosen.only:
        prefix = {"independent": "", "repeated": "repeated_texts_", "groups": "groups_"}[kind]
        by_row = of("by_rows", kind)
        more = {"peer": "the same test by rows", "peer_value": max(by_row.values())} if by_row else {}
        worst(f"{prefix}false_promotion_worst", of("false_promotion", kind), **more)
        worst(f"{prefix}power_at_mde_worst", of("power", kind), min)
        worst(f"{prefix}coverage_min", of("coverage", kind), min)
        worst(f"{prefix}coverage_max", of("coverage", kind))
        worst(f"{prefix}promotion_at_limit_worst", of("promotion_at_limit", kind))
        worst(f"{prefix}power_of_margin_worst", of("power_of_margin", kind), min, chosen.pairs // 4)
        worst(f"{prefix}coverage_of_one_model_min", of("coverage_of_one_model", kind), min, chosen.pairs // 2)
        worst(f"{prefix}coverage_of_one_model_max", of("coverage_of_one_model", kind), max, chosen.pairs // 2)
    add("false_promotion_worst_allowed", float(ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / chosen.pairs)))
    missing = {}
    if "independent" in chosen.only:
        spent, unspent = reuse(chosen.pairs)
        add("reuse_false_promotion", spent, peer="alpha not spent", peer_value=unspent)
        results.append(growing(10 * chosen.pairs)[0])
        for gate in dict.fromkeys(gate for gate, _ in every["naive"]):
            values = {cell: value for (one, cell), value in every["naive"].items() if one == gate}
            worst("naive_false_promotion", values, peer=gate, cells=values)
    for name, size in (("seconds_1m_rows", (1_000_000, 20)), ("seconds_1000_classes", (100_000, 1_000))):
        if chosen.skip_large:
            missing[name] = "left out by --skip-large"
        else:
            took = large(*size)
            add(name, took.pop("seconds"), 1, **took)
    del every["naive"]
    environment = {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()}
    print(
        json.dumps(
            {"benchmark": "gate", "environment": environment, "results": results, "missing": missing, "cells": every}
        )
    )


def show(where, took, found):
    for name in METRICS:
        cell = f"{name}, {where}"
        numbers = {
            "promoted": found["false_promotion"].get(cell),
            "by rows": found.get("by_rows", {}).get(cell),
            "held": found["held"].get(cell),
            "coverage": found.get("coverage", {}).get(f"{cell}, equal"),
            "of better": found.get("coverage", {}).get(f"{cell}, better"),
            "resolvable": found.get("resolvable", {}).get(cell),
            "power": found.get("power", {}).get(cell),
        }
        print(f"{cell:46}", *(f"{what} {value:.4f} " for what, value in numbers.items() if value is not None))
    print(f"  {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
