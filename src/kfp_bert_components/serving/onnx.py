"""A model that ONNX Runtime answers: no TensorFlow is imported."""

from __future__ import annotations

from collections.abc import Sequence

from kfp_bert_components.bert.onnx_model import OnnxModel
from kfp_bert_components.serving.engines import Answers, Instance, Threads
from kfp_bert_components.serving.versions import ModelVersion


class OnnxEngine:
    """The `model.onnx` of a version; see `engines.Engine`.

    Args:
        version: Its `onnx` is the folder.
        threads: How many threads one call uses.

    Raises:
        UserError: A file is missing or damaged, or ONNX Runtime is not installed.
    """

    name = "onnxruntime"

    def __init__(self, version: ModelVersion, threads: Threads) -> None:
        assert version.onnx is not None
        self._model = OnnxModel(version.onnx, threads=threads.count, spinning=threads.spinning)
        self.version = version
        self.inputs: tuple[str, ...] = ("text", "text_pair") if self._model.pair else ("text",)
        self.labels = tuple(self._model.labels)
        self.max_length = self._model.max_length

    def answer(self, instances: Sequence[Instance]) -> Answers:
        """The answers to some instances."""
        columns = [[instance[name] for instance in instances] for name in self.inputs]
        probabilities = self._model.probabilities(self._model.tokenize(*columns))
        return Answers([self.labels[best] for best in probabilities.argmax(axis=1).tolist()], probabilities)
