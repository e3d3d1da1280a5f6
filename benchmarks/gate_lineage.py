"""What alpha's budget promises where a test set changes from run to run: `make bench-gate_lineage`.

Equal candidates are judged by accuracy (exact McNemar test) on a test set that grows by a row, by 1 %, by 10 % or by
half a run, of which half is replaced each time, or all of it. `choose_lineages` chooses the rows of each decision, as
the registry lets it. Prints one JSON line last; about a minute of one core.

    --series N     simulated series of every kind (20000)
    --runs N       runs of a series (50)

A row is right or wrong for the champion, which all runs share. A candidate changes 4 % of all rows from right to wrong
and as many back, each row by itself; so the number of gains and losses in any rows is binomial, given how many of them
the champion has right. A better candidate gains more by what the first run shows 4 times in 5.
"""

import argparse
import json
import platform

import numpy as np
from scipy.stats import binom, norm

from kfp_bert_components.gate import choose_lineages, spend

ALPHA = 0.05
ROWS = 1000
RIGHT = 0.85  # accuracy of the champion
DIFFER = 0.08  # share of rows on which an equal candidate differs from it
POWER = 0.8
# How many rows join the test set in a run, given how many it has.
GROWTH = {
    "a row more": lambda rows: 1,
    "1 % more": lambda rows: round(0.01 * rows),
    "10 % more": lambda rows: round(0.1 * rows),
    "half as many more, to 200,000": lambda rows: round(0.5 * rows) if rows < 200_000 else 1,
}
KINDS = [*GROWTH, "half replaced", "replaced"]


