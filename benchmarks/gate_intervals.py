"""Coverage of the 95 % intervals of one model's metrics, in more kinds of models than `make bench-gate` looks at.

    python benchmarks/gate_intervals.py [--models 600] [--rows 200 1000 5000]

Two or six classes, balanced or each rare one with 5 % of the rows; weak, middling and strong models with normal
noise, and models that know nothing about a tenth of the rows ("mixed"). Prints the cells that lie outside 93 to 97 %
and one JSON line last. An hour of one core.
"""

import argparse
import json
from collections import defaultdict

import numpy as np

from kfp_bert_components.evaluation.metrics import metrics_with_intervals

LABELS = "abcdef"
# Strength of the signal by number of classes.
STRENGTHS = {2: {"weak": 1.0, "mid": 2.3, "strong": 3.5}, 6: {"weak": 1.2, "mid": 2.6, "strong": 4.0}}
KINDS = [(classes, strength) for classes in STRENGTHS for strength in STRENGTHS[classes]] + [(2, "mixed")]


def shares(balance, classes):
    rare = 1 / classes if balance == "balanced" else 0.05
    return np.array([1 - rare * (classes - 1)] + [rare] * (classes - 1))


def model(rng, rows, balance, classes, strength):
    """True classes and probabilities."""
    truth = rng.choice(classes, rows, p=shares(balance, classes))
    if strength == "mixed":
        signal, seen = 2.0, np.where(rng.random(rows) < 0.9, 5 * truth - 2.5, 0)
    else:
        signal = STRENGTHS[classes][strength]
        seen = signal / 2 * (2 * truth - 1)
    if classes == 2:
        one = 1 / (1 + np.exp(-signal * (seen + rng.standard_normal(rows))))
        return truth, np.stack([1 - one, one], 1)
    logits = rng.standard_normal((rows, classes))
    logits[np.arange(rows), truth] += signal
    found = np.exp(signal * logits - (signal * logits).max(1, keepdims=True))
    return truth, found / found.sum(1, keepdims=True)


def true_values(balance, classes, strength):
    rng, found = np.random.default_rng(77), defaultdict(list)
    for _ in range(2):
        for name, one in metrics_with_intervals(*model(rng, 1_000_000, balance, classes, strength), LABELS).items():
            found[name].append(one["value"])
    return {name: float(np.mean(values)) for name, values in found.items()}


def coverage(truth_of, rows, models, balance, classes, strength):
    rng, covered = np.random.default_rng([rows, classes, len(balance), len(strength)]), defaultdict(list)
    for seed in range(models):
        for name, one in metrics_with_intervals(*model(rng, rows, balance, classes, strength), LABELS, seed).items():
            covered[name].append(one["low"] <= truth_of[name] <= one["high"])
    return {name: float(np.mean(found)) for name, found in covered.items()}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--models", type=int, default=600)
    arguments.add_argument("--rows", type=int, nargs="+", default=[200, 1000, 5000])
    chosen, cells = arguments.parse_args(), {}
    for balance in ("balanced", "rare"):
        for classes, strength in KINDS:
            truth_of = true_values(balance, classes, strength)
            for rows in chosen.rows:
                name = f"{balance}, {classes} classes, {strength}, {rows} rows"
                cells[name] = found = coverage(truth_of, rows, chosen.models, balance, classes, strength)
                outside = {metric: value for metric, value in found.items() if not 0.93 <= value <= 0.97}
                print(f"{name}: {outside}", flush=True)
    print(json.dumps({"benchmark": "gate_intervals", "models": chosen.models, "cells": cells}))


if __name__ == "__main__":
    main()
