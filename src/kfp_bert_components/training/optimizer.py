"""AdamW with bias correction, decay on weight matrices only, and a rate of its own for each layer."""

import re
from collections.abc import Sequence

import tensorflow as tf


class AdamW:
    """AdamW of Loshchilov and Hutter 2019 (arXiv 1711.05101), the same numbers as torch.optim.AdamW.

    Make it inside the scope of the strategy that made the variables, and call `apply` outside of `strategy.run`.

    Args:
        variables: The weights to train, float32.
        rates: For each variable, by what the learning rate is multiplied.
        decays: For each variable, whether it decays.
        weight_decay: In each step a weight loses its learning rate times this share of itself.
        epsilon: Added to the root of the second moment after bias correction.
        beta_1: Decay rate of the first moment, 0 to 1.
        beta_2: Decay rate of the second moment, 0 to 1.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        rates: Sequence[float],
        decays: Sequence[bool],
        *,
        weight_decay: float,
        epsilon: float,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
    ) -> None:
        self.variables = list(variables)
        self.rates, self.decays = list(rates), list(decays)
        self.weight_decay, self.epsilon, self.beta_1, self.beta_2 = weight_decay, epsilon, beta_1, beta_2
        self.strategy = tf.distribute.get_strategy()
        self.first = [_zeros(variable) for variable in self.variables]
        self.second = [_zeros(variable) for variable in self.variables]

    def apply(self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor, step: tf.Tensor) -> None:
        """Change all weights by one step.

        Args:
            gradients: One for each variable.
            learning_rate: float32 scalar, before it is multiplied by `rates`.
            step: Number of this step from 1, float32 scalar, for the bias correction.
        """
        power_1, power_2 = self.beta_1**step, self.beta_2**step
        # TensorFlow's kernel adds epsilon before bias correction; scaled like this it is Adam as published
        epsilon = self.epsilon * tf.sqrt(1 - power_2)
        update = self.strategy.extended.update
        for parts in zip(self.variables, self.first, self.second, gradients, self.rates, self.decays, strict=True):
            variable, first, second, gradient, rate, decays = parts
            scale = learning_rate * rate
            keep = 1 - scale * self.weight_decay if decays else None
            update(variable, self._move, args=(first, second, gradient, scale, keep, power_1, power_2, epsilon))

    def _move(
        self,
        variable: tf.Variable,
        first: tf.Variable,
        second: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        keep: tf.Tensor | None,
        power_1: tf.Tensor,
        power_2: tf.Tensor,
        epsilon: tf.Tensor,
    ) -> None:
        if keep is not None:
            variable.assign(variable * keep)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            grad=gradient,
            lr=rate,
            epsilon=epsilon,
            beta1_power=power_1,
            beta2_power=power_2,
            beta1=self.beta_1,
            beta2=self.beta_2,
        )


def decays(path: str) -> bool:
    """Whether a variable decays, by its path: biases and the weights of layer norms don't (Devlin 2019)."""
    name = path.lower()
    return not (name.endswith(("bias", "beta", "gamma")) or "norm" in name)


def layer_rates(paths: Sequence[str], layers: int, decay: float) -> list[float]:
    """By what the learning rate of each variable is multiplied, after Sun et al. 2019.

    Args:
        paths: Paths of the variables.
        layers: Number of transformer layers.
        decay: Rate of a layer as a multiple of the rate of the layer above.

    Returns:
        1 for the pooler, the head and the top layer, `decay` for the layer below, its square for the next one, and so
        on; the embeddings have the lowest.
    """
    rates = []
    for path in paths:
        number = re.search(r"layers?[_./]*(\d+)", path)
        below = layers if "embedding" in path else 0
        depth = layers - 1 - int(number.group(1)) if number else below
        rates.append(decay**depth)
    return rates


def clip(gradients: Sequence[tf.Tensor], limit: float) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Gradients scaled down to a norm of at most `limit`, and their norm before. A limit of 0 never scales."""
    norm = tf.linalg.global_norm(gradients)
    if not limit:
        return list(gradients), norm
    scale = limit / tf.maximum(norm, limit)
    return [gradient * scale for gradient in gradients], norm


def _zeros(variable: tf.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros(variable.shape, tf.float32), trainable=False)
