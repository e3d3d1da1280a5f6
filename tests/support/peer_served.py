"""Runs in a bare TensorFlow: answers texts with a SavedModel. `python peer_served.py SAVED_MODEL TEXTS.json OUT.npz`."""

import json
import sys

import numpy as np
import tensorflow as tf

folder, texts, out = sys.argv[1:]
serve = tf.saved_model.load(folder).signatures["serving_default"]
inputs = {name: tf.constant(values) for name, values in json.load(open(texts)).items()}
np.savez(out, version=tf.__version__, **{name: value.numpy() for name, value in serve(**inputs).items()})
