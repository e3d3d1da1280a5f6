"""What training starts from: a checkpoint with a new head, or a new small network."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_128

from kfp_bert_components.bert import export_checks, load_checkpoint, new_classifier
from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.bert.source import check_pin, checkpoint_address, checkpoint_folder, pin_checkpoint
from kfp_bert_components.errors import UserError
from kfp_bert_components.training.rows import read_texts, sample_rows
from kfp_bert_components.training.settings import NetworkSettings


@contextmanager
def read_once(network: NetworkSettings) -> Iterator[NetworkSettings]:
    """The same network, whose checkpoint no one changes unnoticed while the block runs.

    One in a bucket or on the hub is read into a folder of this machine; one in a local folder stays there.

    Raises:
        ConflictError: The checkpoint is another one than that which was pinned.
        UserError: It can't be read.
    """
    if not network.base_model:
        yield network
        return
    address = checkpoint_address(network.base_model)
    stays = address is not None and address.is_local
    pin = network.pin or (pin_checkpoint(network.base_model) if stays else "")
    with tempfile.TemporaryDirectory(prefix="base-model-") as scratch:
        folder = checkpoint_folder(network.base_model, Path(scratch), pin)
        yield replace(network, folder=folder, pin=pin if stays else "")


def make_classifier(
    network: NetworkSettings, split: Any, *, seed: int, dtype: str = "float32", again: bool = False
) -> Any:
    """The classifier before training.

    Args:
        network: The checkpoint to start from, or the size of a new network.
        split: The `data.Split` to train on: its labels, and its texts where a vocabulary is learned.
        seed: Of new weights and dropout.
        dtype: Keras dtype policy of its layers: "float32" or "mixed_bfloat16".
        again: Whether this run has made it before, so that there is nothing to say about it.

    Returns:
        A `bert.Classifier`.

    Raises:
        ConflictError: The checkpoint was changed since it was pinned.
        UserError: The checkpoint can't be read, its tokenizer is of no use for the texts of the split, or it takes only
            shorter inputs than `max_length`.
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
        texts=[text for row in sample_rows(split, 500) for text in row] if split.pair else sample_rows(split),
        quiet=again,
        folder=network.folder,
    )
    check_pin(network.base_model, network.pin)
    positions = classifier.config.max_position_embeddings
    if network.max_length > positions:
        raise UserError(
            f"max_length is {network.max_length}, but {network.base_model} has only {positions} positions; "
            f"give at most {positions}."
        )
    return classifier


def check_servable(classifier: Any, split: Any, *, max_length: int, truncation: str) -> None:
    """Check before training that the classifier can be served, on up to 1,000 rows of a split.

    Args:
        classifier: From `make_classifier`.
        split: The `data.Split` to train on.
        max_length: Longest row in tokens.
        truncation: What stays of a longer row.

    Raises:
        UserError: Its network takes no pairs, or its tokenizer can't be part of the served graph.
    """
    export_checks.check_servable(
        classifier.config,
        classifier.tokenizer,
        sample_rows(split),
        max_length=max_length,
        truncation=truncation,
        pair=split.pair,
    )


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


def weights_digest(classifier: Any) -> str:
    """Hash of a classifier's weights, 32 hex digits."""
    digest = xxh3_128()
    for variable in classifier.model.weights:
        digest.update(np.ascontiguousarray(variable).tobytes())
    return digest.hexdigest()


def vocabulary_digest(classifier: Any) -> str:
    """Hash of a classifier's vocabulary, 16 hex digits: only where it is equal do token ids mean the same."""
    entries = sorted(classifier.tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:16]
