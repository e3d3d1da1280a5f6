"""How often the data alarm is wrong where nothing changed, and what it sees: `make bench-data_alarm`.

Equal candidates come one by one and are promoted by the exact McNemar test at 5 %; the last one promoted is the
champion. Then come new rows of the same texts' population. Only chains with a promotion count. Prints one line a cell
and one JSON line last. About 5 minutes of one core.

    --chains N     champions in every cell (1000)
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kfp_bert_components.gate.alarm import ALPHA, by_text, find_alarm, not_recovered
from tests.support.champions import GATE_ALPHA, LABELS, World, shuffled

CELLS = {
    "200 rows, 200 new": (World(200, 200, 0.85, alike=0.3), 5),
    "200 rows, 3,000 new": (World(200, 3000, 0.85, alike=0.3), 5),
    "2,000 rows, 200 new": (World(2000, 200, 0.85, alike=0.3), 5),
    "1,000 rows, 1,000 new, accuracy 0.97": (World(1000, 1000, 0.97, alike=0.3), 5),
    "400 rows, 400 new, accuracy 0.5, models that share nothing": (World(400, 400, 0.5, alike=0.0), 5),
    "400 rows, 400 new, 20 candidates": (World(400, 400, 0.85, alike=0.3), 20),
    "a fifth of the rows are ten texts, 500 rows, 500 new": (World(500, 500, 0.8, repeated=0.2), 5),
    "1,000 rows, to which 100 come": (World(1000, 100, 0.85, growing=True), 5),
    "1,000 rows, to which 10 come": (World(1000, 10, 0.85, growing=True), 5),
}


def measure(world: World, candidates: int, chains: int) -> dict[str, float]:
    """Shares of `chains` champions."""
    rng, names = np.random.default_rng(0), ("alarm", "unallowed", "seen", "held", "wrongly_held")
    found = dict.fromkeys(names, 0)
    done = 0
    while done < chains:
        chain = world.chain(rng, candidates)
        if chain is None:
            continue
        done += 1
        then, now, last = chain
        bad = shuffled(rng, now, world.rows if world.growing else 0)
        found["alarm"] += bool(find_alarm(now, then, LABELS, GATE_ALPHA).sentence)
        found["unallowed"] += find_alarm(now, then, LABELS).p_fall <= ALPHA / 2
        alarm = asdict(find_alarm(bad, then, LABELS, GATE_ALPHA))
        found["seen"] += bool(alarm["sentence"])
        champion = replace(bad, alarm=alarm | {"sentence": "an alarm"}, promoted_on=by_text(then, LABELS))
        found["held"] += bool(not_recovered(replace(last, predictions=shuffled_like(last, bad)), champion))
        found["wrongly_held"] += bool(not_recovered(last, champion))
    return {name: value / chains for name, value in found.items()}


def shuffled_like(candidate, bad):
    """The candidate's answers beside the labels of `bad`."""
    table, labels = candidate.predictions, bad.predictions["label"]
    return table.set_column(table.column_names.index("label"), "label", labels)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chains", type=int, default=1000)
    chains = parser.parse_args().chains
    result = {}
    for name, (world, candidates) in CELLS.items():
        result[name] = measure(world, candidates, chains)
        print(name, result[name], flush=True)
    print(json.dumps({"chains": chains, "alpha": ALPHA, "cells": result}))


if __name__ == "__main__":
    main()
