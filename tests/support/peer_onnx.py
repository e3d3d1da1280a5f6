"""Answers inputs by ONNX models, in another version of ONNX Runtime: one line of JSON with the version and logits.

Arguments: a JSON file with the inputs of the models, and the models.
"""

import json
import sys

import numpy as np
import onnxruntime

with open(sys.argv[1]) as file:
    inputs = {name: np.array(value, np.int64) for name, value in json.load(file).items()}
logits = []
for path in sys.argv[2:]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits.append(session.run(["logits"], inputs)[0].tolist())
print(json.dumps({"version": onnxruntime.__version__, "logits": logits}))
