"""What a model is to the server, whichever library runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kfp_bert_components.bert.cores import cpu_limit, usable_cores
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
        return cls(count or usable_cores(), spinning=cpu_limit() is None)


def load_engine(version: ModelVersion, threads: Threads) -> Engine:
    """Load a version and ask it once: with ONNX Runtime where it holds `model.onnx`, else with TensorFlow.

    Raises:
        UserError: The version cannot be loaded, its answers are none, or the library is not installed.
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
    _check_answers(engine)
    return engine


def _check_answers(engine: Engine) -> None:
    """Refuse a model whose answers to two texts can't be served: it would take over from one that works.

    Raises:
        UserError: Its answers have another shape than its texts and labels, or are no numbers.
    """
    import numpy as np

    found = engine.answer([dict.fromkeys(engine.inputs, "warm up")] * 2)
    shape, where = found.probabilities.shape, engine.version.onnx or engine.version.folder
    if (len(found.labels), *shape[:-1]) != (2, 2):
        raise UserError(
            f"{where} answers two texts with {len(found.labels)} labels and probabilities of the shape {shape}: it "
            "must give a label and a row of probabilities for each text."
        )
    if engine.labels and len(engine.labels) != shape[1]:
        raise UserError(
            f"{where} answers with {shape[1]} probabilities, and its bundle.json names {len(engine.labels)} labels: "
            "copy all files of the model, or write it again."
        )
    if not np.isfinite(found.probabilities).all():
        raise UserError(f"{where} answers with numbers that are no probabilities: train it again.")
