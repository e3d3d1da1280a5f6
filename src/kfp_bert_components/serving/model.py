"""A loaded SavedModel that answers batches of texts. The only module of the server that needs TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.short_texts import ShortTexts
from kfp_bert_components.serving.source import Found

SIGNATURE = "serving_default"


class Model:
    """A SavedModel's serving signature as a function from instances to predictions.

    Attributes:
        found: The SavedModel that was loaded.
        inputs: Names of the texts that an instance has.
        short_texts: Answers single texts once `compile` has run; None for a SavedModel that can't be compiled.

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
        self.short_texts = ShortTexts(self._loaded) if ShortTexts.fits(self._loaded) else None
        self.predict([dict.fromkeys(self.inputs, "warm up")])

    def compile(self) -> Iterator[int]:
        """Compile for single short texts, step by step; see `ShortTexts.compile`. Nothing, for a foreign SavedModel."""
        if self.short_texts:
            yield from self.short_texts.compile()

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
        short = self.short_texts if len(instances) == 1 else None
        tensors = short.predict(feeds) if short and short.ready else self._signature(**feeds)
        outputs = {name: _plain(value.numpy().tolist()) for name, value in tensors.items()}
        names = sorted(outputs)
        return [dict(zip(names, row, strict=True)) for row in zip(*(outputs[name] for name in names), strict=True)]


def _plain(value: Any) -> Any:
    """Bytes of string tensors as text, at any depth."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
