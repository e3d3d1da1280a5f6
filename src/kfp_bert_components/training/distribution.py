"""Who trains: this process alone, all GPUs of the machine, or several machines named by TF_CONFIG."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_bert_components.errors import UserError


class WorkerLostError(RuntimeError):
    """Another worker is gone, or can't be reached: the run is over until all workers start again."""


@dataclass(frozen=True)
class Distribution:
    """A strategy of TensorFlow and the place of this process in it.

    Attributes:
        strategy: Makes the variables and runs the step.
        workers: Number of processes that train together.
        chief: Whether this process writes checkpoints, logs and the model.
    """

    strategy: tf.distribute.Strategy
    workers: int = 1
    chief: bool = True

    @property
    def replicas(self) -> int:
        """Number of devices that train together, over all workers."""
        return self.strategy.num_replicas_in_sync

    def scatter(self, arrays: dict[str, np.ndarray]) -> Any:
        """One share of the rows for each local replica: every `replicas`-th row of each array."""
        if self.replicas == 1:
            return {name: tf.constant(array) for name, array in arrays.items()}
        missing = -len(arrays["weights"]) % self.replicas
        # rows more than there are repeat the last one, with no weight in the loss
        rows = np.minimum(np.arange(len(arrays["weights"]) + missing), len(arrays["weights"]) - 1)
        padded = {name: array[rows] for name, array in arrays.items()}
        padded["weights"][len(rows) - missing :] = 0

        def share(context: tf.distribute.InputContext) -> dict[str, tf.Tensor]:
            first = context.replica_id_in_sync_group
            return {name: tf.constant(array[first :: self.replicas]) for name, array in padded.items()}

        return self.strategy.experimental_distribute_values_from_function(share)

    @contextmanager
    def watching(self, step: int, resumable: bool) -> Iterator[None]:
        """Say that another worker was lost, where TensorFlow says that a collective was aborted."""
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            if self.workers == 1:
                raise
            again = "they go on from the newest checkpoint" if resumable else "they begin anew without a checkpoint_dir"
            raise WorkerLostError(
                f"Another of the {self.workers} workers was lost after step {step}, and training can't go on "
                f"without it; start all workers again: {again}."
            ) from error

    def from_chief(self, values: list[float]) -> list[float]:
        """The chief's values in every process, so that all of them decide alike."""
        if self.workers == 1:
            return values
        mine = np.array(values if self.chief else [0.0] * len(values), np.float64)
        local = self.replicas // self.workers
        return [float(value) for value in _summed(self.strategy, mine / local)]


def open_distribution(devices: list[str] | None = None) -> Distribution:
    """Find out from TF_CONFIG and the GPUs at hand who trains. Call it before any other use of TensorFlow.

    Args:
        devices: Devices of this machine to train on, such as ["GPU:0", "GPU:1"]; by default all GPUs where
            there are several.

    Returns:
        MultiWorkerMirroredStrategy where TF_CONFIG names more than one worker, MirroredStrategy for more
        than one device, and no distribution otherwise.
    """
    workers, index = _cluster(os.environ.get("TF_CONFIG", ""))
    if workers > 1:
        options = tf.distribute.experimental.CommunicationOptions()
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
        return Distribution(strategy, workers, chief=index == 0)
    devices = devices or [device.name[-5:] for device in tf.config.list_logical_devices("GPU")]
    if len(devices) > 1:
        return Distribution(tf.distribute.MirroredStrategy(devices))
    return Distribution(tf.distribute.get_strategy())


def _cluster(text: str) -> tuple[int, int]:
    """Number of training processes, and which of them this one is, from the text of TF_CONFIG."""
    if not text.strip():
        return 1, 0
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        chiefs, others = cluster.get("chief", []), cluster.get("worker", [])
        index = int(task.get("index", 0))
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"TF_CONFIG is {text!r}, but must be JSON with cluster and task: {error}.") from error
    if task.get("type", "worker") not in ("chief", "worker", "master"):
        raise UserError(f"TF_CONFIG makes this process a {task['type']}, but only workers and a chief train here.")
    if task.get("type") == "worker" and chiefs:
        index += len(chiefs)
    return max(1, len(chiefs) + len(others)), index


def _summed(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    @tf.function
    def add_up() -> tf.Tensor:
        def own() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(values))

        return strategy.experimental_local_results(strategy.run(own))[0]

    return add_up().numpy()
