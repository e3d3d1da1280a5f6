"""Seconds and peak GiB of metrics with intervals of two models, comparison and page; part of `make bench-gate`.

python benchmarks/gate_large.py ROWS CLASSES [METRIC]
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from kfp_bert_components.evaluation import write_evaluation
from kfp_bert_components.evaluation.measure import measure
from kfp_bert_components.evaluation.slices import find_slices
from kfp_bert_components.gate import Policy
from kfp_bert_components.steps.compare_models import compare_models


def main(rows, classes, metric="macro_f1"):
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
    seconds, processor = 0.0, 0.0
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name in ("candidate", "champion"):
            logits = common + 0.4 * rng.standard_normal((rows, classes), dtype=np.float32)
            logits[np.arange(rows), truth] += 2 if classes < 100 else 4  # accuracy 0.51 and 0.67
            np.exp(logits, out=logits)
            logits /= logits.sum(1, keepdims=True)
            start, used = time.perf_counter(), time.process_time()
            made = measure(
                split,
                logits,
                labels,
                slices=find_slices(split),
                test_fingerprint="t",
                model_fingerprint=name,
                model_version=1 if name == "champion" else None,
            )
            write_evaluation(made, place / name)
            seconds += time.perf_counter() - start
            processor += time.process_time() - used
            del logits, made
        del common, split
        start, used = time.perf_counter(), time.process_time()
        policy = Policy(
            primary_metric=metric,
            max_class_drop=0.01,
            max_slice_drop=0.01,
            max_negative_flips=0.2,
            max_calibration_rise=0.02,
        )
        paths = [place / name for name in ("candidate", "champion", "decision", "report.html", "summary.md")]
        compare_models(*paths, policy)
        seconds += time.perf_counter() - start
        processor += time.process_time() - used
        page = paths[3].stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    found = {"seconds": seconds, "processor_seconds": processor, "peak_gib": peak, "page_kib": page / 1024}
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
