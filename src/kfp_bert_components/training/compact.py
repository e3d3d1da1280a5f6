"""Training without the words that the data does not hold: the same numbers with a smaller embedding.

A word that occurs in no row has no gradient, so that Adam's moments of it stay zero and weight decay alone moves it.
Its rows can be left out of training, which spares the optimizer half of its work on a BERT with a small body, and
be put back afterwards.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.training.examples import Examples

WORDS = "embeddings/word"
WORTH_IT_BELOW = 0.9  # share of the vocabulary that is used


def used_tokens(vocabulary_size: int, *parts: Examples) -> np.ndarray | None:
    """The ids that occur in any of the rows, sorted, 0 (padding) among them; None where leaving out gains little."""
    used = np.unique(np.concatenate([np.zeros(1, np.int32), *(part.tokens for part in parts)]))
    return used if len(used) < WORTH_IT_BELOW * vocabulary_size else None


def renumber(examples: Examples, used: np.ndarray) -> Examples:
    """The same rows, in ids of the smaller embedding."""
    return replace(examples, tokens=np.searchsorted(used, examples.tokens).astype(np.int32))


def shrink(classifier: Any, used: np.ndarray, seed: int, dtype: str) -> Any:
    """A classifier with the same weights and dropout, but only the used rows of the word embedding."""
    config = replace(classifier.config, vocab_size=len(used))
    model = BertClassifier(config, seed=seed, dtype=dtype)
    for small, whole in zip(model.variables, classifier.model.variables, strict=True):
        value = whole.numpy()
        small.assign(value[used] if small.path.endswith(WORDS) else value)
    return replace(classifier, model=model)


def expand(model: Any, values: list[np.ndarray], used: np.ndarray, decay: float) -> list[np.ndarray]:
    """Values for the whole model.

    Args:
        model: The whole model before training.
        values: What the smaller model's variables ended with.
        used: As given to `shrink`.
        decay: What weight decay has left of a weight without gradient.
    """
    whole = []
    for variable, value in zip(model.variables, values, strict=True):
        if variable.path.endswith(WORDS):
            table = variable.numpy() * np.float32(decay)
            table[used] = value
            value = table
        whole.append(value)
    return whole
