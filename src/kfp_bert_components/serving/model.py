"""A loaded SavedModel that answers batches of texts. The only module of the server that needs TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.source import Found

SIGNATURE = "serving_default"


class Model:
    """A SavedModel's serving signature as a function from instances to predictions.

    Args:
        found: The SavedModel to load.
        batch_size: Most texts in one call of the signature.

    Raises:
        UserError: The folder cannot be loaded, or has no signature that takes `text`.
    """

    def __init__(self, found: Found, batch_size: int = 64) -> None:
        import tensorflow as tf

        try:
            self._loaded: Any = tf.saved_model.load(str(found.folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"{found.folder} cannot be loaded as a SavedModel: {error}") from error
        if SIGNATURE not in self._loaded.signatures:
            raise UserError(f"{found.folder} has no signature {SIGNATURE!r}: export the model again.")
        self._signature = self._loaded.signatures[SIGNATURE]
        self.inputs: tuple[str, ...] = tuple(sorted(self._signature.structured_input_signature[1]))
        if "text" not in self.inputs:
            raise UserError(f"{found.folder} takes {', '.join(self.inputs)}: expected an input `text`.")
        self.found = found
        self._batch_size = batch_size
        self.predict([dict.fromkeys(self.inputs, "warm up")])

    def predict(self, instances: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
        """The answers to `instances`, in their order.

        Args:
            instances: One dict each, with a string for every name in `inputs`.

        Returns:
            One dict each with the outputs of the signature: `label`, `score` and `probabilities`.
        """
        predictions: list[dict[str, Any]] = []
        for start in range(0, len(instances), self._batch_size):
            predictions += self._predict_batch(instances[start : start + self._batch_size])
        return predictions

    def _predict_batch(self, instances: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
        import tensorflow as tf

        feeds = {name: tf.constant([instance[name] for instance in instances]) for name in self.inputs}
        outputs = {name: _plain(value.numpy().tolist()) for name, value in self._signature(**feeds).items()}
        names = sorted(outputs)
        return [
            dict(zip(names, row, strict=True)) for row in zip(*(outputs[name] for name in names), strict=True)
        ]


def _plain(value: Any) -> Any:
    """Bytes of string tensors as text, at any depth."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
