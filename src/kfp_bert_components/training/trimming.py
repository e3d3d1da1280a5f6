"""Training with only those words of the vocabulary that the data holds: the same result, with a smaller embedding.

A word that is in no row has no gradient: Adam's moments of it stay zero, and only weight decay changes its vector. So
its vector can be left out while the network trains, and its decay applied at the end. This spares the optimizer half
of its work on a BERT with small layers.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from kfp_bert_components.bert.encoder import BertClassifier

WORD_EMBEDDING = "embeddings/word"  # the end of its path
MOST_USED_SHARE = 0.9  # of the vocabulary: where the data holds more of it, nothing is left out


def used_tokens(vocabulary_size: int, *parts: np.ndarray) -> np.ndarray | None:
    """The token ids that the data holds.

    Args:
        vocabulary_size: Number of token ids in all.
        parts: Token ids of each split, int32 [tokens].

    Returns:
        Sorted ids, int32 [used], 0 (padding) among them; None where leaving out the others would gain little.
    """
    used = np.unique(np.concatenate([np.zeros(1, np.int32), *parts]))
    return used if len(used) < MOST_USED_SHARE * vocabulary_size else None


def renumbered(tokens: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Token ids of the whole vocabulary as ids of the trimmed one: places in `used`, int32 [tokens]."""
    return np.searchsorted(used, tokens).astype(np.int32)


def trim(classifier: Any, used: np.ndarray, seed: int, dtype: str) -> Any:
    """A classifier with the same weights and dropout, whose word embedding has only the used rows.

    Args:
        classifier: The whole `bert.Classifier`.
        used: Ids to keep, from `used_tokens`.
        seed: Seed of the classifier's dropout.
        dtype: Keras dtype policy of its layers.
    """
    config = replace(classifier.config, vocab_size=len(used))
    model = BertClassifier(config, seed=seed, dtype=dtype)
    for small, whole in zip(model.variables, classifier.model.variables, strict=True):
        value = whole.numpy()
        small.assign(value[used] if small.path.endswith(WORD_EMBEDDING) else value)
    return replace(classifier, model=model)


def untrimmed(model: Any, values: list[np.ndarray], used: np.ndarray, decay: float) -> list[np.ndarray]:
    """Values for the variables of the whole network, after its trimmed one was trained.

    Args:
        model: The whole network as it was before training.
        values: Of the trimmed network's variables, after training.
        used: As given to `trim`.
        decay: What weight decay leaves of a weight without gradient, from `weight_after_decay`.
    """
    whole = []
    for variable, value in zip(model.variables, values, strict=True):
        if variable.path.endswith(WORD_EMBEDDING):
            table = variable.numpy() * np.float32(decay)
            table[used] = value
            value = table
        whole.append(value)
    return whole


def weight_after_decay(rates: Iterable[float], weight_decay: float) -> float:
    """Share of a weight that is left when it only decays.

    Args:
        rates: Its learning rate at each step.
        weight_decay: As given to `AdamW`.
    """
    return math.prod(1 - rate * weight_decay for rate in rates)
