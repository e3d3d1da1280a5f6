"""What a checkpoint costs the training that goes on while it is written.

    python benchmarks/checkpoints.py [--network bert-base|minilm] [--rows 8] [--tokens 64] [--seconds 300]

Trains a network of random weights, and in turn takes some steps without and some with a checkpoint being written to a
local folder. Prints one line of JSON last: by how much steps are slower while one is written (in percent; the median
over the rounds of the median step with over the median step without), by the clock on the wall and by the processor's
time of the whole process, which other work on the machine disturbs less; the pause for the copy; how long the writing
takes; how long training would stand still without the background; and the part of the time that all of it costs at
the default interval.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
NETWORKS = {"bert-base": {"layers": 12, "width": 768, "heads": 12}, "minilm": {"layers": 6, "width": 384, "heads": 12}}
STEPS = 6  # of each kind in a round, at least


def main() -> None:
    """Measure and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="bert-base")
    parser.add_argument("--rows", type=int, default=8, help="rows in a batch")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each row")
    parser.add_argument("--seconds", type=float, default=300, help="how long to measure, at least one round")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as folder:
        trainer, checkpoints, settings = _prepare(Path(folder), options)
        rounds = _measure(trainer, checkpoints, options.seconds)
        (path,) = Path(folder, "checkpoints").rglob("*.safetensors")
        gigabytes = path.stat().st_size / 1e9
    median = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    cost = (median["pause"] + (median["wall"] - 1) * median["writing"]) / (60 * settings.checkpoint_minutes)
    results = [
        {"name": "steps_slower_while_writing_percent", "value": 100 * median["wall"] - 100},
        {"name": "steps_slower_while_writing_by_processor_percent", "value": 100 * median["processor"] - 100},
        {"name": "pause_for_the_copy_seconds", "value": median["pause"]},
        {"name": "writing_seconds", "value": median["writing"]},
        {"name": "standing_still_without_background_seconds", "value": median["alone"]},
        {"name": "cost_at_default_interval_percent", "value": 100 * cost},
    ]
    environment = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "network": options.network,
        "checkpoint_gb": round(gigabytes, 3),
        "rows": options.rows,
        "tokens": options.tokens,
        "step_seconds": round(median["step"], 3),
        "load": os.getloadavg(),
    }
    for one in results:
        one |= {"value": round(one["value"], 3), "peer": "", "runs": len(rounds)}
    print(json.dumps({"benchmark": "checkpoints", "environment": environment, "results": results, "missing": {}}))


def _prepare(folder: Path, options: argparse.Namespace) -> tuple:
    import numpy as np
    import pyarrow as pa

    from kfp_bert_components.data.splits import read_split
    from kfp_bert_components.training import TrainingSettings
    from kfp_bert_components.training.checkpoints import Checkpoints
    from kfp_bert_components.training.distribution import open_distribution
    from kfp_bert_components.training.rows import read_data
    from kfp_bert_components.training.start import make_classifier
    from kfp_bert_components.training.trainer import make_trainer
    from tests.support.splits import write_split

    words, rng = [f"w{i}" for i in range(2000)], np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, options.tokens)) for _ in range(512)]
    table = pa.table({"id": [str(i) for i in range(512)], "text": texts, "label": ["a", "b"] * 256})
    splits = []
    for name in ("train", "validation"):
        write_split(folder / name, name, ["a", "b"], table)
        splits.append(read_split(folder / name))
    settings = TrainingSettings(
        batch_size=options.rows, max_length=options.tokens, epochs=1, learning_rate=1e-5, **NETWORKS[options.network]
    )
    classifier = make_classifier(settings.network, splits[0], seed=0)
    data = read_data(classifier, *splits, max_length=options.tokens, truncation="head", weighting="none")
    schedule = settings.schedule(len(data.train))
    trainer = make_trainer(classifier, data, schedule, settings.optimizer, open_distribution(), 0)
    checkpoints = Checkpoints(str(folder / "checkpoints"), {}, "benchmark", minutes=5, steps=0)
    return trainer, checkpoints, settings


def _measure(trainer: object, checkpoints: object, seconds: float) -> list[dict[str, float]]:
    from kfp_bert_components.training.state import RunState
    from kfp_bert_components.training.trainer import values_of

    state, count = RunState(), 0

    def step() -> tuple[float, float]:
        nonlocal count
        started = time.perf_counter(), time.process_time()
        trainer.train_step(count % trainer.schedule.steps)
        count += 1
        return time.perf_counter() - started[0], time.process_time() - started[1]

    def save() -> float:
        state.step += 1
        started = time.perf_counter()
        checkpoints.save(state, values_of(trainer.weights), values_of(trainer.moments))
        return time.perf_counter() - started

    for _ in range(3):
        step()
    rounds, began = [], time.monotonic()
    while not rounds or time.monotonic() - began < seconds:
        before = [step() for _ in range(STEPS // 2)]
        started, pause, during = time.perf_counter(), save(), []
        while checkpoints.writing:
            during.append(step())
        writing = time.perf_counter() - started
        if len(during) > 1:
            during.pop()  # in which the writing ended
        without = _medians(before + [step() for _ in range(STEPS // 2)])
        started = time.perf_counter()
        save()
        checkpoints.wait()
        alone = time.perf_counter() - started
        wall, processor = (one / other for one, other in zip(_medians(during), without, strict=True))
        rounds.append(
            {
                "step": without[0],
                "wall": wall,
                "processor": processor,
                "pause": pause,
                "writing": writing,
                "alone": alone,
            }
        )
        print(rounds[-1], len(during), flush=True)
    return rounds


def _medians(steps: list[tuple[float, float]]) -> list[float]:
    return [statistics.median(values) for values in zip(*steps, strict=True)]


if __name__ == "__main__":
    main()
