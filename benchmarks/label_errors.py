"""Flipped labels found by `label_check_rows`, beside cleanlab: `make bench-label_errors`. The last line is JSON.

The bundled sample and two films (IMSDB_FOLDER), with 5 % of their labels flipped to others at random, and as they are.
Each is checked from scratch (n-grams alone) and from MiniLM. Precision is the share of the list, and of its first 50
rows, that was flipped, recall the share of the flipped labels that is in the list; where nothing was flipped, `listed`
counts false alarms and the wrong labels that the data has of its own. The peers are cleanlab's filter
`confident_learning`, its default (`prune_by_noise_rate`), and `both` on our probabilities, and all of cleanlab
(CleanLearning) on our features.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
FLIPPED = 0.05


def read_rows(name: str) -> tuple[list[str], list[str]]:
    """Texts and labels."""
    from films import CONAN, SWORDFISH, read_film

    from kfp_bert_components.local.quickstart import SAMPLE

    if name == "films":
        rows = read_film(CONAN) + read_film(SWORDFISH)
    else:
        with SAMPLE.open(encoding="utf-8", newline="") as file:
            rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    texts, labels = zip(*rows, strict=True)
    return list(texts), list(labels)


def flip(labels: list[str], share: float, seed: int) -> tuple[list[str], np.ndarray]:
    """The labels, some of them changed to another one, and which were."""
    rng, names = np.random.default_rng(seed), sorted(set(labels))
    flipped = rng.random(len(labels)) < share
    steps = rng.integers(1, len(names), len(labels))
    pairs = zip(labels, flipped.tolist(), steps.tolist(), strict=True)
    return [names[(names.index(one) + step) % len(names)] if flag else one for one, flag, step in pairs], flipped


def scores(listed: np.ndarray, flipped: np.ndarray) -> dict[str, Any]:
    """Length of a list of rows; its precision and recall where labels were flipped."""
    found = {"listed": len(listed)}
    if flipped.any():
        right = int(flipped[listed].sum())
        found |= {"precision": round(right / max(len(listed), 1), 3), "recall": round(right / int(flipped.sum()), 3)}
        found |= {"precision_of_first_50": round(float(flipped[listed[:50]].mean()), 3)}
    return found


def peers(python: Path, folder: Path, check: Any, flipped: np.ndarray) -> dict[str, Any]:
    """What cleanlab lists."""
    path = folder / "rows.npz"
    np.savez(path, codes=check.codes, probabilities=check.probabilities, features=check.features)
    script = ROOT / "benchmarks" / "label_errors_peer.py"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, script, path], check=True, text=True, stdout=subprocess.PIPE, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"  cleanlab {found['version']}")
    return {
        name: scores(check.rows[np.array(rows, int)], flipped) for name, rows in found.items() if name != "version"
    } | {"version": found["version"]}


def main() -> None:
    """Check each set of rows, and print the results."""
    from kfp_bert_components.data.splits import Split
    from kfp_bert_components.training import TrainingSettings
    from kfp_bert_components.training.label_errors import confident_errors, fold_evidence
    from tests.support.minilm import minilm_folder

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", choices=["sample", "films"], default=["sample", "films"])
    parser.add_argument("--starts", nargs="+", choices=["scratch", "minilm"], default=["scratch", "minilm"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    python = Path(os.environ.get("KFP_BERT_PEERS", ROOT / ".peers")) / "bin" / "python"
    results, missing = [], {}
    for data in options.data:
        texts, labels = read_rows(data)
        for share in (FLIPPED, 0.0):
            given, flipped = flip(labels, share, options.seed)
            table = pa.table({"text": texts, "label": given})
            split = Split("train", sorted(set(labels)), "", False, table)
            for start in options.starts:
                base_model = str(minilm_folder()) if start == "minilm" else ""
                settings = TrainingSettings(base_model=base_model, label_check_rows=len(texts))
                began, cpu = time.perf_counter(), time.process_time()
                check = fold_evidence(split, settings)
                listed = check.rows[confident_errors(check.probabilities, check.codes)]
                seconds = {
                    "seconds": round(time.perf_counter() - began, 1),
                    "cpu_seconds": round(time.process_time() - cpu, 1),
                }
                name = f"{data}_{start}_{share:.0%}_flipped"
                result = {"name": name, "rows": len(texts), "flipped": int(flipped.sum())}
                result |= scores(listed, flipped) | seconds
                print(name, result, flush=True)
                if python.exists():
                    with tempfile.TemporaryDirectory() as folder:
                        result["cleanlab"] = peers(python, Path(folder), check, flipped)
                        print(" ", result["cleanlab"], flush=True)
                else:
                    missing[name] = f"cleanlab: no peers at {python.parent.parent} (make peers)"
                results.append(result)
    environment = {"cpus": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "label_errors", "environment": environment, "results": results, "missing": missing}))


if __name__ == "__main__":
    main()
