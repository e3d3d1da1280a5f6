"""What training starts from: a checkpoint with a new head, or a new small network."""

import hashlib
import json
from dataclasses import replace
from typing import Any

from kfp_bert_components.bert import load_checkpoint, new_classifier
from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.errors import UserError
from kfp_bert_components.training.rows import read_texts
from kfp_bert_components.training.settings import NetworkSettings


def make_classifier(network: NetworkSettings, split: Any, *, seed: int, dtype: str = "float32") -> Any:
    """The classifier before training.

    Args:
        network: The checkpoint to start from, or the size of a new network.
        split: The `data.Split` to train on: its labels, and its texts where a vocabulary is learned.
        seed: Of new weights and dropout.
        dtype: Keras dtype policy of its layers: "float32" or "mixed_bfloat16".

    Returns:
        A `bert.Classifier`.

    Raises:
        UserError: The checkpoint can't be read, or takes only shorter inputs than `max_length`.
    """
    if not network.base_model:
        return _new(network, split, seed, dtype)
    classifier = load_checkpoint(
        network.base_model,
        split.labels,
        hidden_dropout=network.dropout,
        attention_dropout=network.dropout,
        seed=seed,
        dtype=dtype,
    )
    positions = classifier.config.max_position_embeddings
    if network.max_length > positions:
        raise UserError(
            f"max_length is {network.max_length}, but {network.base_model} has only {positions} positions; "
            f"give at most {positions}."
        )
    return classifier


def _new(network: NetworkSettings, split: Any, seed: int, dtype: str) -> Any:
    texts, pairs = read_texts(split.table, split.pair)
    classifier = new_classifier(
        texts + (pairs or []),
        split.labels,
        vocabulary_size=network.vocabulary_size,
        layers=network.layers,
        width=network.width,
        heads=network.heads,
        max_length=network.max_length,
        seed=seed,
        dtype=dtype,
    )
    if network.dropout is None:
        return classifier
    config = replace(
        classifier.config, hidden_dropout_prob=network.dropout, attention_probs_dropout_prob=network.dropout
    )
    return replace(classifier, model=BertClassifier(config, seed=seed, dtype=dtype))


def vocabulary_digest(classifier: Any) -> str:
    """Hash of a classifier's vocabulary, 16 hex digits: only where it is equal do token ids mean the same."""
    entries = sorted(classifier.tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:16]
