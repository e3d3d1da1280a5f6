"""What training and evaluation say that they need, against what they took.

    python benchmarks/memory.py [--network minilm bert-base] [--shape 8x32 32x128 16x256] [--fused]

For each network and shape (rows in a batch x tokens) a process trains two steps, writes the bundle, and ends; another
one evaluates the bundle on texts of that length. The peak is the process's largest resident set; the estimate is the
line that the step itself prints. Prints a table, and one line of JSON last: a value is the estimate over the peak.
MiniLM starts from its checkpoint; BERT-base has random weights and a vocabulary learned from the texts. With --fused,
training uses `bert.fused`, as a run of 500 batches and more does on a CPU.
"""

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
NETWORKS: dict[str, dict] = {"minilm": {}, "bert-base": {"layers": 12, "width": 768, "heads": 12}}
SHAPES = ("8x32", "32x128", "16x256")
STEPS = 2


def main() -> None:
    """Measure and print the result; called with --one it is the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--shape", nargs="+", default=SHAPES)
    parser.add_argument("--fused", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _run(options.one[0], Path(options.one[1]), options)
        return
    results = []
    print(f"{'network':10} {'shape':8} {'step':9} {'expected':>8} {'peak':>8}  GB", flush=True)
    for network in options.network:
        for shape in options.shape:
            for step, expected, peak in _measure(network, shape, options.fused):
                print(
                    f"{network:10} {shape:8} {step:9} {expected:8.2f} {peak:8.2f}  {expected / peak:.2f}",
                    flush=True,
                )
                results.append(
                    {
                        "name": f"{step}_{network}_{shape}",
                        "value": round(expected / peak, 3),
                        "expected_gb": expected,
                        "peak_gb": round(peak, 2),
                        "peer": "",
                        "runs": 1,
                    }
                )
    environment = {"python": platform.python_version(), "cpus": os.cpu_count(), "fused": options.fused}
    print(json.dumps({"benchmark": "memory", "environment": environment, "results": results, "missing": {}}))


def _measure(network: str, shape: str, fused: bool) -> list[tuple[str, float, float]]:
    """Step, GB that it expected, and GB that it took."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for step in ("training", "scoring"):
            command = [sys.executable, __file__, "--one", step, folder, "--network", network, "--shape", shape]
            command += ["--fused"] * fused
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            expected = re.search(r"^Memory: about ([\d.]+) GB", result.stdout, re.MULTILINE)
            peak = re.search(r"^peak (\d+)$", result.stdout, re.MULTILINE)
            if not expected or not peak:
                raise SystemExit(result.stdout)
            found.append((step, float(expected[1]), int(peak[1]) / 1e9))
    return found


def _run(step: str, folder: Path, options: argparse.Namespace) -> None:
    rows, tokens = map(int, options.shape[0].split("x"))
    if step == "training":
        from kfp_bert_components.steps.finetune_bert import finetune_bert
        from kfp_bert_components.training import TrainingSettings
        from tests.support.minilm import minilm_folder

        _write_splits(folder, rows, tokens)
        outputs = [folder / name for name in ("train", "validation", "model", "report.html")]
        settings = TrainingSettings(
            base_model=str(minilm_folder()) if options.network == ["minilm"] else "",
            **NETWORKS[options.network[0]],
            batch_size=rows,
            max_length=tokens,
            epochs=1,
            checkpoint_dir=str(folder / "checkpoints"),
        )
        if options.fused:
            from kfp_bert_components.training import trainer

            trainer.FUSED_FROM = 0
        finetune_bert(*outputs, settings)
    else:
        from kfp_bert_components.steps.evaluate_model import evaluate_model

        evaluate_model(folder / "model", folder / "train", folder / "evaluation", folder / "page.html")
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _write_splits(folder: Path, rows: int, tokens: int) -> None:
    """Train and validation splits whose rows have as many words as tokens; all of their words are in BERT's list."""
    import numpy as np
    import pyarrow as pa

    from tests.support.minilm import minilm_folder
    from tests.support.splits import write_split

    words = [
        word for word in (minilm_folder() / "vocab.txt").read_text().split("\n") if word.isalpha() and word.isascii()
    ]
    rng = np.random.default_rng(0)
    for name, count in (("train", rows * STEPS), ("validation", rows)):
        texts = [" ".join(rng.choice(words, tokens)) for _ in range(count)]
        labels = (["a", "b"] * count)[:count]
        table = pa.table({"id": [str(i) for i in range(count)], "text": texts, "label": labels})
        write_split(folder / name, name, ["a", "b"], table)


if __name__ == "__main__":
    main()
