"""Each place where the network drops elements does so in training, plain and fused, and never else."""

import numpy as np
import pytest

from tests.training.test_fused import inputs, make_model

RATE = 0.5


def embeddings(model):
    return model.encoder.embeddings.dropout


def attention_weights(model):
    return model.encoder.layers[0].attention.dropout


def after_attention(model):
    layer = model.encoder.layers[0]
    layer.output_dense.kernel.assign(0 * layer.output_dense.kernel)  # what is zero stays so when elements are dropped
    layer.output_dense.bias.assign(0 * layer.output_dense.bias)
    return layer.dropout


def after_feed_forward(model):
    layer = model.encoder.layers[0]
    layer.attention_output.kernel.assign(0 * layer.attention_output.kernel)
    layer.attention_output.bias.assign(0 * layer.attention_output.bias)
    return layer.dropout


def before_the_head(model):
    return model.dropout


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("place", [embeddings, attention_weights, after_attention, after_feed_forward, before_the_head])
def test_elements_are_dropped_in_training_alone(place, fused):
    model = make_model("float32", fused, hidden_dropout_prob=RATE, attention_probs_dropout_prob=RATE)
    for layer in model.encoder.layers:
        layer.dropout.rate = layer.attention.dropout.rate = 0
    model.encoder.embeddings.dropout.rate = model.dropout.rate = 0
    only = place(model)
    still = model(inputs(), training=True).numpy()
    np.testing.assert_allclose(model(inputs()).numpy(), still, atol=1e-5)
    only.rate = RATE
    dropped, again = (model(inputs(), training=True).numpy() for _ in range(2))
    assert np.abs(dropped - still).max() > 0.01
    assert np.abs(dropped - again).max() > 0.01
    np.testing.assert_allclose(model(inputs()).numpy(), still, atol=1e-5)


@pytest.mark.parametrize("rates", [{"hidden_dropout_prob": RATE}, {"attention_probs_dropout_prob": RATE}])
def test_the_rates_are_those_of_the_config(rates):
    model = make_model("float32", False, **rates)
    layer = model.encoder.layers[-1]
    hidden, attention = rates.get("hidden_dropout_prob", 0), rates.get("attention_probs_dropout_prob", 0)
    assert [model.encoder.embeddings.dropout.rate, layer.dropout.rate, model.dropout.rate] == [hidden] * 3
    assert layer.attention.dropout.rate == attention
