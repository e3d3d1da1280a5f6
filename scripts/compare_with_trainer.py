"""Our fine-tuning against transformers' Trainer on real films: same rows, same hyperparameters, MiniLM.

    python scripts/compare_with_trainer.py [--seeds 1] [--precision float32] [--epochs 3]

Trains on Conan and Swordfish, tests on Terminator, and prints accuracy and macro F1 of both for each seed, then one
line of JSON. Exits 1 where our mean accuracy is more than 0.03 below the Trainer's. Needs the films (IMSDB_FOLDER)
and the peers' environment (`make peers`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

from films import CONAN, SWORDFISH, TERMINATOR, read_film, write_rows

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PEERS = Path(os.environ.get("KFP_BERT_PEERS", ROOT / ".peers")) / "bin" / "python"
SETTINGS = {"batch_size": 32, "max_length": 128, "learning_rate": 5e-5, "weight_decay": 0.01, "warmup": 0.1}


def main() -> int:
    """Train both with each seed and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    train = read_film(CONAN) + read_film(SWORDFISH)
    test = read_film(TERMINATOR)
    labels = sorted({label for _, label in train} | {label for _, label in test})
    found: dict[str, list[dict[str, float]]] = {"ours": [], "trainer": []}
    for seed in range(options.seeds):
        settings = SETTINGS | {"epochs": options.epochs, "seed": seed}
        bf16 = options.precision == "bfloat16"
        for name, predict in (("ours", ours), ("trainer", trainer)):
            predicted = predict(train, test, labels, settings | {"bf16": bf16, "precision": options.precision})
            found[name].append(scores([label for _, label in test], predicted))
            print(f"seed {seed} {name}: {found[name][-1]}", flush=True)
    means = {name: {k: round(mean(s[k] for s in runs), 4) for k in runs[0]} for name, runs in found.items()}
    print(json.dumps({"rows": len(train), "test_rows": len(test), "runs": found, "means": means}))
    return int(means["ours"]["accuracy"] < means["trainer"]["accuracy"] - 0.03)


def ours(train: list, test: list, labels: list[str], settings: dict) -> list[str]:
    """Labels that our bundle gives to the test texts, through its serving signature."""
    from kfp_bert_components.bert import read_bundle
    from kfp_bert_components.training import TrainingSettings, finetune
    from tests.support.minilm import minilm_folder

    settings = {name: value for name, value in settings.items() if name != "bf16"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # the Trainer has no validation rows: ours only look at some of the training rows, and keep the last weights
        for name, rows in (("train", train), ("validation", train[::10])):
            write_rows(folder, name, labels, rows)
        places = [folder / name for name in ("train", "validation", "model", "report.html")]
        finetune(*places, TrainingSettings(base_model=str(minilm_folder()), metric="loss", **settings))
        bundle = read_bundle(folder / "model")
        predicted = bundle.predict([text for text, _ in test]).argmax(axis=1)
        return [bundle.labels[i] for i in predicted]


def trainer(train: list, test: list, labels: list[str], settings: dict) -> list[str]:
    """Labels that transformers' Trainer predicts for the test texts."""
    from tests.support.minilm import minilm_folder

    def rows(part: list) -> list:
        return [(text, labels.index(label)) for text, label in part]

    job = {"base_model": str(minilm_folder()), "labels": labels, "settings": settings}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "job.json"
        path.write_text(json.dumps(job | {"train": rows(train), "test": rows(test)}))
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


if __name__ == "__main__":
    raise SystemExit(main())
