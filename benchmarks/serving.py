"""Latency of what is served beside ONNX Runtime on the usual export, torch eager and tensorflow-text:
`make bench-serving`.

The same MiniLM classifier answers the same film lines (or made-up ones where the films are not at hand), with as many
threads each, in turn: one round of ours, one of the peer's. model.onnx is timed from text to probabilities, and so is
its peer; the SavedModel from ids on. A value is the median over the rounds of ours over theirs, so below 1 is faster
than the peer. The last line says under "means" what a user has to do to have each figure.
"""

import argparse
import csv
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
MEANS = {
    "single_p50": "model.onnx, which kfp-bert serve takes",
    "single_int8_p50": "the same with export_precision='int8'",
    "batch32": "model.onnx",
    "batch32_int8": "model.onnx with export_precision='int8'",
    "single_p50_saved_model": "saved_model/ in any TensorFlow",
    "batch32_saved_model": "saved_model/ in any TensorFlow",
    "batch32_bf16": "saved_model/ with export_precision='bfloat16' in any TensorFlow",
    "tokenizer": "saved_model/ in any TensorFlow",
}
TEXT_PEER = "onnxruntime and tokenizers"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Peer:
    """The process that runs the peers; `times` gives seconds, or None with the reason in `missing`."""

    def __init__(self, folder: Path, threads: int, clock: str) -> None:
        python = Path(os.environ.get("KFP_BERT_PEERS", ROOT / ".peers")) / "bin" / "python"
        self.missing: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.last: Any = None
        if not python.exists():
            sys.exit(f"no peers at {python.parent.parent}: make peers")
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [str(python), str(ROOT / "benchmarks" / "serving_peer.py"), str(folder), str(threads), clock],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def times(self, case: str, batches: list[Any]) -> list[float] | None:
        if case in self.missing:
            return None
        assert self._process.stdin and self._process.stdout
        request = json.dumps({"case": case, "batches": batches}, default=lambda array: array.tolist())
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("ANSWER "):
                answer = json.loads(line.removeprefix("ANSWER "))
                break
        else:
            answer = {"error": "the process ended"}
        if "error" in answer:
            self.missing[case] = answer["error"]
            return None
        self.versions[case], self.last = answer["version"], answer["last"]
        return answer["seconds"]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)


def film_lines(number: int) -> list[str]:
    """Lines of the films, drawn with a fixed seed."""
    folder = Path(os.environ.get("IMSDB_FOLDER", ROOT.parent / "shared" / "data" / "imsdb"))
    lines = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            lines += [max(row, key=len).strip() for row in csv.reader(file) if row]
    lines = [line for line in lines if line] or [
        "word " * (1 + i % 14) + "and a somewhat longer end." for i in range(400)
    ]
    return random.Random(0).sample(lines, min(number, len(lines)))


def as_ids(classifier: Any, texts: list[str]) -> dict[str, np.ndarray]:
    """One padded batch."""
    from tests.support.bert import padded

    return padded(classifier.tokenize(texts, max_length=128))


def timed(run: Any, batches: list[Any], clock: str = "wall") -> list[float]:
    now, seconds = CLOCKS[clock], []
    for batch in batches:
        start = now()
        np.asarray(run(batch))
        seconds.append(now() - start)
    return seconds


def written(classifier: Any, folder: Path, precision: str) -> Path:
    """A model bundle."""
    from kfp_bert_components.bert import write_bundle

    write_bundle(
        folder,
        classifier,
        max_length=128,
        base_model="MiniLM",
        parameters={},
        data_fingerprint="",
        pair=False,
        precision=precision,
    )
    return folder


def called(function: Any) -> Any:
    """A SavedModel's function of ids, fed with arrays."""
    import tensorflow as tf

    names = ("input_ids", "token_type_ids", "attention_mask")
    return lambda batch: function(*(tf.constant(batch[name]) for name in names))


