"""What a model is to the server, whichever library runs it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kfp_bert_components.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from kfp_bert_components.serving.versions import ModelVersion

Instance = dict[str, str]


@dataclass(frozen=True)
class Answers:
    """What a model says of some instances.

    Attributes:
        labels: The label of each instance.
        probabilities: float32 [instances, classes].
    """

    labels: list[str]
    probabilities: np.ndarray

    def predictions(self) -> list[dict[str, Any]]:
        """For each instance `label`, `probabilities` (an array) and `score` (of numpy): the label's probability."""
        rows = zip(self.labels, self.probabilities, self.scores, strict=True)
        return [{"label": label, "probabilities": row, "score": score} for label, row, score in rows]

    @property
    def scores(self) -> np.ndarray:
        """The highest probability of each instance, float32 [instances]."""
        return self.probabilities.max(axis=1)


class Engine(Protocol):
    """A loaded model. It is called from one thread at a time.

    Attributes:
        name: The library: onnxruntime or tensorflow.
        version: What is loaded.
        inputs: Names of the texts in an instance: text, and text_pair for a model of pairs.
        labels: The classes in the order of the probabilities; () where the model does not tell them.
        max_length: Most tokens that are read of an instance.
    """

    name: str
    version: ModelVersion
    inputs: tuple[str, ...]
    labels: tuple[str, ...]
    max_length: int

    def answer(self, instances: Sequence[Instance]) -> Answers:
        """The answers to some instances, which have the texts that `inputs` names."""


@dataclass(frozen=True)
class Threads:
    """How many threads a model uses.

    Attributes:
        count: Threads of one call of the model.
        spinning: Whether a thread that waits keeps its core busy. That is faster on a machine of one's own, and costs
            time that others need, or that a container is not given, elsewhere.
    """

    count: int
    spinning: bool

    @classmethod
    def of_machine(cls, count: int = 0) -> Threads:
        """`count` threads, or as many as there are cores for this process; spinning unless its CPU time is limited."""
        limit = cpu_limit()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return cls(count or max(1, min(cores, round(limit or cores))), spinning=limit is None)


def cpu_limit(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """How many cores' time this container is given, as Kubernetes' `limits.cpu`; None where there is no limit.

    Args:
        root: Where the control groups (version 1 or 2) are.
    """
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def load_engine(version: ModelVersion, threads: Threads) -> Engine:
    """Load a version and ask it once: with ONNX Runtime where it holds `model.onnx`, else with TensorFlow.

    Raises:
        UserError: The version cannot be loaded, or the library is not installed.
    """
    try:
        if version.onnx is not None:
            from kfp_bert_components.serving.onnx import OnnxEngine

            engine: Engine = OnnxEngine(version, threads)
        else:
            from kfp_bert_components.serving.model import Model

            engine = Model(version, threads=threads)
    except ModuleNotFoundError as error:
        extra = "serve" if version.onnx is not None else "tensorflow"
        raise UserError(
            f"{error.name} is not installed, which this model needs: pip install 'kfp-bert-components[{extra}]'."
        ) from error
    engine.answer([dict.fromkeys(engine.inputs, "warm up")])
    return engine
