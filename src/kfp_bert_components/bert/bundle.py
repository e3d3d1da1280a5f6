"""A trained model on disk: bundle.json, model.onnx and saved_model/ to serve, huggingface/ for transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.records import load_record

if TYPE_CHECKING:
    import numpy as np

FORMAT = 2  # format 1 knows nothing of engines: all of its bundles hold a SavedModel, and no model.onnx
BUNDLE_JSON = "bundle.json"
ONNX, TENSORFLOW = "onnxruntime", "tensorflow"
SAME = 1e-5  # most that a probability may differ between two engines that stand for each other


@dataclass(frozen=True)
class Bundle:
    """A model bundle that was read.

    Attributes:
        folder: The folder of the bundle.
        metadata: What bundle.json says, without the number of its format.
    """

    folder: Path
    metadata: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """The classes in the order of the probabilities."""
        return list(self.metadata["labels"])

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and settings: equal for equal models."""
        return str(self.metadata["fingerprint"])

    @property
    def engines(self) -> dict[str, dict[str, Any]]:
        """By engine that the bundle can be served with: its `precision`, and what its export showed of it.

        `largest_change` is the most that a probability differs from the trained network's, in float32, on the texts
        that were looked at.
        """
        return dict(self.metadata["engines"])

    @property
    def engine(self) -> str:
        """The engine that our server takes: ONNX Runtime where the bundle has a model for it, else TensorFlow."""
        return ONNX if ONNX in self.engines else TENSORFLOW

    def predict(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, batch_size: int = 32, engine: str = ""
    ) -> "np.ndarray":
        """Probabilities of the classes, by model.onnx or by the SavedModel's serving signature.

        Args:
            texts: The (first) texts.
            pairs: The second texts, for a model of pairs.
            batch_size: Texts in one call; texts of similar length share a call.
            engine: "onnxruntime" or "tensorflow"; by default the one that our server takes.

        Returns:
            float32 [texts, classes], in the order of `labels`.

        Raises:
            UserError: The model takes pairs and got none, or the other way round; an answer has another shape; or the
                bundle can't be served with the engine.
        """
        if self.metadata["pair"] != (pairs is not None):
            wanted = "pairs of texts" if self.metadata["pair"] else "single texts"
            raise UserError(f"the model in {self.folder} was trained on {wanted}: give it the same kind of data")
        engine = engine or self.engine
        if engine not in self.engines:
            known = " or ".join(self.engines)
            raise UserError(f"the model in {self.folder} has nothing for the engine {engine!r}: choose {known}")
        if engine == ONNX:
            return self._onnx_model.predict(texts, pairs, batch_size)
        return self._predict_saved_model(texts, pairs, batch_size)

    def _predict_saved_model(self, texts: Sequence[str], pairs: Sequence[str] | None, batch_size: int) -> "np.ndarray":
        import numpy as np

        columns = {"text": texts} if pairs is None else {"text": texts, "text_pair": pairs}
        sizes = [sum(map(len, row)) for row in zip(*columns.values(), strict=True)]
        order = sorted(range(len(texts)), key=sizes.__getitem__)
        result = np.zeros((len(texts), len(self.labels)), np.float32)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            answer = self._serve({name: [column[i] for i in batch] for name, column in columns.items()})
            if answer.shape != (len(batch), len(self.labels)):
                raise UserError(
                    f"The model in {self.folder} answers {len(batch)} texts with probabilities of the shape "
                    f"{answer.shape}: it must be {(len(batch), len(self.labels))}, a row for each text and in it one "
                    "number for each label; write the model again."
                )
            result[batch] = answer
        return result

    @cached_property
    def _onnx_model(self) -> Any:
        from kfp_bert_components.bert.onnx_model import OnnxModel

        return OnnxModel(self.folder)

    @cached_property
    def _saved_model(self) -> Any:
        from kfp_bert_components.bert.saved_model import load_saved_model

        return load_saved_model(self.folder / "saved_model")

    def _serve(self, inputs: dict[str, list[str]]) -> "np.ndarray":
        import tensorflow as tf

        serve = self._saved_model.signatures["serving_default"]
        return serve(**{name: tf.constant(texts) for name, texts in inputs.items()})["probabilities"].numpy()


def read_bundle(folder: Path) -> Bundle:
    """Read a model bundle; the model is loaded at the first prediction.

    Raises:
        NotFoundError: There is no bundle.json.
        UserError: It is no JSON object, lacks labels or fingerprint, or is of a format that this version does not know.
    """
    path = Path(folder) / BUNDLE_JSON
    if not path.exists():
        raise NotFoundError(f"{folder} holds no {BUNDLE_JSON}: give the folder of a model bundle")
    metadata = load_record(path.read_bytes(), str(path), {1: _read_1, 2: _read_2}, "give the folder of a model bundle")
    return Bundle(Path(folder), metadata)


def _read_1(fields: dict[str, Any]) -> dict[str, Any]:
    saved_model = {"precision": fields.get("precision", "float32"), "largest_change": 0.0}
    return _read_2({**fields, "engines": {TENSORFLOW: saved_model}})


def _read_2(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {name: fields[name] for name in ("labels", "pair", "fingerprint", "engines")}  # which must be there