def cohorts(kind, runs):
    """Rows that come and go together: how many are in each cohort; and for each run which cohorts its test set has."""
    if kind in GROWTH:
        sizes = [ROWS]
        for _ in range(runs - 1):
            sizes.append(GROWTH[kind](sum(sizes)))
        return np.array(sizes), [np.arange(run + 1) for run in range(runs)]
    parts = 2 if kind == "half replaced" else 1
    return np.full(runs + parts - 1, ROWS // parts), [np.arange(run, run + parts) for run in range(runs)]


def ours(sizes, sets):
    """For each run the cohorts that decide, what of alpha it spends, and its lineage: as the registry has it."""
    owners, numbers, found = np.zeros(len(sizes), int), {}, []
    for here in sets:
        chosen = rule(sizes[here], owners[here], numbers)
        lineage = chosen[0] if chosen else 1 + max(numbers, default=0)
        numbers[lineage] = numbers.get(lineage, 0) + 1
        owners[here[owners[here] == 0]] = lineage
        found.append((here[owners[here] == lineage], spend(numbers[lineage], ALPHA), lineage))
    return found


def rule(sizes, owners, numbers):
    """`choose_lineages` on a test set of so many rows of each owner; a row in ten is enough to choose by."""
    scale = max(1, sizes.sum() // 20_000)
    rows = np.repeat(owners, np.maximum(sizes // scale, 1))
    return choose_lineages(np.arange(len(rows))[:, None], rows[:, None], np.arange(len(rows)) % 2, numbers, ALPHA)


def one_budget(sizes, sets):
    """All rows decide, and alpha is spent once over all runs."""
    return [(here, spend(run, ALPHA), 1) for run, here in enumerate(sets, 1)]


def new_budgets(sizes, sets):
    """All rows decide, and each test set that is not equal to the byte has a new budget."""
    return [(here, spend(1, ALPHA), run) for run, here in enumerate(sets)]


def reserve(sizes, sets):
    """Fresh rows are kept aside until they alone, with a new budget, resolve more than those that have decided."""
    found, owners, number, lineage = [], np.zeros(len(sizes), int), 0, 0
    for here in sets:
        old, new = here[owners[here] == lineage], here[owners[here] == 0]
        if not lineage or resolvable(1, sizes[new].sum()) <= resolvable(number + 1, sizes[old].sum()):
            old, number, lineage = new, 0, lineage + 1
            owners[new] = lineage
        number += 1
        found.append((old, spend(number, ALPHA), lineage))
    return found


def slower(sizes, sets):
    """As `one_budget`, with shares of alpha in proportion to 1 / (k log(k + 1)^2), which fall more slowly."""
    numbers = np.arange(1, 1_000_001)
    shares = 1 / (numbers * np.log(numbers + 1) ** 2)
    total = shares.sum() + 1 / np.log(len(numbers))
    return [(here, ALPHA * shares[run] / total, 1) for run, here in enumerate(sets)]


def resolvable(number, rows):
    return (norm.isf(spend(number, ALPHA)) + norm.isf(1 - POWER)) / np.sqrt(rows) if rows else np.inf


SCHEMES = {
    "ours": ours,
    "one budget, never renewed": one_budget,
    "new budget at each change": new_budgets,
    "fresh rows kept aside": reserve,
    "alpha spent more slowly": slower,
}


def promotions(plan, sizes, right, gain, rng):
    """Whether each run promotes, by itself, a candidate that is better by `gain`, bool [series, runs]."""
    found = []
    for rows, alpha, _ in plan:
        good = right[:, rows].sum(1)
        bad = sizes[rows].sum() - good
        wins = rng.binomial(bad, (DIFFER + gain) / 2 / (1 - RIGHT))
        losses = rng.binomial(good, (DIFFER - gain) / 2 / RIGHT)
        found.append(binom.sf(wins - 1, wins + losses, 0.5) <= alpha)
    return np.stack(found, 1)


def measure(kind, scheme, series, runs):
    sizes, sets = cohorts(kind, runs)
    plan = SCHEMES[scheme](sizes, sets)
    rng = np.random.default_rng([len(kind), 7])
    right = rng.binomial(sizes, RIGHT, (series, len(sizes)))
    gain = (norm.isf(ALPHA / 2) + norm.isf(1 - POWER)) * np.sqrt(DIFFER / ROWS)
    lineages = np.array([lineage for _, _, lineage in plan])
    false = promotions(plan, sizes, right, 0, rng)
    by_lineage = [false[:, lineages == one].any(1).mean() for one in np.unique(lineages)]
    return {
        "false_in_a_lineage": float(max(by_lineage)),
        "false_in_the_series": float(false.any(1).mean()),
        "lineages": len(by_lineage),
        "power": promotions(plan, sizes, right, gain, rng).mean(0).round(4).tolist(),
        "power_of_a_third": promotions(plan, sizes, right, gain / 3, rng).mean(0).round(4).tolist(),
    }


def growing(series, runs=50):
    """The result of this benchmark, and what was seen by kind of test set and scheme."""
    cells = {(kind, scheme): measure(kind, scheme, series, runs) for kind in KINDS for scheme in SCHEMES}
    worst = max(KINDS, key=lambda kind: cells[kind, "ours"]["false_in_a_lineage"])
    result = {
        "name": "growing_test_set_false_promotion",
        "value": cells[worst, "ours"]["false_in_a_lineage"],
        "peer": "new budget at each change, in a series that grows",
        "peer_value": max(cells[kind, "new budget at each change"]["false_in_the_series"] for kind in GROWTH),
        "peer_version": None,
        "runs": series,
        "cell": worst,
        "allowed": float(ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / series)),
    }
    return result, cells


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--series", type=int, default=20_000)
    arguments.add_argument("--runs", type=int, default=50)
    chosen = arguments.parse_args()
    result, cells = growing(chosen.series, chosen.runs)
    for (kind, scheme), one in cells.items():
        shown = " ".join(f"{one['power'][run - 1]:.2f}" for run in (1, 2, 5, 10, 20, 50) if run <= chosen.runs)
        print(
            f"{kind:30}{scheme:28}false {one['false_in_a_lineage']:.4f} {one['false_in_the_series']:.4f}  lineages "
            f"{one['lineages']:3}  power {shown}  mean {np.mean(one['power']):.3f} "
            f"{np.mean(one['power_of_a_third']):.3f}"
        )
    environment = {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()}
    found = {f"{kind}, {scheme}": one for (kind, scheme), one in cells.items()}
    print(
        json.dumps(
            {
                "benchmark": "gate_lineage",
                "environment": environment,
                "results": [result],
                "missing": {},
                "cells": found,
            }
        )
    )


if __name__ == "__main__":
    main()
