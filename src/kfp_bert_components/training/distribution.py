"""The devices that train: of this process alone, all GPUs of the machine, or several machines named by TF_CONFIG."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_bert_components.errors import UserError
from kfp_bert_components.progress import say
from kfp_bert_components.quiet import gpu_asked_for


class WorkerLostError(RuntimeError):
    """Another worker is gone, or can't be reached: the run is over until all workers start again."""


@dataclass(frozen=True)
class Distribution:
    """A strategy of TensorFlow and the place of this process in it.

    Attributes:
        strategy: TensorFlow's strategy, in whose scope variables are made and which runs the step.
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
        """Divide the rows of a batch among the local replicas.

        Args:
            arrays: Arrays of the same number of rows; `weights` must be among them.

        Returns:
            With one replica the arrays as tensors. With n replicas a value for `strategy.run` that gives each of them
            every n-th row; where the rows don't divide by n, rows of weight 0 are added.
        """
        if self.replicas == 1:
            return {name: tf.constant(array) for name, array in arrays.items()}
        missing = -len(arrays["weights"]) % self.replicas
        # the rows that are added repeat the last one
        rows = np.minimum(np.arange(len(arrays["weights"]) + missing), len(arrays["weights"]) - 1)
        padded = {name: array[rows] for name, array in arrays.items()}
        padded["weights"][len(rows) - missing :] = 0

        def share(context: tf.distribute.InputContext) -> dict[str, tf.Tensor]:
            first = context.replica_id_in_sync_group
            return {name: tf.constant(array[first :: self.replicas]) for name, array in padded.items()}

        return self.strategy.experimental_distribute_values_from_function(share)

    @contextmanager
    def naming_lost_workers(self, step: Callable[[], int], resumable: bool) -> Iterator[None]:
        """Turn TensorFlow's error about an aborted collective operation into one that says that a worker was lost.

        Args:
            step: Gives the number of steps done.
            resumable: Whether there are checkpoints to go on from.

        Raises:
            WorkerLostError: Another worker is gone, or can't be reached.
        """
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            if self.workers == 1:
                raise
            again = "they go on from the newest checkpoint" if resumable else "they begin anew without a checkpoint_dir"
            raise WorkerLostError(
                f"Another of the {self.workers} workers was lost after step {step()}, and training can't go on "
                f"without it; start all workers again: {again}."
            ) from error

    def from_chief(self, values: list[float]) -> list[float]:
        """The chief's values, in every process, so that all of them decide alike. Called by all processes together."""
        if self.workers == 1:
            return values
        mine = np.array(values if self.chief else [0.0] * len(values), np.float64)
        local = self.replicas // self.workers
        return [float(value) for value in _summed(self.strategy, mine / local)]


def open_distribution(devices: list[str] | None = None) -> Distribution:
    """Choose the devices by TF_CONFIG and the GPUs of this machine. Call it before any other use of TensorFlow.

    Args:
        devices: Devices of this machine to train on, such as ["GPU:0", "GPU:1"]; by default all GPUs where
            there are several.

    Returns:
        MultiWorkerMirroredStrategy where TF_CONFIG names more than one worker, MirroredStrategy for more
        than one device, and TensorFlow's default strategy otherwise.

    Raises:
        UserError: TF_CONFIG can't be read, or gives this process another role than that of a worker.
    """
    _warn_of_idle_gpus()
    workers, index = _cluster(os.environ.get("TF_CONFIG", ""))
    if workers > 1:
        options = tf.distribute.experimental.CommunicationOptions()
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
        return Distribution(strategy, workers, chief=index == 0)
    devices = devices or [device.name[-5:] for device in tf.config.list_logical_devices("GPU")]
    if len(devices) > 1:
        return Distribution(tf.distribute.MirroredStrategy(devices))
    return Distribution(tf.distribute.get_strategy())


def _warn_of_idle_gpus() -> None:
    """Say so where this container or machine has an NVIDIA GPU, which somebody pays for, and TensorFlow sees none."""
    if not gpu_asked_for() or tf.config.list_physical_devices("GPU"):
        return
    say(
        "warning: there is a GPU here, but TensorFlow sees none, so this trains on the CPU. Use an image made by "
        "`make images CUDA=1`, or pip install 'kfp-bert-components[tensorflow-cuda]', with a driver for CUDA 12."
    )


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
    @tf.function(autograph=False)
    def add_up() -> tf.Tensor:
        def own() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(values))

        return strategy.experimental_local_results(strategy.run(own))[0]

    return add_up().numpy()
