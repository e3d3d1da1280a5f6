"""The part of a transformer layer after attention, for training on a CPU: fewer passes over memory.

TensorFlow runs bias, GELU, dropout, sum and layer norm as one operation after the other, and each reads and writes the
whole matrix. Here all operations between two matrix products are one function, which XLA compiles for each shape of
input. The matrix products stay TensorFlow's own (oneDNN), which are faster than XLA's. Inside a function, numbers are
float32; its inputs and results have the type of the network. The result is that of `encoder.TransformerLayer` with the
same weights, but for the elements that dropout drops.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import tensorflow as tf


def after_attention(layer: Any, x: Any, attended: Any) -> Any:
    """The rest of a `TransformerLayer` in training.

    Args:
        layer: The layer.
        x: Its input, [T, H].
        attended: The result of its attention, [T, H].

    Returns:
        The output of the layer, [T, H].
    """
    attended = _product(attended, layer.attention_output)
    x = _add_and_norm(layer, x, attended, layer.attention_output, layer.attention_norm)
    fed = bias_and_activation(layer.activation)(_product(x, layer.intermediate), _tensor(layer.intermediate.bias))
    return _add_and_norm(layer, x, _product(fed, layer.output_dense), layer.output_dense, layer.output_norm)


def _product(x: Any, dense: Any) -> Any:
    return tf.matmul(x, _tensor(dense.kernel))


def _add_and_norm(layer: Any, x: Any, y: Any, dense: Any, norm: Any) -> Any:
    rate = layer.dropout.rate
    seed = layer.dropout.seed_generator.next() if rate else tf.zeros(2, tf.int64)
    weights = [_tensor(weight) for weight in (dense.bias, norm.gamma, norm.beta)]
    return add_and_norm(rate, norm.epsilon)(x, y, *weights, seed)


def _tensor(weight: Any) -> tf.Tensor:
    """A weight in the type that the layer computes in."""
    return tf.convert_to_tensor(weight.value)


def fused(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Compile a function of tensors, and its gradient.

    The gradient computes the function again, instead of keeping intermediate results in memory.
    """
    forward = tf.function(function, jit_compile=True, autograph=False, reduce_retracing=True)

    @tf.function(jit_compile=True, autograph=False, reduce_retracing=True)
    def backward(upstream: tf.Tensor, *tensors: tf.Tensor) -> list[tf.Tensor | None]:
        with tf.GradientTape() as tape:
            tape.watch([tensor for tensor in tensors if tensor.dtype.is_floating])
            result = function(*tensors)
        return tape.gradient(result, tensors, upstream)

    @tf.custom_gradient
    def call(*tensors: tf.Tensor) -> Any:
        return forward(*tensors), lambda upstream: backward(upstream, *tensors)

    return call


@lru_cache
def bias_and_activation(activation: Callable[[Any], Any]) -> Callable[..., tf.Tensor]:
    """A fused function of x [T, I] and bias [I]: activation(x + bias), [T, I]."""

    def function(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return tf.cast(activation(tf.cast(x, tf.float32) + tf.cast(bias, tf.float32)), x.dtype)

    return fused(function)


@lru_cache
def add_and_norm(rate: float, epsilon: float) -> Callable[..., tf.Tensor]:
    """A fused function of x, y [T, H], bias, gamma, beta [H] and seed [2]: norm(x + dropout(y + bias)), [T, H].

    Args:
        rate: Share of elements that dropout drops, 0 to 1.
        epsilon: Of the layer norm, whose weights are gamma and beta.
    """

    def function(
        x: tf.Tensor, y: tf.Tensor, bias: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        total = tf.cast(x, tf.float32) + dropout(tf.cast(y, tf.float32) + tf.cast(bias, tf.float32), rate, seed)
        centred = total - tf.reduce_mean(total, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        return tf.cast(centred * tf.math.rsqrt(variance + epsilon) * gamma + beta, x.dtype)

    return fused(function)


def dropout(x: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Dropout whose random numbers are a hash of the seed and of each element's place.

    They cost so little that the backward pass makes them again. The hash is MurmurHash3's finalizer.

    Args:
        x: Any shape.
        rate: Share of elements that are dropped, 0 to 1.
        seed: int64 [2].
    """
    if not rate:
        return x
    seed = tf.cast(seed, tf.uint32)
    place = tf.cast(tf.reshape(tf.range(tf.size(x)), tf.shape(x)), tf.uint32)
    bits = _mixed(place * _uint(0x9E3779B1) + _mixed(seed[0] + _mixed(seed[1])))
    return tf.where(bits >= _uint(int(rate * 2**32)), x / (1 - rate), 0.0)


def _mixed(x: tf.Tensor) -> tf.Tensor:
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ tf.bitwise.right_shift(x, _uint(shift))) * _uint(factor)
    return x ^ tf.bitwise.right_shift(x, _uint(16))


def _uint(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)
