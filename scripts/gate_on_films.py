"""The gate on real films: `make gate-on-films`, or python scripts/gate_on_films.py [--copies 10] [--epochs 3].

The champion is MiniLM fine-tuned on Conan; all are tested on Terminator. It meets a candidate trained on Conan and
Swordfish (better), one trained on shuffled labels (worse), and copies of itself that differ in the seed alone. Each is
judged by two policies: the default one (any gain of macro F1), and one that asks for a point more of accuracy. A copy
is another model, which may truly be better or worse on this film, so more of them than alpha may be promoted rightly.
Prints a line for each decision and one line of JSON last; exits 1 unless under both policies the first is promoted,
the second rejected, and no more copies are promoted than chance allows if all are equally good (95 %). Needs the films
(IMSDB_FOLDER). A run with --folder that was cut off goes on where it was when it is started again.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from films import CONAN, ROOT, SWORDFISH, TERMINATOR, read_film, write_rows

sys.path.insert(0, str(ROOT))
Rows = list[tuple[str, str]]


class Contest:
    """Trains and scores models, and compares them with the first one."""

    def __init__(self, folder: Path, test: Rows, labels: list[str], epochs: int) -> None:
        self._folder, self._labels, self._epochs = folder, labels, epochs
        write_rows(folder, "test", labels, test)

    def train(self, name: str, rows: Rows, seed: int = 0) -> None:
        """Fine-tune on nine tenths of the rows, keep the weights best on the rest, and score the test rows."""
        from kfp_bert_components.evaluation import evaluate
        from kfp_bert_components.training import TrainingSettings, finetune
        from tests.support.minilm import minilm_folder

        place = self._folder / name
        if (place / "evaluation" / "evaluation.json").exists():
            return
        write_rows(place, "train", self._labels, [row for i, row in enumerate(rows) if i % 10])
        write_rows(place, "validation", self._labels, rows[::10])
        settings = TrainingSettings(
            base_model=str(minilm_folder()),
            epochs=self._epochs,
            max_length=64,
            seed=seed,
            checkpoint_dir=str(place / "checkpoints"),
            checkpoint_minutes=1,
        )
        finetune(place / "train", place / "validation", place / "model", place / "training.html", settings)
        evaluate(
            place / "model",
            self._folder / "test",
            place / "evaluation",
            model_version=1 if name == "champion" else None,
        )

    def compare(self, name: str) -> dict[str, Any]:
        """By policy, the gate's decision between the model and the champion."""
        from kfp_bert_components.steps.compare_models import compare_models

        place, champion, found = self._folder / name, self._folder / "champion", {}
        for policy, rules in policies().items():
            pages = place / policy
            made = compare_models(
                place / "evaluation",
                champion / "evaluation",
                pages / "decision",
                pages / "comparison.html",
                pages / "summary.md",
                rules,
            )
            print(f"{name}, {policy}: {made.outcome}. {made.reason}", flush=True)
            kept = ("value", "low", "high", "p_value")
            found[policy] = {"outcome": made.outcome} | {key: made.difference[key] for key in kept}
        return {"name": name, "policies": found}


def policies() -> dict[str, Any]:
    """The policies by name."""
    from kfp_bert_components.gate import Policy

    return {"default": Policy(), "a point of accuracy": Policy(primary_metric="accuracy", min_improvement=0.01)}


def shuffled(rows: Rows) -> Rows:
    """The same texts with each other's labels."""
    labels = [label for _, label in rows]
    random.Random(0).shuffle(labels)
    return [(text, label) for (text, _), label in zip(rows, labels, strict=True)]


def main() -> int:
    """Hold the contests and say whether they ended as they should."""
    from scipy.stats import binom

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="keep models and reports here; those that are there are not trained again"
    )
    options = parser.parse_args()
    conan, swordfish, test = (read_film(name) for name in (CONAN, SWORDFISH, TERMINATOR))
    labels = sorted({label for _, label in conan + swordfish + test})
    with tempfile.TemporaryDirectory() as scratch:
        contest = Contest(options.folder or Path(scratch), test, labels, options.epochs)
        contest.train("champion", conan)
        contest.train("two films", conan + swordfish)
        better = contest.compare("two films")
        contest.train("shuffled labels", shuffled(conan + swordfish))
        worse = contest.compare("shuffled labels")
        copies = []
        for number in range(1, options.copies + 1):
            contest.train(f"copy {number}", conan, seed=number)
            copies.append(contest.compare(f"copy {number}"))
    allowed = int(binom.ppf(0.95, options.copies, 0.05))
    promoted = {policy: sum(outcome(one, policy) == "PROMOTE" for one in copies) for policy in policies()}
    print(
        json.dumps(
            {
                "rows": {"conan": len(conan), "swordfish": len(swordfish), "test": len(test)},
                "epochs": options.epochs,
                "better": better,
                "worse": worse,
                "copies": copies,
                "promoted_copies": promoted,
                "allowed_copies": allowed,
            }
        )
    )
    good = all(
        outcome(better, policy) == "PROMOTE" and outcome(worse, policy) == "REJECT" and count <= allowed
        for policy, count in promoted.items()
    )
    return int(not good)


def outcome(contest: dict[str, Any], policy: str) -> str:
    """The outcome of a contest under a policy."""
    return contest["policies"][policy]["outcome"]


if __name__ == "__main__":
    raise SystemExit(main())
