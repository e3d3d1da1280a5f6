"""The main pipeline against transformers' Trainer on real films: same hyperparameters, MiniLM.

    python scripts/compare_with_trainer.py [--seeds 0 1 2 3 4] [--epochs 3] [--systems NAME ...] [--folder FOLDER]

Both train on Conan and Swordfish and are tested on Terminator as it is, every row as often as it occurs. The Trainer
trains on all rows. Ours gets the folder of films and parameters that the main pipeline has: `prepare_text_data` makes
the splits, validation rows among them, `finetune_bert` trains and `evaluate_model` scores. The figures are counted from
the raw file (film_figure.py), and those of the evaluation's page stand beside them.

Prints the figures of each run, then one line of JSON. Exits 1 where a page's figure differs from the film's by more
than 0.01, where our mean accuracy is more than 0.01 below the Trainer's, or where our macro F1 is lower by more than
chance explains (the 95 % interval of the difference of the means, Welch's, lies below 0). FOLDER keeps the figures of
each run and checkpoints of ours, so that runs can be made one by one and go on where they were cut off. Needs the films
(IMSDB_FOLDER) and the peers' environment (`make peers`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from film_figure import MOST, differs, film_figure, scores
from films import CONAN, FILMS, SWORDFISH, TERMINATOR, read_film

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PEERS = Path(os.environ.get("KFP_BERT_PEERS", ROOT / ".peers")) / "bin" / "python"
SETTINGS = {"batch_size": 32, "max_length": 128, "learning_rate": 5e-5, "weight_decay": 0.01, "warmup": 0.1}
SYSTEMS = ("trainer", "ours_float32", "ours_bfloat16")


def main() -> int:
    """Train each system with each seed and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {system: [] for system in options.systems}
    for seed in options.seeds:
        for system in options.systems:
            name = f"{system}-{seed}-{options.epochs}"
            found[system].append(kept(options.folder, name, run, system, options.epochs, seed))
            print(f"seed {seed} {system}: {found[system][-1]}", flush=True)
    summary = {system: summarise(runs) for system, runs in found.items()}
    print(json.dumps({"epochs": options.epochs, "runs": found, "summary": summary}))
    others = {system: runs for system, runs in found.items() if system != "trainer"}
    untrue = any(differs(one) for runs in others.values() for one in runs)
    return int(untrue or any(worse(runs, found.get("trainer", [])) for runs in others.values()))


def kept(folder: Path | None, name: str, make: Callable, *arguments: Any) -> dict[str, float]:
    """The figures that `make` gives, from the folder where they are there."""
    path = folder / f"{name}.json" if folder else None
    if path and path.exists():
        return json.loads(path.read_text())
    made = make(folder, *arguments)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made))
    return made


def run(folder: Path | None, system: str, epochs: int, seed: int) -> dict[str, float]:
    """Train a system once; its figures on the test film."""
    if system == "trainer":
        return trainer(SETTINGS | {"epochs": epochs, "seed": seed})
    more: dict[str, Any] = {"precision": system.removeprefix("ours_")}
    if folder:
        more |= {"checkpoint_dir": str(folder / "checkpoints"), "checkpoint_minutes": 1}
    return ours(epochs, seed, **more)


def ours(epochs: int, seed: int, **more: Any) -> dict[str, float]:
    """Figures of our model, by parameters of the main pipeline; all others are its defaults."""
    from kfp_bert_components.data.settings import PrepareSettings
    from kfp_bert_components.steps.evaluate_model import evaluate_model
    from kfp_bert_components.steps.finetune_bert import finetune_bert
    from kfp_bert_components.steps.prepare_text_data import prepare_text_data
    from kfp_bert_components.training import TrainingSettings
    from tests.support.minilm import minilm_folder

    data = PrepareSettings(text_column="#1", label_column="#2", split_by="file", test_values=[TERMINATOR])
    training = TrainingSettings(base_model=str(minilm_folder()), epochs=epochs, seed=seed, **more)
    with tempfile.TemporaryDirectory() as scratch:
        names = ("train", "validation", "test", "model", "evaluation", "page.html")
        train, validation, test, model, evaluation, page = (Path(scratch) / name for name in names)
        prepare_text_data(FILMS, train, validation, test, page, data)
        finetune_bert(train, validation, model, page, training)
        evaluate_model(model, test, evaluation, page)
        return film_figure(evaluation, FILMS / TERMINATOR)


def trainer(settings: dict[str, Any]) -> dict[str, float]:
    """Figures of the model that transformers' Trainer makes of all rows."""
    from tests.support.minilm import minilm_folder

    rows = {"train": read_film(CONAN) + read_film(SWORDFISH), "test": read_film(TERMINATOR)}
    labels = sorted({label for part in rows.values() for _, label in part})
    numbered = {part: [(text, labels.index(label)) for text, label in lines] for part, lines in rows.items()}
    job = {"base_model": str(minilm_folder()), "labels": labels, "settings": settings, **numbered}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "job.json"
        path.write_text(json.dumps(job))
        script = ROOT / "benchmarks" / "training_peer.py"
        command = [str(PEERS), str(script), "train", str(path)]
        output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    said = [labels[i] for i in json.loads(output.splitlines()[-1])]
    return {"rows": len(said), **scores([label for _, label in rows["test"]], said)}


def summarise(runs: list[dict[str, float]]) -> dict[str, float]:
    """Mean and spread (standard deviation) over the seeds."""
    return {
        f"{name}_{kind}": round(measure([run[name] for run in runs]), 4)
        for name in runs[0]
        for kind, measure in (("mean", mean), ("spread", lambda values: stdev(values) if len(values) > 1 else 0.0))
    }


def worse(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> bool:
    """Whether our runs are worse than the Trainer's; not where there are fewer than two of a side."""
    from scipy.stats import ttest_ind

    if min(len(ours), len(theirs)) < 2:
        return False
    accuracies, f1s = ([[one[name] for one in side] for side in (ours, theirs)] for name in ("accuracy", "macro_f1"))
    difference = ttest_ind(*f1s, equal_var=False).confidence_interval(0.95)
    return mean(accuracies[0]) < mean(accuracies[1]) - MOST or bool(difference.high < 0)


if __name__ == "__main__":
    raise SystemExit(main())
