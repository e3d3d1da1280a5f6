"""A loaded SavedModel that answers batches of texts. The only module of the server that needs TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kfp_bert_components.bert.saved_model import load_saved_model
from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.compiled import CompiledNetwork
from kfp_bert_components.serving.versions import ModelVersion

SIGNATURE = "serving_default"


class Model:
    """A SavedModel's serving signature as a function from instances to predictions.

    Attributes:
        version: The version that is loaded.
        inputs: Names of the texts in an instance: text, and text_pair for a model of pairs.
        compiled: Answers single short texts once `compile` has run; None for a SavedModel that can't be compiled.

    Args:
        version: The SavedModel to load.
        batch_size: Most texts in one call of the signature.

    Raises:
        UserError: The folder cannot be loaded, or has no signature that takes `text`.
    """

    def __init__(self, version: ModelVersion, batch_size: int = 64) -> None:
        import tensorflow as tf

        try:
            self._loaded: Any = load_saved_model(version.folder)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"{version.folder} cannot be loaded as a SavedModel: {error}") from error
        if SIGNATURE not in self._loaded.signatures:
            raise UserError(f"{version.folder} has no signature {SIGNATURE!r}: export the model again.")
        self._signature = self._loaded.signatures[SIGNATURE]
        self.inputs: tuple[str, ...] = tuple(sorted(self._signature.structured_input_signature[1]))
        if "text" not in self.inputs:
            raise UserError(f"{version.folder} takes {', '.join(self.inputs)}: expected an input `text`.")
        self.version = version
        self._batch_size = batch_size
        self.compiled = CompiledNetwork(self._loaded) if CompiledNetwork.is_possible(self._loaded) else None
        self.predict([dict.fromkeys(self.inputs, "warm up")])

    def compile(self) -> Iterator[int]:
        """Compile for single short texts, one length after the other; see `CompiledNetwork.compile`.

        It does nothing for a SavedModel that can't be compiled.
        """
        if self.compiled:
            yield from self.compiled.compile()

    def predict(self, instances: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
        """Predictions for `instances`, in their order.

        Args:
            instances: For each instance a dict with a string for every name in `inputs`.

        Returns:
            For each instance a dict of the signature's outputs: `label` (string), `score` (the label's probability) and
            `probabilities` (a list, in the order of the classes).
        """
        predictions: list[dict[str, Any]] = []
        for start in range(0, len(instances), self._batch_size):
            predictions += self._predict_batch(instances[start : start + self._batch_size])
        return predictions

    def _predict_batch(self, instances: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
        import tensorflow as tf

        feeds = {name: tf.constant([instance[name] for instance in instances]) for name in self.inputs}
        compiled = self.compiled if len(instances) == 1 else None
        tensors = compiled.predict(feeds) if compiled and compiled.ready else self._signature(**feeds)
        outputs = {name: _plain(value.numpy().tolist()) for name, value in tensors.items()}
        names = sorted(outputs)
        return [dict(zip(names, row, strict=True)) for row in zip(*(outputs[name] for name in names), strict=True)]


def _plain(value: Any) -> Any:
    """Bytes of string tensors as text, at any depth."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
