"""Answers single short texts by code that XLA compiled, which a CPU runs faster than TensorFlow's operations."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

LENGTHS = (4, 8, 12, 16, 24, 32, 48, 64)  # in tokens; a text is padded to the next of them
MOST_DIFFERENCE = 1e-6  # of a probability, between the compiled and the uncompiled network
_INPUTS = ("input_ids", "token_type_ids", "attention_mask")


class CompiledNetwork:
    """The network of a SavedModel, compiled for single texts of up to 64 tokens.

    Args:
        loaded: The SavedModel; it must have the functions of `bert.export.ServedModel`.
    """

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded
        self._compiled: dict[int, Callable[..., Any]] = {}

    @staticmethod
    def is_possible(loaded: Any) -> bool:
        """Whether this SavedModel is compiled: it has the functions, and the machine has no GPU."""
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return False
        return all(hasattr(loaded, name) for name in ("tokenize", "probabilities", "probabilities_of_one", "answer"))

    @property
    def ready(self) -> bool:
        """Whether the network is compiled for at least one length."""
        return bool(self._compiled)

    def compile(self) -> Iterator[int]:
        """Compile for one length after the other, about a second each; texts can be answered meanwhile.

        Yields:
            Each length that is used from now on. A length is left out where a probability of the compiled network
            differs by more than MOST_DIFFERENCE.
        """
        import tensorflow as tf

        longest = self._longest()
        for length in sorted({min(length, longest) for length in LENGTHS}):
            compiled = tf.function(
                lambda inputs: self._loaded.probabilities_of_one(*tf.unstack(inputs)),
                input_signature=[tf.TensorSpec([len(_INPUTS), 1, length], tf.int32)],
                jit_compile=True,
            ).get_concrete_function()
            tokens = {
                name: np.ones([1, length - 1], np.int32) for name in _INPUTS
            }  # one token shorter, so that padding is tested too
            difference = np.abs(compiled(_stacked(tokens, length)) - self._uncompiled(tokens)).max()
            if difference <= MOST_DIFFERENCE:
                self._compiled[length] = compiled
                yield length

    def predict(self, text: dict[str, Any]) -> dict[str, Any]:
        """The outputs of the serving signature for one text (or pair), each a string tensor [1]."""
        tokens = {name: value.numpy() for name, value in self._loaded.tokenize(**text).items()}
        return self._loaded.answer(self.probabilities(tokens))

    def probabilities(self, tokens: dict[str, np.ndarray]) -> Any:
        """Probabilities of the classes.

        Args:
            tokens: input_ids, token_type_ids and attention_mask, int32 [batch, length].

        Returns:
            float32 [batch, classes]. For batches of several texts and for longer texts the network is not compiled.
        """
        texts, length = tokens["input_ids"].shape
        known = sorted(most for most in list(self._compiled) if most >= length)
        if texts != 1 or not known:
            return self._uncompiled(tokens)
        return self._compiled[known[0]](_stacked(tokens, known[0]))

    def _uncompiled(self, tokens: dict[str, np.ndarray]) -> Any:
        return self._loaded.probabilities(*(tokens[name] for name in _INPUTS))

    def _longest(self) -> int:
        """Most tokens that the tokenizer gives."""
        names = self._loaded.tokenize.input_signature
        return int(self._loaded.tokenize(*(["a " * 2000] for _ in names))["input_ids"].shape[1])


def _stacked(tokens: dict[str, np.ndarray], length: int) -> Any:
    """The three inputs of one text as one padded tensor, int32 [3, 1, length]: a call costs time for each tensor."""
    import tensorflow as tf

    inputs = np.zeros([len(_INPUTS), 1, length], np.int32)
    for row, name in zip(inputs, _INPUTS, strict=True):
        row[:, : tokens[name].shape[1]] = tokens[name]
    return tf.constant(inputs)
