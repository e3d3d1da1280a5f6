"""The peers' side of benchmarks/serving.py: torch eager and ONNX Runtime fed with ids, ONNX Runtime with `tokenizers`
fed with texts, and tensorflow-text.

Runs in the peers' environment. Reads one JSON request a line, {"case", "batches"}, and answers each with one line of
JSON: the seconds that every batch took. Arguments: the checkpoint's folder, threads, and the clock, wall or cpu.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

THREADS = int(sys.argv[2])
CLOCK = {"wall": time.perf_counter, "cpu": time.process_time}[sys.argv[3]]


def torch_eager(folder: str):
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    model = transformers.BertForSequenceClassification.from_pretrained(folder).eval()

    def run(inputs):
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(value) for name, value in inputs.items()}).logits.numpy()

    return run, torch.__version__


def exported(folder: str):
    """A session on the usual export."""
    import onnxruntime
    import torch
    import transformers

    names = ["input_ids", "attention_mask", "token_type_ids"]
    path = Path(folder) / "model.onnx"

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = transformers.BertForSequenceClassification.from_pretrained(folder)

        def forward(self, ids, mask, types):
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits().eval(),
            tuple(torch.ones((2, 8), dtype=torch.long) for _ in names),
            str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session, onnxruntime.__version__


def onnx_runtime(folder: str):
    session, version = exported(folder)
    return (lambda inputs: session.run(None, inputs)[0]), version


def onnx_runtime_from_text(folder: str):
    import tokenizers

    session, version = exported(folder)
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=128)
    tokenizer.enable_padding()

    def run(texts):
        found = tokenizer.encode_batch(texts)
        inputs = {
            "input_ids": np.array([one.ids for one in found], np.int64),
            "attention_mask": np.array([one.attention_mask for one in found], np.int64),
            "token_type_ids": np.array([one.type_ids for one in found], np.int64),
        }
        logits = session.run(None, inputs)[0]
        power = np.exp(logits - logits.max(axis=1, keepdims=True))
        return power / power.sum(axis=1, keepdims=True)

    return run, version


def tensorflow_text(folder: str):
    import tensorflow as tf
    import tensorflow_text

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    ids = json.loads((Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    vocabulary = sorted(ids, key=ids.get)
    tokenizer = tensorflow_text.FastBertTokenizer(
        vocab=vocabulary, token_out_type=tf.int32, lower_case_nfd_strip_accents=True
    )
    signature = [tf.TensorSpec([None], tf.string)]
    run = tf.function(lambda texts: tokenizer.tokenize(texts).to_tensor(), input_signature=signature)
    return (lambda texts: run(tf.constant(texts)).numpy()), tensorflow_text.__version__


def main() -> None:
    folder = sys.argv[1]
    makers = {
        "torch": torch_eager,
        "onnxruntime": onnx_runtime,
        "onnxruntime and tokenizers": onnx_runtime_from_text,
        "tensorflow_text": tensorflow_text,
    }
    made: dict[str, tuple] = {}
    for line in sys.stdin:
        request = json.loads(line)
        case = request["case"]
        try:
            if case not in made:
                made[case] = makers[case](folder)
            run, version = made[case]
            seconds, last = [], None
            for batch in request["batches"]:
                if isinstance(batch, dict):
                    batch = {name: np.array(value, np.int64) for name, value in batch.items()}
                start = CLOCK()
                last = run(batch)
                seconds.append(CLOCK() - start)
            answer = {"seconds": seconds, "version": version, "last": np.asarray(last).tolist()}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print("ANSWER " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
