"""Our fine-tuning against transformers' Trainer on real films: same rows, same hyperparameters, MiniLM.

    python scripts/compare_with_trainer.py [--seeds 0 1 2] [--epochs 3] [--systems NAME ...] [--folder FOLDER]

Trains on Conan and Swordfish and tests on Terminator, with each system and seed; prints accuracy and macro F1 of
each run, then one line of JSON. Exits 1 where the mean macro F1 of ours is lower than the Trainer's by more than the
Trainer's own spread over seeds (standard deviation). FOLDER keeps the predictions of each run and checkpoints of
ours, so that runs can be made one by one and go on where they were cut off. Needs the films (IMSDB_FOLDER) and the
peers' environment (`make peers`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

from films import CONAN, SWORDFISH, TERMINATOR, read_film, write_rows

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PEERS = Path(os.environ.get("KFP_BERT_PEERS", ROOT / ".peers")) / "bin" / "python"
SETTINGS = {"batch_size": 32, "max_length": 128, "learning_rate": 5e-5, "weight_decay": 0.01, "warmup": 0.1}
SYSTEMS = ("trainer", "ours_float32", "ours_bfloat16")


def main() -> int:
    """Train each system with each seed and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    rows = {"train": read_film(CONAN) + read_film(SWORDFISH), "test": read_film(TERMINATOR)}
    labels = sorted({label for part in rows.values() for _, label in part})
    found: dict[str, list[dict[str, float]]] = {system: [] for system in options.systems}
    for seed in options.seeds:
        for system in options.systems:
            settings = SETTINGS | {"epochs": options.epochs, "seed": seed}
            if options.folder and system != "trainer":
                settings |= {"checkpoint_dir": str(options.folder / "checkpoints"), "checkpoint_minutes": 1}
            name = f"{system}-{seed}-{options.epochs}"
            predicted = kept(options.folder, name, predict, system, rows, labels, settings)
            found[system].append(scores([label for _, label in rows["test"]], predicted))
            print(f"seed {seed} {system}: {found[system][-1]}", flush=True)
    summary = {system: summarise(runs) for system, runs in found.items()}
    sizes = {f"{part}_rows": len(lines) for part, lines in rows.items()}
    print(json.dumps({**sizes, "epochs": options.epochs, "runs": found, "summary": summary}))
    return int(any(worse_than_trainer(summary, system) for system in options.systems))


def kept(folder: Path | None, name: str, make, *arguments) -> list[str]:
    """The list that `make` gives, from the folder where it is there."""
    path = folder / f"{name}.json" if folder else None
    if path and path.exists():
        return json.loads(path.read_text())
    made = make(*arguments)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made))
    return made


def predict(system: str, rows: dict[str, list], labels: list[str], settings: dict) -> list[str]:
    """Labels that a system gives to the test texts after training."""
    if system == "trainer":
        return trainer(rows, labels, settings)
    return ours(rows, labels, settings | {"precision": system.removeprefix("ours_")})


def ours(rows: dict[str, list], labels: list[str], settings: dict) -> list[str]:
    """Labels that our bundle gives to the test texts, through its serving signature."""
    from kfp_bert_components.bert import read_bundle
    from kfp_bert_components.training import TrainingSettings, finetune
    from tests.support.minilm import minilm_folder

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # the Trainer has no validation rows: ours only look at some of the training rows, and keep the last weights
        for name, part in (("train", rows["train"]), ("validation", rows["train"][::10])):
            write_rows(folder, name, labels, part)
        places = [folder / name for name in ("train", "validation", "model", "report.html")]
        finetune(*places, TrainingSettings(base_model=str(minilm_folder()), metric="loss", **settings))
        bundle = read_bundle(folder / "model")
        predicted = bundle.predict([text for text, _ in rows["test"]]).argmax(axis=1)
        return [bundle.labels[i] for i in predicted]


def trainer(rows: dict[str, list], labels: list[str], settings: dict) -> list[str]:
    """Labels that transformers' Trainer predicts for the test texts."""
    from tests.support.minilm import minilm_folder

    numbered = {part: [(text, labels.index(label)) for text, label in lines] for part, lines in rows.items()}
    job = {"base_model": str(minilm_folder()), "labels": labels, "settings": settings, **numbered}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "job.json"
        path.write_text(json.dumps(job))
        script = ROOT / "benchmarks" / "training_peer.py"
        command = [str(PEERS), str(script), "train", str(path)]
        output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    return [labels[i] for i in json.loads(output.splitlines()[-1])]


def scores(labels: list[str], predicted: list[str]) -> dict[str, float]:
    """Accuracy and macro F1 over the labels that occur."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": round(float(accuracy_score(labels, predicted)), 4),
        "macro_f1": round(float(f1_score(labels, predicted, average="macro")), 4),
    }


def summarise(runs: list[dict[str, float]]) -> dict[str, float]:
    """Mean and spread (standard deviation) over the seeds."""
    return {
        f"{name}_{kind}": round(measure([run[name] for run in runs]), 4)
        for name in runs[0]
        for kind, measure in (("mean", mean), ("spread", lambda values: stdev(values) if len(values) > 1 else 0.0))
    }


def worse_than_trainer(summary: dict[str, dict[str, float]], system: str) -> bool:
    """Whether a system's mean macro F1 is below the Trainer's by more than that one's spread."""
    if "trainer" not in summary:
        return False
    theirs = summary["trainer"]
    return summary[system]["macro_f1_mean"] < theirs["macro_f1_mean"] - theirs["macro_f1_spread"]


if __name__ == "__main__":
    raise SystemExit(main())
