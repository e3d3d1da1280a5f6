"""What training starts from: a checkpoint with a new head, or a new small network."""

import hashlib
import json
from dataclasses import replace
from typing import Any

from kfp_bert_components.bert import load_checkpoint, new_classifier
from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.errors import UserError
from kfp_bert_components.training.examples import read_texts
from kfp_bert_components.training.settings import TrainingSettings


def make_classifier(settings: TrainingSettings, split: Any, seed: int) -> Any:
    """The network before training.

    Args:
        settings: `base_model` or the sizes of a new network, dropout and precision.
        split: The split to train on, for its labels and for a vocabulary.
        seed: Of new weights and dropout.

    Returns:
        A `bert.Classifier` whose layers compute in the precision of the settings.
    """
    dtype = model_dtype(settings)
    if not settings.base_model:
        return _new(settings, split, seed, dtype)
    dropout = None if settings.dropout < 0 else settings.dropout
    classifier = load_checkpoint(
        settings.base_model,
        split.labels,
        hidden_dropout=dropout,
        attention_dropout=dropout,
        seed=seed,
        dtype=dtype,
    )
    positions = classifier.config.max_position_embeddings
    if settings.max_length > positions:
        raise UserError(
            f"max_length is {settings.max_length}, but {settings.base_model} has only {positions} positions; "
            f"give at most {positions}."
        )
    return classifier


def model_dtype(settings: TrainingSettings) -> str:
    """Keras' name of the precision."""
    return "float32" if settings.precision == "float32" else f"mixed_{settings.precision}"


def _new(settings: TrainingSettings, split: Any, seed: int, dtype: str) -> Any:
    texts, pairs = read_texts(split.table, split.pair)
    classifier = new_classifier(
        texts + (pairs or []),
        split.labels,
        vocabulary_size=settings.vocabulary_size,
        layers=settings.layers,
        width=settings.width,
        heads=settings.heads,
        max_length=settings.max_length,
        seed=seed,
        dtype=dtype,
    )
    if settings.dropout < 0:
        return classifier
    config = replace(
        classifier.config, hidden_dropout_prob=settings.dropout, attention_probs_dropout_prob=settings.dropout
    )
    return replace(classifier, model=BertClassifier(config, seed=seed, dtype=dtype))


def vocabulary_digest(classifier: Any) -> str:
    """Hash of the vocabulary: token ids mean the same only where it is equal."""
    entries = sorted(classifier.tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:16]
