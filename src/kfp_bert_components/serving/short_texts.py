"""Single short texts through compiled code, which a CPU runs faster than TensorFlow's own operations."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

LENGTHS = (4, 8, 12, 16, 24, 32, 48, 64)  # in tokens: a text is padded to the next, so few pieces of code serve all
MOST_DIFFERENCE = 1e-6  # of a probability, between compiled code and the SavedModel as it is
_INPUTS = ("input_ids", "token_type_ids", "attention_mask")


class ShortTexts:
    """A SavedModel of a bundle that answers single texts of up to 64 tokens by code that XLA compiled.

    Args:
        loaded: The SavedModel, with the functions of `bert.export.ServedModel`.
    """

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded
        self._compiled: dict[int, Callable[..., Any]] = {}

    @staticmethod
    def fits(loaded: Any) -> bool:
        """Whether this SavedModel can be compiled: its functions are there, and no GPU is."""
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return False
        return all(hasattr(loaded, name) for name in ("tokenize", "probabilities", "probabilities_of_one", "answer"))

    @property
    def ready(self) -> bool:
        """Whether there is compiled code."""
        return bool(self._compiled)

    def compile(self) -> Iterator[int]:
        """Compile for one length after the other, about a second each; texts are answered meanwhile.

        Yields:
            Each length, once it is in use. One for which the compiled code answers otherwise is left out.
        """
        import tensorflow as tf

        longest = self._longest()
        for length in sorted({min(length, longest) for length in LENGTHS}):
            compiled = tf.function(
                lambda inputs: self._loaded.probabilities_of_one(*tf.unstack(inputs)),
                input_signature=[tf.TensorSpec([len(_INPUTS), 1, length], tf.int32)],
                jit_compile=True,
            ).get_concrete_function()
            tokens = {name: np.ones([1, length - 1], np.int32) for name in _INPUTS}  # so that one place is padding
            difference = np.abs(compiled(_stacked(tokens, length)) - self._as_it_is(tokens)).max()
            if difference <= MOST_DIFFERENCE:
                self._compiled[length] = compiled
                yield length

    def predict(self, text: dict[str, Any]) -> dict[str, Any]:
        """The outputs of the serving signature for one text (or pair), each a string tensor [1]."""
        tokens = {name: value.numpy() for name, value in self._loaded.tokenize(**text).items()}
        return self._loaded.answer(self.probabilities(tokens))

    def probabilities(self, tokens: dict[str, np.ndarray]) -> Any:
        """Probabilities float32 [batch, classes] for ids int32 [batch, length]."""
        rows, length = tokens["input_ids"].shape
        known = sorted(most for most in list(self._compiled) if most >= length)
        if rows != 1 or not known:
            return self._as_it_is(tokens)
        return self._compiled[known[0]](_stacked(tokens, known[0]))

    def _as_it_is(self, tokens: dict[str, np.ndarray]) -> Any:
        return self._loaded.probabilities(*(tokens[name] for name in _INPUTS))

    def _longest(self) -> int:
        """Most tokens that the tokenizer gives."""
        names = self._loaded.tokenize.input_signature
        return int(self._loaded.tokenize(*(["a " * 2000] for _ in names))["input_ids"].shape[1])


def _stacked(tokens: dict[str, np.ndarray], length: int) -> Any:
    """The inputs of one text in one tensor, padded: each tensor that is handed over costs time. int32 [3, 1, length]"""
    import tensorflow as tf

    inputs = np.zeros([len(_INPUTS), 1, length], np.int32)
    for row, name in zip(inputs, _INPUTS, strict=True):
        row[:, : tokens[name].shape[1]] = tokens[name]
    return tf.constant(inputs)
