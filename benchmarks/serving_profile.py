"""Where the served graph spends its time: `.venv/bin/python benchmarks/serving_profile.py [--batch 32]`.

Answers film lines by `serving_default` of a MiniLM bundle and prints the time of each kind of operation, as
TensorFlow's tracer has it, beside the time of a call. Operations can run side by side.
"""

import argparse
import collections
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1, help="lines in a call")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import tensorflow as tf

    from benchmarks.serving import film_lines, written
    from kfp_bert_components.bert import load_checkpoint
    from tests.support.minilm import minilm_folder

    v1 = tf.compat.v1
    threads = arguments.threads
    config = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    classifier = load_checkpoint(str(minilm_folder()), [f"class {i}" for i in range(6)])
    with tempfile.TemporaryDirectory() as scratch:
        folder = written(classifier, Path(scratch) / "bundle", arguments.precision)
        with tf.Graph().as_default(), v1.Session(config=config) as session:
            signature = v1.saved_model.load(session, ["serve"], str(folder / "saved_model")).signature_def[
                "serving_default"
            ]
            feed = {signature.inputs["text"].name: film_lines(arguments.batch)}
            output = signature.outputs["probabilities"].name
            seconds, spent, count = [], collections.Counter(), collections.Counter()
            for turn in range(2 * arguments.runs):  # the first half warms up
                start = time.perf_counter()
                session.run(output, feed)
                seconds.append(time.perf_counter() - start)
                if turn < arguments.runs:
                    continue
                metadata = v1.RunMetadata()
                session.run(output, feed, v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE), metadata)
                for node in (node for device in metadata.step_stats.dev_stats for node in device.node_stats):
                    kind = node.timeline_label.split("=")[-1].split("(")[0].strip()
                    spent[kind] += node.op_end_rel_micros - node.op_start_rel_micros
                    count[kind] += 1
    runs = arguments.runs
    print(f"{1e3 * median(seconds[runs:]):.2f} ms in all, {sum(spent.values()) / runs / 1e3:.2f} ms in operations")
    for kind, micros in spent.most_common(16):
        print(f"{micros / runs / 1e3:8.2f} ms in {count[kind] / runs:4.0f} {kind}")


if __name__ == "__main__":
    main()
