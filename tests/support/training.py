"""Small splits and a small pretrained network to train, and training in a process of its own.

Run as a script, `python -m tests.support.training FOLDER SETTINGS [KILL_AT SIGNAL]` trains on FOLDER/train,
writes FOLDER/model and FOLDER/report.html, and prints the metrics as the last line. With KILL_AT it sends itself
that signal after so many steps.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LABELS = ["animal", "colour", "number"]
WORDS = {
    "animal": ["cat", "dog", "horse", "bird"],
    "colour": ["red", "green", "blue", "white"],
    "number": ["one", "two", "three", "four"],
}
FILL = ["the", "a", "big", "very", "old", "is", "here", "now"]


def make_splits(folder: Path, rows: int = 96, pair: bool = False) -> Path:
    """Write FOLDER/train and FOLDER/validation: a row's label is the kind of one word among filling words."""
    import numpy as np
    import pyarrow as pa

    from tests.support.splits import write_split

    for name, count, seed in (("train", rows, 0), ("validation", rows // 2, 1)):
        rng = np.random.default_rng(seed)
        labels = [LABELS[i % 3] for i in range(count)]
        texts = [_text(rng, [str(rng.choice(WORDS[label]))]) for label in labels]
        columns: dict[str, Any] = {"id": [f"{name}{i}" for i in range(count)], "text": texts, "label": labels}
        if pair:  # the word is in the second text alone
            columns |= {"text_pair": texts, "text": [_text(rng, []) for _ in labels]}
        write_split(folder / name, name, LABELS, pa.table(columns))
    return folder


def make_base_model(folder: Path) -> Path:
    """Write a Hugging Face checkpoint of a tiny network, never trained."""
    from kfp_bert_components.bert import checkpoint, new_classifier

    texts = [" ".join([*FILL, *(word for words in WORDS.values() for word in words)])] * 4
    classifier = new_classifier(texts, LABELS, layers=2, width=32, heads=2, max_length=32)
    folder.mkdir(parents=True)
    checkpoint.save_weights(classifier.model, folder)
    classifier.tokenizer.save_pretrained(str(folder))
    return folder


def start(
    folder: Path, settings: dict[str, Any], *, kill: tuple[int, str] | None = None, worker: str = ""
) -> subprocess.Popen[str]:
    """Start training in a process of its own; `worker` is its TF_CONFIG."""
    command = [sys.executable, "-m", "tests.support.training", str(folder), json.dumps(settings)]
    environment = dict(os.environ, TF_CONFIG=worker, TF_CPP_MIN_LOG_LEVEL="2", PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.Popen(
        [*command, *(map(str, kill) if kill else ())],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


# The bundle.json of a model that a stand-in for a job leaves.
BUNDLE_JSON = b'{"format": 1, "labels": ["a", "b"], "pair": false, "fingerprint": "made by a job"}'


def finish(process: Any, timeout: float = 600) -> tuple[int, str]:
    """Exit code and output of a process."""
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise AssertionError(f"still running after {timeout} s:\n{output}") from None
    return process.returncode, output


def weights(folder: Path) -> dict[str, Any]:
    """The weights of the bundle in FOLDER/model."""
    from safetensors.numpy import load_file

    return load_file(folder / "model" / "huggingface" / "model.safetensors")


def _text(rng: Any, words: list[str]) -> str:
    words = [*words, *rng.choice(FILL, rng.integers(1, 9))]
    return " ".join(words[i] for i in rng.permutation(len(words)))


def _main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    from kfp_bert_components.training import TrainingSettings, finetune, trainer
    from kfp_bert_components.training.trial import Trial

    if settings.pop("fused", False):  # as a long run does
        trainer.FUSED_FROM = 0

    if len(sys.argv) > 3:
        at, number = int(sys.argv[3]), getattr(signal, sys.argv[4])
        train_step = Trial.train_step

        def step_and_die(trial: Trial) -> float:
            loss = train_step(trial)
            if len(trial.state.curve) == at:
                os.kill(os.getpid(), number)
            return loss

        Trial.train_step = step_and_die  # type: ignore[method-assign]
    arguments = [folder / name for name in ("train", "validation", "model", "report.html")]
    print(json.dumps(finetune(*arguments, TrainingSettings(**settings))))


if __name__ == "__main__":
    _main()
