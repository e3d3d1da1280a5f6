"""What the gate promises, measured on simulated pairs of models: `make bench-gate`, or `python benchmarks/gate.py`.

Two models answer the same rows. A row's scores are a signal of its class, a part of noise that both models share
and a part that each has for itself; equally good models differ in the latter only. About 8 % of their answers
differ. Classes are balanced or 95:5 (models trained with balanced class weights, as is usual there). Prints one
JSON line last.

    --pairs N      simulated pairs in every cell (2000)
    --rows N ...   sizes of the test set (200 500 1000 2000 5000)
    --skip-large   leave out the million rows
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from kfp_bert_components.evaluation.count_metrics import COUNT_METRICS, confusion
from kfp_bert_components.evaluation.metrics import metrics_with_intervals
from kfp_bert_components.evaluation.row_metrics import row_log_loss
from kfp_bert_components.gate.pivot import Pivot
from kfp_bert_components.gate.swaps import pivot_of_accuracy, pivot_of_counts, pivot_of_rows

ALPHA = 0.05
ROWS = (200, 500, 1000, 2000, 5000)
# Sizes at which the intervals of a single model are looked at.
ALONE = (200, 1000)
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
    gains, values = curve
    for name in METRICS:
        reached = np.array([one[name] - values[0][name] for one in values])
        if reached.max() < resolvable[name]:
            continue  # not even a perfect candidate gains that much
        gain = float(np.interp(resolvable[name], reached, gains))
        rng, shown, covered = np.random.default_rng([rows, 7, len(name)]), [], []
        for turn in range(pairs):
            pivot = one_metric(name, *pair(rng, rows, world, gain), turn)
            shown.append(pivot.p_value() <= ALPHA)
            low, high = pivot.estimate()
            covered.append(low <= resolvable[name] <= high)
        powers[name], coverage[name] = float(np.mean(shown)), float(np.mean(covered))
    return powers, coverage


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


def one_metric(name, truth, one, two, seed) -> Pivot:
    if name == "log_loss":
        gains = losses(truth, two) - losses(truth, one)
        return pivot_of_rows(gains, float(gains.mean()), DRAWS, seed)
    sizes = table(truth, one, two)
    if name == "accuracy":
        return pivot_of_accuracy(int(sizes[6] + sizes[1]), int(sizes[5] + sizes[2]), len(truth))
    some = sizes > 0
    present = np.bincount(truth, minlength=2) > 0
    return pivot_of_counts(COUNT_METRICS[name], CELLS[:, some], sizes[some], present, DRAWS, seed)


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
    code = "import sys; sys.path.insert(0, 'benchmarks'); import gate; gate.large_here()"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(out.stdout.splitlines()[-1])


ROOT = Path(__file__).resolve().parent.parent


def large_here(rows=1_000_000, classes=20):
    import pyarrow as pa

    from kfp_bert_components.evaluation.records import Evaluation, write_evaluation
    from kfp_bert_components.evaluation.score import _measured, _predictions
    from kfp_bert_components.evaluation.slices import find_slices
    from kfp_bert_components.gate import Policy, compare

    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, rows)
    common = rng.standard_normal((rows, classes), dtype=np.float32)
    labels = [f"class {i}" for i in range(classes)]
    split = pa.table({
        "id": [f"{i:016x}" for i in rng.permutation(rows)],
        "text": ["some words"] * (rows // 2) + ["one"] * (rows // 2),
        "label": pa.array(labels).take(pa.array(truth)),
    })  # fmt: skip
    seconds = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name in ("candidate", "champion"):
            logits = common + 0.4 * rng.standard_normal((rows, classes), dtype=np.float32)
            logits[np.arange(rows), truth] += 2
            np.exp(logits, out=logits)
            logits /= logits.sum(1, keepdims=True)
            start = time.perf_counter()
            members = find_slices(split)
            draft = Evaluation(
                labels=labels, test_fingerprint="t", model_fingerprint=name,
                predictions=_predictions(split, logits, members),
                slices=list(members), model_version=1 if name == "champion" else None,
            )  # fmt: skip
            write_evaluation(_measured(draft), place / name)
            seconds += time.perf_counter() - start
            del logits, draft
        del common, split
        start = time.perf_counter()
        policy = Policy(max_class_drop=0.01, max_slice_drop=0.01, max_negative_flips=0.2, max_calibration_rise=0.02)
        compare(place / "candidate", place / "champion", place / "d", place / "r.html", place / "s.md", policy)
        seconds += time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps({"seconds": seconds, "peak_gib": peak}))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pairs", type=int, default=2000)
    arguments.add_argument("--rows", type=int, nargs="+", default=ROWS)
    arguments.add_argument("--skip-large", action="store_true")
    chosen = arguments.parse_args()
    results, levels, powers, coverages, alone, naive = [], {}, {}, {}, {}, defaultdict(list)
    for world in WORLDS:
        gains = np.concatenate([np.linspace(1, 1.5, 11), np.linspace(1.6, 4, 13)])
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
                    f"power {power.get(name, float('nan')):.4f}", flush=True,
                )  # fmt: skip
            if rows in ALONE:
                for name, value in one_model(world, rows, chosen.pairs // 4).items():
                    alone[f"{name}, {world}, {rows} rows"] = value
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
    spent, unspent = reuse(chosen.pairs)
    add("reuse_false_promotion", spent, peer="alpha not spent", peer_value=unspent)
    if not chosen.skip_large:
        took = large()
        add("seconds_1m_rows", took["seconds"], 1, peak_gib=took["peak_gib"])
    for gate, cells in naive.items():
        cell, value = max(cells, key=lambda one: one[1])
        add("naive_false_promotion", value, peer=gate, cell=cell, cells=dict(cells))
    environment = {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()}
    missing = {"seconds_1m_rows": "left out by --skip-large"} if chosen.skip_large else {}
    print(json.dumps({
        "benchmark": "gate", "environment": environment, "results": results, "missing": missing,
        "cells": {"false_promotion": levels, "power": powers, "coverage": coverages, "coverage_of_one_model": alone},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
