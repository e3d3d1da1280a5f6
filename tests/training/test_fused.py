"""The compiled pieces of a training step give the numbers of the plain layers, forward and backward."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.encoder import ACTIVATIONS, BertClassifier
from kfp_bert_components.bert.fused import add_and_norm, bias_and_activation, dropout

# The largest part of itself by which rounding to the 8 binary digits of bfloat16 moves a number.
BFLOAT16_ROUNDING = 2.0**-8
# Room for the roundings of float32 before that one, as a part of the largest number of a tensor.
FLOAT32_INSIDE = 1e-4


def make_model(dtype, fused, **changes):
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=16,
        labels=("a", "b", "c"),
        initializer_range=0.3,
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **changes},
    )
    model = BertClassifier(config, dtype=dtype)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        if variable.path.endswith(("bias", "gamma", "beta")):  # which start as zeros and ones
            variable.assign(variable.numpy() + rng.normal(scale=0.3, size=variable.shape))
    model.fuse(fused)
    return model


@tf.function
def loss_and_gradients(model, inputs):
    with tf.GradientTape() as tape:
        logits = model(inputs, training=True)
        loss = tf.reduce_sum(logits * tf.constant([1.0, -2.0, 0.5]))
    variables = [variable.value for variable in model.trainable_variables]
    return logits, [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]


def inputs(length=7, seed=0):
    ids = np.random.default_rng(seed).integers(1, 60, (5, length)).astype(np.int32)
    mask = (np.arange(length) < np.array([[length], [3], [5], [2], [length]])).astype(np.int32)
    return {"input_ids": tf.constant(ids * mask), "token_type_ids": tf.zeros_like(ids), "attention_mask": mask}


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_logits_and_gradients_are_those_of_the_plain_layers(activation):
    plain, fused = outcomes(plain_and_fused("float32", activation))
    for ours, theirs in zip(fused, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max() + 1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("batch", range(8))
def test_in_bfloat16_sum_and_norm_round_once_forward_and_once_backward(batch, rate):
    rng = np.random.default_rng(batch)
    wide = [tf.constant(rng.normal(size=shape), tf.bfloat16) for shape in ((16, 32), (16, 32), (32,))]
    weights = [tf.constant(rng.normal(size=32), tf.float32) for _ in range(2)]  # of a norm: float32 in every network
    seed = tf.constant([3, batch], tf.int64)
    kept = tf.cast(dropout(tf.ones((16, 32)), rate, seed), tf.float64)

    def exact(x, y, bias, gamma, beta):
        total = x + (y + bias) * kept
        mean, variance = tf.nn.moments(total, axes=[-1], keepdims=True)
        return (total - mean) / tf.sqrt(variance + 1e-12) * gamma + beta

    def ours(*tensors):
        return add_and_norm(rate, 1e-12)(*tensors, seed)

    assert_rounded_once(ours, exact, [*wide, *weights], rng)


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("batch", range(8))
def test_in_bfloat16_bias_and_activation_round_once_forward_and_once_backward(batch, name):
    rng = np.random.default_rng(batch)
    tensors = [tf.constant(rng.normal(size=shape), tf.bfloat16) for shape in ((16, 48), (48,))]
    exact = {"gelu": tf.nn.gelu, "gelu_new": partial(tf.nn.gelu, approximate=True), "relu": tf.nn.relu}[name]
    assert_rounded_once(bias_and_activation(ACTIVATIONS[name]), lambda x, bias: exact(x + bias), tensors, rng)


def assert_rounded_once(ours, exact, tensors, rng):
    """What comes out is off the float64 value of the same inputs by no more than rounding it to its own type."""
    upstream = tf.constant(rng.normal(size=tensors[0].shape), tf.bfloat16)
    found, expected = value_and_gradients(ours, tensors, upstream), value_and_gradients(exact, in64(tensors), upstream)
    assert [value.dtype for value in found] == [tensors[0].dtype, *(tensor.dtype for tensor in tensors)]
    for value, right in zip(found, expected, strict=True):
        rounding = BFLOAT16_ROUNDING if value.dtype == tf.bfloat16 else 0
        allowed = rounding * np.abs(right) + FLOAT32_INSIDE * np.abs(right).max()
        np.testing.assert_array_less(np.abs(tf.cast(value, tf.float64) - right), allowed)


def value_and_gradients(function, tensors, upstream):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return [value, *tape.gradient(value, tensors, tf.cast(upstream, value.dtype))]


def in64(tensors):
    return [tf.cast(tensor, tf.float64) for tensor in tensors]


def test_in_bfloat16_the_network_is_as_near_to_float32_as_its_roundings_allow():
    """Each rounding moves what comes after it by about as much as it moves its own tensor.

    There are some 10 in a layer and 1 in the embeddings, and as many in the backward pass. They don't all point one
    way: what they add up to if they did is more than what they do on the average of several batches. Only a smooth
    activation is tested so: at the edge of relu a rounding switches a whole unit on or off.
    """
    exact, rounded = make_model("float32", False), make_model("mixed_bfloat16", True)  # plain, and fused
    far = []
    for batch in range(8):
        right, ours = outcomes([exact, rounded], batch)
        assert all(value.dtype == tf.float32 for value in ours)
        far.append([distance(value, wanted) for value, wanted in zip(ours, right, strict=True)])
    assert (np.mean(far, axis=0) <= 2 * (10 * 2 + 1) * BFLOAT16_ROUNDING).all(), np.mean(far, axis=0)


def plain_and_fused(dtype, activation):
    return [make_model(dtype, fuse, hidden_act=activation) for fuse in (False, True)]


def outcomes(models, batch=0):
    """Logits and gradients of each model."""
    results = (loss_and_gradients(model, inputs(seed=batch)) for model in models)
    return [[logits, *gradients] for logits, gradients in results]


def distance(value, right):
    return np.linalg.norm(value - right) / (np.linalg.norm(right) + 1e-3)


def test_dropout_is_the_same_in_the_backward_pass():
    """A gradient by differences: it only agrees where the same elements are dropped in both directions."""
    model = make_model("float32", True, hidden_dropout_prob=0.3)
    variable = model.encoder.layers[1].output_dense.bias.value
    seeds = [v for v in model.variables if "seed" in v.path]
    start = [seed.numpy() for seed in seeds]

    def run():
        for seed, value in zip(seeds, start, strict=True):
            seed.assign(value)  # each call draws the next one
        logits, gradients = loss_and_gradients(model, inputs())
        position = [v.value is variable for v in model.trainable_variables].index(True)
        return float(tf.reduce_sum(logits * tf.constant([1.0, -2.0, 0.5]))), gradients[position].numpy()

    gradient, before = run()[1], variable.numpy()
    step = 1e-2 * gradient / np.linalg.norm(gradient)
    variable.assign(before + step)
    above = run()[0]
    variable.assign(before - step)
    below = run()[0]
    assert (above - below) / 2e-2 == pytest.approx(np.linalg.norm(gradient), rel=1e-2)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_mean_and_depends_on_seed_and_place(rate):
    x = tf.ones((400, 256))
    masks = [dropout(x, rate, tf.constant(seed, tf.int64)).numpy() for seed in ([3, 0], [3, 1], [4, 0])]
    for mask in masks:
        assert set(np.unique(mask)) == {0.0, np.float32(1 / (1 - rate))}
        assert mask.mean() == pytest.approx(1, abs=0.01)
        kept = mask != 0
        for other in (np.roll(kept, 1, axis=0), np.roll(kept, 1, axis=1)):  # neighbours know nothing of each other
            assert (kept & other).mean() == pytest.approx((1 - rate) ** 2, abs=0.01)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert ((masks[i] != 0) & (masks[j] != 0)).mean() == pytest.approx((1 - rate) ** 2, abs=0.01)
