"""Training against transformers' Trainer: same rows, batch size, length limit and threads.

    python benchmarks/training.py [--rows 1024] [--runs 5] [--only RESULT ...]

Runs one epoch of each in turn, in processes that stay, and prints one line of JSON last. A value is the median over
the interleaved pairs of our examples/s over the Trainer's: higher is better. Ours trains as in a run that is long
enough for `bert.fused`; what is compiled in the first epoch is not timed, on either side. The pair on a GPU needs one
that both TensorFlow and torch see. Data: the films (IMSDB_FOLDER).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
PEERS = Path(os.environ.get("KFP_BERT_PEERS", ROOT / ".peers")) / "bin" / "python"
SETTINGS = {
    "batch_size": 32,
    "max_length": 128,
    "epochs": 1,
    "learning_rate": 5e-5,
    "weight_decay": 0.01,
    "warmup": 0.1,
    "seed": 0,
}
PRECISIONS = ("float32", "bfloat16")
# result name: precisions of ours, of which the fastest one counts, and the Trainer's variant
PAIRS = {
    "cpu_fp32_vs_trainer_default": (("float32",), "default"),
    "cpu_fp32_vs_trainer_grouped": (("float32",), "grouped"),
    "cpu_best_vs_trainer_best": (PRECISIONS, "best"),
    "cpu_fp32_vs_trainer_padded_to_limit": (("float32",), "padded"),
    "gpu_best_vs_trainer_best": (PRECISIONS, "compiled"),
}


def main() -> None:
    """Time all pairs and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PAIRS, default=list(PAIRS), help="results to measure")
    options = parser.parse_args()
    results, missing, greetings = [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps(_job(options.rows)))
        for device in ("cpu", "gpu"):
            names = [name for name in options.only if name.startswith(device)]
            if not names:
                continue
            ours = Child([sys.executable, __file__, "--ours", str(job)], device)
            theirs = Child([str(PEERS), str(ROOT / "benchmarks" / "training_peer.py"), "time", str(job)], device)
            greetings[device] = {"ours": ours.greeting, "trainer": theirs.greeting}
            blind = [child.greeting for child in (ours, theirs) if device == "gpu" and "no GPU" in child.greeting]
            for name in names:
                if blind:
                    missing[name] = "; ".join(blind)
                else:
                    results.append(_compare(name, ours, theirs, options))
            ours.close(), theirs.close()
    environment = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        **greetings,
        "rows": options.rows,
        **SETTINGS,
    }
    print(json.dumps({"benchmark": "training", "environment": environment, "results": results, "missing": missing}))


class Child:
    """A process that times one epoch of a variant at a time; on "cpu" it sees no GPU."""

    def __init__(self, command: list[str], device: str) -> None:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
        if device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.greeting = self._line()
        self._warm: set[str] = set()

    def seconds(self, variant: str) -> float:
        """Of one epoch; the first one of a variant is not counted."""
        for _ in range(1 if variant in self._warm else 2):
            self._process.stdin.write(variant + "\n")
            self._process.stdin.flush()
            value = float(self._line())
        self._warm.add(variant)
        return value

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        for line in self._process.stdout:
            text = line.strip()
            if text.startswith(("torch ", "tensorflow ")) or text.replace(".", "").replace("e-", "").isdigit():
                return text
        raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")


def _compare(name: str, ours: Child, theirs: Child, options: argparse.Namespace) -> dict:
    precisions, peer = PAIRS[name]
    mine = min(precisions, key=ours.seconds) if len(precisions) > 1 else precisions[0]
    pairs = []
    for _ in range(options.runs):
        pairs.append((ours.seconds(mine), theirs.seconds(peer)))
        print(f"{name}: ours {pairs[-1][0]:.2f} s, Trainer {pairs[-1][1]:.2f} s", file=sys.stderr, flush=True)
    value = statistics.median(b / a for a, b in pairs)
    return {
        "name": name,
        "value": round(value, 3),
        "ours": mine,
        "peer": f"transformers Trainer, {peer}",
        "peer_version": theirs.greeting,
        "runs": options.runs,
        "our_examples_per_second": round(options.rows / statistics.median(a for a, _ in pairs), 1),
        "peer_examples_per_second": round(options.rows / statistics.median(b for _, b in pairs), 1),
    }


def _job(rows: int) -> dict:
    import random

    from films import read_film

    from tests.support.minilm import minilm_folder

    lines = read_film("51_conan_the_barbarian.csv") + read_film("230_Swordfish.csv")
    sample = random.Random(0).sample(lines, rows)
    labels = sorted({label for _, label in sample})
    train = [(text, labels.index(label)) for text, label in sample]
    return {"base_model": str(minilm_folder()), "labels": labels, "train": train, "settings": SETTINGS}


def _ours(job: dict) -> None:
    """Our side: one epoch for each line on stdin, through the loop that `finetune` runs."""
    import tensorflow as tf
    from ours_for_benchmarks import Epochs

    threads = len(os.sched_getaffinity(0))
    found = tf.config.list_physical_devices("GPU")
    gpu = tf.config.experimental.get_device_details(found[0]).get("device_name", "a GPU") if found else "no GPU"
    print(f"tensorflow {tf.__version__}, {threads} threads, {gpu}", flush=True)
    variants: dict[str, Epochs] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in variants:
            variants[name] = Epochs(job, precision=name)
        start = time.perf_counter()
        variants[name].run()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        _ours(json.loads(Path(sys.argv[2]).read_text()))
    else:
        main()