def processor() -> str:
    """The processor's name, and which of the instructions it has that matter here."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    flags = next((value.split() for name, value in facts.items() if name.strip() == "flags"), [])
    names = [value.strip() for name, value in facts.items() if name.strip() == "model name"]
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
    return " ".join([*names, *(flag for flag in wanted if flag in flags)]) or platform.processor()


def compare(
    name: str, ours: Any, batches: list[Any], peer: Peer, case: str, clock: str, rounds: int
) -> dict[str, Any] | None:
    """Interleaved rounds of ours and the peer's over the same batches."""
    if peer.times(case, batches) is None:
        return None
    timed(ours, batches)  # both are warm now
    ratios = []
    for _ in range(rounds):
        mine, theirs = timed(ours, batches, clock), peer.times(case, batches)
        assert theirs is not None
        ratios.append(median(mine) / median(theirs))
        print(f"{name}: ours {median(mine) * 1e3:.2f} ms, {case} {median(theirs) * 1e3:.2f} ms", flush=True)
    return {
        "name": name,
        "value": round(median(ratios), 3),
        "peer": case,
        "peer_version": peer.versions[case],
        "runs": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs of each comparison")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side")
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="cpu: seconds of processor time, for a busy machine, with --threads 1",
    )
    parser.add_argument("--batches", type=int, default=6, help="batches of 32 lines, and ten times as many single ones")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import onnxruntime
    import tensorflow as tf

    from kfp_bert_components.bert import load_checkpoint
    from kfp_bert_components.bert.onnx_model import OnnxModel
    from tests.support.minilm import minilm_folder

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    classifier = load_checkpoint(str(minilm_folder()), [f"class {i}" for i in range(6)])
    head = classifier.model.head.kernel
    head.assign(30 * np.asarray(head))  # a fresh head hardly prefers a class, which int8 is refused for
    count = arguments.batches
    singles = film_lines(10 * count)
    texts32 = [film_lines(32 * count)[i * 32 : (i + 1) * 32] for i in range(count)]
    single_ids = [as_ids(classifier, [text]) for text in singles]
    batch_ids = [as_ids(classifier, texts) for texts in texts32]
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: written(classifier, Path(scratch) / name, name) for name in ("float32", "bfloat16", "int8")}
        peer = Peer(Path(scratch) / "float32" / "huggingface", arguments.threads, arguments.clock)
        onnx, onnx8 = (OnnxModel(folders[name], threads=arguments.threads) for name in ("float32", "int8"))
        loaded, loaded16 = (tf.saved_model.load(str(folders[name] / "saved_model")) for name in ("float32", "bfloat16"))
        fp32, bf16 = called(loaded.probabilities), called(loaded16.probabilities)

        def answer(texts: list[str]) -> Any:
            return onnx.probabilities(onnx.tokenize(texts))

        def answer8(texts: list[str]) -> Any:
            return onnx8.probabilities(onnx8.tokenize(texts))

        tokenize = tf.function(loaded.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])

        def tokens(texts: list[str]) -> Any:
            return tokenize(tf.constant(texts))["input_ids"]

        rounds, clock = arguments.rounds, arguments.clock
        single_texts = [[text] for text in singles]
        results = [
            compare("single_p50_vs_onnxruntime", answer, single_texts, peer, TEXT_PEER, clock, rounds),
            compare("single_int8_p50_vs_onnxruntime", answer8, single_texts, peer, TEXT_PEER, clock, rounds),
            compare("batch32_int8_vs_onnxruntime", answer8, texts32, peer, TEXT_PEER, clock, rounds),
            compare("batch32_vs_onnxruntime", answer, texts32, peer, TEXT_PEER, clock, rounds),
        ]
        if peer.last is not None:
            moved = np.abs(answer(texts32[-1]) - np.asarray(peer.last)).max()
            print(f"largest difference of a probability from the peer's: {moved:.1e}")
        results += [
            compare("single_p50_saved_model_vs_torch", fp32, single_ids, peer, "torch", clock, rounds),
            compare("single_p50_saved_model_vs_onnxruntime", fp32, single_ids, peer, "onnxruntime", clock, rounds),
            compare("batch32_saved_model_vs_onnxruntime", fp32, batch_ids, peer, "onnxruntime", clock, rounds),
            compare("batch32_bf16_vs_onnxruntime", bf16, batch_ids, peer, "onnxruntime", clock, rounds),
            compare(
                "tokenizer_batch32_vs_tensorflow_text", tokens, texts32, peer, "tensorflow_text", clock, rounds * 3
            ),
        ]
        share = median(
            median(timed(tokens, texts32, clock)) / median(timed(fp32, batch_ids, clock)) for _ in range(rounds)
        )
        print(f"the tokenizer takes {share:.1%} of the network's time on a batch of 32")
        results.append({"name": "tokenizer_share_of_batch32", "value": round(share, 4), "runs": rounds})
        peer.close()
    print(
        json.dumps(
            {
                "benchmark": "serving",
                "environment": {
                    "cpus": os.cpu_count(),
                    "threads": arguments.threads,
                    "clock": arguments.clock,
                    "python": platform.python_version(),
                    "tensorflow": tf.__version__,
                    "onnxruntime": onnxruntime.__version__,
                    "processor": processor(),
                    "load": os.getloadavg()[0],
                },
                "results": [result for result in results if result],
                "means": MEANS,
                "missing": peer.missing,
            }
        )
    )


if __name__ == "__main__":
    main()
