"""Trains one network on its rows: which batches a step has, its learning rate, and the step itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_bert_components.training.batches import BatchPlan, bucket_limits
from kfp_bert_components.training.distribution import Distribution
from kfp_bert_components.training.optimizer import AdamW, decays, layer_rates
from kfp_bert_components.training.rows import TrainingData, with_weights
from kfp_bert_components.training.schedule import Schedule
from kfp_bert_components.training.settings import OptimizerSettings
from kfp_bert_components.training.step import TrainStep
from kfp_bert_components.training.trimming import trim

# Batches in a trial from which `bert.fused` pays on a MiniLM: compiling takes as long as it gains in some 200 batches.
# On a much smaller network it gains that in some 1,300.
FUSED_FROM = 500


@dataclass(frozen=True)
class StepResult:
    """What one step gave.

    Attributes:
        loss: Mean cross entropy over the rows of the step, weighted by class, in nats.
        learning_rate: The rate of the step.
        gradient_norm: Norm of the gradient of all weights, before clipping.
        rows: Rows in the step.
        stop: Whether any process received SIGTERM.
    """

    loss: float
    learning_rate: float
    gradient_norm: float
    rows: int
    stop: bool


class Trainer:
    """Trains a network step by step. It does not count steps, so that a trial can go on from any of them.

    Args:
        step: Changes the weights.
        data: The rows.
        schedule: Learning rates and sizes of the steps.
        seed: Decides the order of the rows.
    """

    def __init__(self, step: TrainStep, data: TrainingData, schedule: Schedule, seed: int) -> None:
        self.data, self.schedule = data, schedule
        self._step = step
        self._plan = BatchPlan(
            data.train.lengths,
            bucket_limits(data.train.lengths),
            batch_size=schedule.batch_size,
            accumulation_steps=schedule.accumulation_steps,
            seed=seed,
        )

    @property
    def weights(self) -> list[Any]:
        """The variables of the network, those of its dropout's random numbers among them."""
        return self._step.model.variables

    @property
    def moments(self) -> list[tf.Variable]:
        """The variables of the optimizer."""
        return self._step.variables

    def train_step(self, number: int, stop: bool = False) -> StepResult:
        """Train on the batches of one step.

        Args:
            number: Number of the step, from 0.
            stop: Whether this process received SIGTERM.
        """
        batches = self._plan.batches(number)
        rate = self.schedule.rate(number)
        arrays = with_weights(self.data.train, batches, self.data.class_weights)
        loss, norm, any_stop = self._step.train(arrays, rate, number + 1, stop)
        return StepResult(loss, rate, norm, sum(len(batch.rows) for batch in batches), any_stop)

    def predict(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Logits without dropout, float32 [batch, classes], of inputs as `Rows.inputs` gives them."""
        return self._step.predict(inputs)

    def rows_before(self, step: int) -> int:
        """Number of rows that were trained on when this step begins."""
        return self._plan.rows_before(step)


def make_trainer(
    classifier: Any,
    data: TrainingData,
    schedule: Schedule,
    optimizer: OptimizerSettings,
    distribution: Distribution,
    seed: int,
) -> Trainer:
    """A trainer of a fresh classifier; see `trimming` for what becomes of words that the data does not hold.

    Args:
        classifier: The `bert.Classifier` before training.
        data: The rows.
        schedule: Learning rates and sizes of the steps.
        optimizer: How the weights are changed.
        distribution: The devices that train.
        seed: Of dropout and of the order of the rows.
    """
    with distribution.strategy.scope():
        if data.used is not None:
            classifier = trim(classifier, data.used, seed, classifier.model.dtype_policy.name)
        model = classifier.model
        model.fuse(fusing_pays(distribution, schedule))
        variables = model.trainable_variables
        paths = [variable.path for variable in variables]
        adamw = AdamW(
            [variable.value for variable in variables],
            layer_rates(paths, classifier.config.num_hidden_layers, optimizer.layer_decay),
            [decays(path) for path in paths],
            weight_decay=optimizer.weight_decay,
            epsilon=optimizer.epsilon,
        )
        step = TrainStep(
            model,
            adamw,
            distribution,
            label_smoothing=optimizer.label_smoothing,
            max_gradient_norm=optimizer.max_gradient_norm,
        )
    return Trainer(step, data, schedule, seed)


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """The values of variables, in the memory of the variables where that is this machine's: good until the next step.

    `numpy()` of Keras's variables copies, and takes seconds for a BERT-base.
    """
    return [np.asarray(memoryview(tf.convert_to_tensor(variable))) for variable in variables]


def fusing_pays(distribution: Distribution, schedule: Schedule) -> bool:
    """Whether a trial is long enough to be faster with the compiled layers of `bert.fused`, and on one processor."""
    batches = schedule.steps * schedule.accumulation_steps
    one_cpu = distribution.replicas == distribution.workers and not tf.config.list_logical_devices("GPU")
    return one_cpu and batches >= FUSED_FROM
