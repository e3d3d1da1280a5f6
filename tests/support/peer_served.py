"""Runs in a bare TensorFlow: answers texts with a SavedModel. Arguments: the folder, texts.json, result.npz."""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

folder, texts, out = sys.argv[1:]
serve = tf.saved_model.load(folder).signatures["serving_default"]
inputs = {name: tf.constant(values) for name, values in json.loads(Path(texts).read_text()).items()}
answer = {name: value.numpy() for name, value in serve(**inputs).items()}
answer["label"] = answer["label"].astype(bytes)  # object arrays would be pickled
np.savez(out, version=tf.__version__, **answer)
