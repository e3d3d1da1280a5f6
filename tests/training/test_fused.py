"""The compiled pieces of a training step give the numbers of the plain layers, forward and backward."""

import numpy as np
import pytest
import tensorflow as tf

from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.bert.fused import dropout


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


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_in_bfloat16_they_are_no_further_from_float32_than_the_plain_layers(activation):
    """On the average of several batches: of one batch, a single rounding can move all gradients."""
    models = {dtype: plain_and_fused(dtype, activation) for dtype in ("float32", "mixed_bfloat16")}
    far = {"ours": [], "theirs": []}
    for batch in range(8):
        exact = outcomes(models["float32"], batch)[0]
        plain, fused = outcomes(models["mixed_bfloat16"], batch)
        assert all(ours.dtype == tf.float32 for ours in fused)
        far["ours"].append([distance(ours, right) for ours, right in zip(fused, exact, strict=True)])
        far["theirs"].append([distance(theirs, right) for theirs, right in zip(plain, exact, strict=True)])
    ours, theirs = (np.mean(values, axis=0) for values in far.values())
    assert (ours <= 1.2 * theirs + 0.01).all(), np.stack([ours, theirs])


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
