"""One step of training: forward, backward, sum over all devices, clip, move the weights."""

from typing import Any

import numpy as np
import tensorflow as tf

from kfp_bert_components.training.distribution import Distribution
from kfp_bert_components.training.optimizer import AdamW, clip


class TrainStep:
    """Changes the weights of a network, one step at a time.

    Args:
        model: Keras model: dict of int32 [batch, length] -> logits [batch, classes].
        optimizer: Changes the variables that it was made with.
        distribution: The devices that train.
        label_smoothing: Share of the target, 0 to 1, that is spread over all classes.
        max_gradient_norm: Greatest norm of the gradient of all weights; 0 never clips.
    """

    def __init__(
        self,
        model: Any,
        optimizer: AdamW,
        distribution: Distribution,
        *,
        label_smoothing: float,
        max_gradient_norm: float,
    ) -> None:
        self.model, self.optimizer, self.distribution = model, optimizer, distribution
        self.label_smoothing, self.max_gradient_norm = label_smoothing, max_gradient_norm
        self._sums: list[tf.Variable] = []  # gradients of earlier batches of the same step
        self._compiled_step = tf.function(self._step, autograph=False, reduce_retracing=True)
        self._compiled_add = tf.function(self._add, autograph=False, reduce_retracing=True)
        self._predict = tf.function(
            lambda inputs: model(inputs, training=False), autograph=False, reduce_retracing=True
        )

    @property
    def variables(self) -> list[tf.Variable]:
        """What a checkpoint must hold besides the network's variables: both moments of each weight."""
        return [*self.optimizer.first, *self.optimizer.second]

    def train(
        self, batches: list[dict[str, np.ndarray]], learning_rate: float, step: int, stop: bool
    ) -> tuple[float, float, bool]:
        """Change the weights by one step.

        Args:
            batches: One or several, whose gradients are added up: dicts with input_ids, token_type_ids,
                attention_mask (int32 [batch, length]), targets (int32 [batch]) and weights (float32 [batch], with a
                sum of 1 over all batches of this step).
            learning_rate: Of this step.
            step: Number of this step, from 1.
            stop: Whether this process received SIGTERM.

        Returns:
            The loss, the norm of the gradient before clipping, and whether any process received SIGTERM.
        """
        if len(batches) > 1 and not self._sums:
            with self.distribution.strategy.scope():
                self._sums = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in self.optimizer.variables]
        early = 0.0
        for batch in batches[:-1]:
            early += float(self._compiled_add(self.distribution.scatter(batch)))
        flag = tf.constant(float(stop))
        rate, number = tf.constant(learning_rate, tf.float32), tf.constant(step, tf.float32)
        last = self.distribution.scatter(batches[-1])
        loss, norm, stops = self._compiled_step(last, rate, number, flag, added=len(batches) > 1)
        return early + float(loss), float(norm), float(stops) > 0

    def predict(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Logits without dropout, float32 [batch, classes]."""
        return self._predict({name: tf.constant(array) for name, array in inputs.items()}).numpy()

    def _step(
        self, batch: Any, rate: tf.Tensor, number: tf.Tensor, stop: tf.Tensor, added: bool
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        strategy = self.distribution.strategy
        loss, stops, gradients = strategy.run(self._gradients, args=(batch, stop))
        if added:
            self._accumulate(gradients)
            gradients = [total.read_value() for total in self._sums]
        gradients, norm = clip([self._first(gradient) for gradient in gradients], self.max_gradient_norm)
        self.optimizer.apply(gradients, rate, number)
        if added:
            for total in self._sums:
                total.assign(tf.zeros_like(total))
        return self._first(loss), norm, self._first(stops)

    def _add(self, batch: Any) -> tf.Tensor:
        loss, _, gradients = self.distribution.strategy.run(self._gradients, args=(batch, tf.constant(0.0)))
        self._accumulate(gradients)
        return self._first(loss)

    def _gradients(self, batch: dict[str, tf.Tensor], stop: tf.Tensor) -> tuple[Any, Any, list[Any]]:
        """Runs on each replica; what it returns is summed over all of them."""
        inputs = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
        with tf.GradientTape() as tape:
            logits = tf.cast(self.model(inputs, training=True), tf.float32)
            loss = weighted_loss(logits, batch["targets"], batch["weights"], self.label_smoothing)
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, self.optimizer.variables)]
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            # an argument has no device until it is copied to this replica's
            both = [tf.identity(loss), tf.identity(stop)]
            loss, stop = context.all_reduce(tf.distribute.ReduceOp.SUM, both)
        return loss, stop, gradients

    def _accumulate(self, gradients: list[Any]) -> None:
        update = self.distribution.strategy.extended.update
        for total, gradient in zip(self._sums, gradients, strict=True):
            update(total, lambda variable, value: variable.assign_add(value), args=(gradient,))

    def _first(self, value: Any) -> tf.Tensor:
        """The value of the first local replica, where all replicas hold the same."""
        return self.distribution.strategy.experimental_local_results(value)[0]


def weighted_loss(logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Cross entropy with smoothed targets (Szegedy 2016, arXiv 1512.00567), summed with weights."""
    classes = logits.shape[-1]
    wanted = tf.one_hot(targets, classes) * (1 - smoothing) + smoothing / classes
    losses = tf.nn.softmax_cross_entropy_with_logits(wanted, logits)
    return tf.reduce_sum(losses * weights)
