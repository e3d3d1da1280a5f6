"""One step: AdamW's numbers, gradients of several batches, and of several devices of one machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_bert_components.training.distribution import open_distribution
from kfp_bert_components.training.optimizer import AdamW, clip, decays, layer_rates
from kfp_bert_components.training.step import TrainStep, weighted_loss

ROOT = Path(__file__).resolve().parents[2]
ROWS = 7


def make_step(distribution):
    """A step that trains a small network: embedding, dense layer, mean over the tokens."""
    keras.utils.set_random_seed(1)
    with distribution.strategy.scope():
        names = ("input_ids", "token_type_ids", "attention_mask")
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
        x = keras.layers.Embedding(50, 8)(inputs["input_ids"])
        x = x + keras.layers.Embedding(2, 8)(inputs["token_type_ids"])
        x = keras.layers.Dense(8, activation="gelu")(x)
        x = keras.layers.GlobalAveragePooling1D()(x, mask=keras.ops.cast(inputs["attention_mask"], "bool"))
        model = keras.Model(inputs, keras.layers.Dense(3)(x))
        variables = model.trainable_variables
        optimizer = AdamW(
            [variable.value for variable in variables],
            [1.0] * len(variables),
            [decays(variable.path) for variable in variables],
            weight_decay=0.01,
            epsilon=1e-6,
        )
        return TrainStep(model, optimizer, distribution, label_smoothing=0.1, max_gradient_norm=1.0)


def run_steps(step, parts=1):
    """Train five steps on the same random rows, in so many batches each; returns the weights and the losses."""
    rng = np.random.default_rng(0)
    losses = []
    for number in range(1, 6):
        ids = rng.integers(0, 50, (ROWS, 5)).astype(np.int32)
        batch = {
            "input_ids": ids,
            "token_type_ids": ids % 2,
            "attention_mask": np.ones_like(ids),
            "targets": rng.integers(0, 3, ROWS).astype(np.int32),
            "weights": np.full(ROWS, 1 / ROWS, np.float32),
        }
        cuts = np.array_split(np.arange(ROWS), parts)
        batches = [{name: array[cut] for name, array in batch.items()} for cut in cuts]
        losses.append(step.train(batches, 1e-2, number, False)[0])
    return [variable.numpy() for variable in step.model.variables], losses


@pytest.fixture(scope="module")
def plain():
    return run_steps(make_step(open_distribution()))


def assert_same(found, expected):
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
    for ours, theirs in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_batches_that_are_added_up_are_one_large_batch(plain):
    assert_same(run_steps(make_step(open_distribution()), parts=3), plain)


@pytest.mark.long
def test_two_devices_of_one_machine_end_with_the_weights_of_one(plain, tmp_path):
    script = tmp_path / "mirrored.py"
    script.write_text(
        "import json, sys, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from test_step import *\n"
        "weights, losses = run_steps(make_step(open_distribution(['CPU:0', 'CPU:1'])))\n"
        "print(json.dumps([[w.tolist() for w in weights], losses]))\n"
    )
    command = [sys.executable, str(script), str(Path(__file__).parent)]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    weights, losses = json.loads(result.stdout.splitlines()[-1])
    assert_same(([np.array(w, np.float32) for w in weights], losses), plain)


def test_adamw_is_the_published_one():
    rng = np.random.default_rng(3)
    start = rng.normal(size=(4, 3)).astype(np.float32)
    gradients = rng.normal(size=(6, 4, 3)).astype(np.float32) * 10.0 ** -np.arange(6)[:, None, None]
    kernel, bias = tf.Variable(start), tf.Variable(start)
    optimizer = AdamW([kernel, bias], [0.5, 1.0], [True, False], weight_decay=0.1, epsilon=1e-3)
    expected, first, second = {}, {}, {}
    for name in ("kernel", "bias"):
        expected[name], first[name], second[name] = start.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        optimizer.apply([tf.constant(gradient, tf.float32)] * 2, tf.constant(0.01), tf.constant(float(step)))
        for name, rate, decay in (("kernel", 0.005, 0.1), ("bias", 0.01, 0.0)):
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient.astype(np.float64) ** 2
            corrected = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            expected[name] *= 1 - rate * decay
            expected[name] -= rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-3)
    np.testing.assert_allclose(kernel.numpy(), expected["kernel"], atol=1e-6)
    np.testing.assert_allclose(bias.numpy(), expected["bias"], atol=1e-6)


def test_weights_decay_and_biases_and_norms_do_not():
    assert decays("bert/encoder/layer_0/attention/qkv/kernel") and decays("bert/encoder/embeddings/word")
    assert not decays("bert/encoder/layer_0/attention/qkv/bias")
    assert not decays("bert/encoder/embeddings/norm/gamma")


def test_each_layer_has_the_rate_of_the_one_above_times_the_decay():
    paths = ["e/embeddings/word", "e/layer_0/qkv/kernel", "e/layer_1/qkv/kernel", "e/pooler/kernel", "head/kernel"]
    assert layer_rates(paths, 2, 0.5) == [0.25, 0.5, 1.0, 1.0, 1.0]


def test_long_gradients_are_clipped_and_short_ones_are_not():
    (clipped,), norm = clip([tf.constant([3.0, 4.0])], 1.0)
    np.testing.assert_allclose(clipped, [0.6, 0.8], rtol=1e-6)
    assert norm.numpy() == 5
    np.testing.assert_allclose(clip([tf.constant([0.3, 0.4])], 1.0)[0][0], [0.3, 0.4])


def test_the_loss_is_weighted_and_its_targets_smoothed():
    logits, targets = tf.constant([[2.0, 0.0], [0.0, 1.0]]), tf.constant([0, 0])
    logs = np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(0.25 * (0.9 * logs[0, 0] + 0.1 * logs[0, 1]) + 0.75 * (0.9 * logs[1, 0] + 0.1 * logs[1, 1]))
    found = weighted_loss(logits, targets, tf.constant([0.25, 0.75]), smoothing=0.2)
    assert found.numpy() == pytest.approx(expected, rel=1e-6)
