"""Seconds and peak GiB of metrics with intervals of two models, comparison and page; part of `make bench-gate`."""

import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from kfp_bert_components.evaluation.records import Evaluation, write_evaluation
from kfp_bert_components.evaluation.score import _measured, _predictions
from kfp_bert_components.evaluation.slices import find_slices
from kfp_bert_components.gate import Policy, compare


def main(rows=1_000_000, classes=20):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, rows)
    common = rng.standard_normal((rows, classes), dtype=np.float32)
    labels = [f"class {i}" for i in range(classes)]
    split = pa.table(
        {
            "id": [f"{i:016x}" for i in rng.permutation(rows)],
            "text": ["some words"] * (rows // 2) + ["one"] * (rows // 2),
            "label": pa.array(labels).take(pa.array(truth)),
        }
    )
    seconds = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name in ("candidate", "champion"):
            logits = common + 0.4 * rng.standard_normal((rows, classes), dtype=np.float32)
            logits[np.arange(rows), truth] += 2
            np.exp(logits, out=logits)
            logits /= logits.sum(1, keepdims=True)
            start = time.perf_counter()
            members = find_slices(split)
            draft = Evaluation(
                labels=labels,
                test_fingerprint="t",
                model_fingerprint=name,
                predictions=_predictions(split, logits, members),
                slices=list(members),
                model_version=1 if name == "champion" else None,
            )
            write_evaluation(_measured(draft), place / name)
            seconds += time.perf_counter() - start
            del logits, draft
        del common, split
        start = time.perf_counter()
        policy = Policy(max_class_drop=0.01, max_slice_drop=0.01, max_negative_flips=0.2, max_calibration_rise=0.02)
        compare(place / "candidate", place / "champion", place / "d", place / "r.html", place / "s.md", policy)
        seconds += time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps({"seconds": seconds, "peak_gib": peak}))


if __name__ == "__main__":
    main()
