"""Runs a classifier on texts the plain way: transformers' ids, padded, through the Keras network."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def padded(tokens: Any) -> dict[str, np.ndarray]:
    """The network's inputs from ragged token ids."""
    shape = (len(tokens.input_ids), max(map(len, tokens.input_ids)))
    inputs = {name: np.zeros(shape, np.int32) for name in ("input_ids", "token_type_ids", "attention_mask")}
    for i, (ids, types) in enumerate(zip(tokens.input_ids, tokens.token_type_ids, strict=True)):
        inputs["input_ids"][i, : len(ids)] = ids
        inputs["token_type_ids"][i, : len(ids)] = types
        inputs["attention_mask"][i, : len(ids)] = 1
    return inputs


def probabilities(
    classifier: Any,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    max_length: int,
    truncation: str = "head",
) -> np.ndarray:
    """Softmax of the logits, float32 [texts, classes]."""
    inputs = padded(classifier.tokenize(texts, pairs, max_length=max_length, truncation=truncation))
    logits = np.asarray(classifier.model(inputs, training=False))
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)
