"""Checks before a model is exported: what is served must answer as what was trained."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.bert.tokenizer import Tokens
from kfp_bert_components.bert.tokenizer_files import HARD_TEXTS
from kfp_bert_components.bert.wordpiece import WordPiece, differences
from kfp_bert_components.errors import UserError


def check_servable(
    config: BertConfig, tokenizer: Any, texts: Sequence[Any], *, max_length: int, truncation: str, pair: bool
) -> WordPiece:
    """Make the tokenizer in the graph, and check that a model can be served with it.

    Args:
        config: The shape of the network.
        tokenizer: The transformers tokenizer.
        texts: Texts on which the two are compared, beside HARD_TEXTS; for a model of pairs, tuples of two.
        max_length: Most tokens of a text (or pair), special tokens included.
        truncation: What stays of a longer text: "head" or "head_tail"; see `bert.tokenizer.tokenize`.
        pair: Whether the model takes two texts.

    Raises:
        UserError: The network takes no such texts, or the tokenizer in the graph gives other ids.
    """
    check_limits(config, max_length, pair)
    wordpiece = WordPiece(tokenizer, max_length, truncation)
    check_tokenizer(tokenizer, wordpiece, *columns(texts, pair))
    return wordpiece


def columns(texts: Sequence[Any], pair: bool) -> tuple[list[str], list[str] | None]:
    """The first and the second texts of pairs; single texts, and None."""
    return ([first for first, _ in texts], [second for _, second in texts]) if pair else (list(texts), None)


def check_limits(config: BertConfig, max_length: int, pair: bool) -> None:
    """Check that the network takes texts of this length, and pairs if there are any.

    Raises:
        UserError: It does not: says what it takes.
    """
    most, least = config.max_position_embeddings, 5 if pair else 3
    if not least <= max_length <= most:
        raise UserError(f"max_length is {max_length} and the model takes {least} to {most} tokens: choose one of those")
    if pair and config.type_vocab_size < 2:
        raise UserError("the base model knows one token type and pairs of texts need two: choose another base model")


def check_tokenizer(
    tokenizer: Any, wordpiece: WordPiece, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> None:
    """Check that the tokenizer in the graph gives the ids of transformers' for these texts and for HARD_TEXTS.

    Args:
        tokenizer: The transformers tokenizer.
        wordpiece: The tokenizer in the graph.
        texts: The (first) texts.
        pairs: The second texts, for a model of pairs.

    Raises:
        UserError: It gives others: names the first such text.
    """
    first = [*HARD_TEXTS, *texts]
    second = None if pairs is None else [*reversed(HARD_TEXTS), *pairs]
    different = differences(tokenizer, wordpiece, first, second)
    if different:
        example = different[0]
        shown = first[example] if second is None else (first[example], second[example])
        raise UserError(
            f"the tokenizer in the graph differs from transformers' on {len(different)} of {len(first)} "
            f"texts, the first being {shown!r}: use a base model with a plain BERT tokenizer"
        )


def greatest_change(model: BertClassifier, other: BertClassifier, tokens: Tokens, batch_size: int = 32) -> float:
    """The most that a probability differs between two networks, 0 to 1.

    Args:
        model: One network.
        other: Another network with the same classes.
        tokens: The texts that both are asked about.
        batch_size: Texts in one call.
    """
    changes = []
    for start in range(0, len(tokens.input_ids), batch_size):
        ids = tf.ragged.constant(tokens.input_ids[start : start + batch_size], dtype=tf.int32)
        types = tf.ragged.constant(tokens.token_type_ids[start : start + batch_size], dtype=tf.int32)
        inputs = {
            "input_ids": ids.to_tensor(),
            "token_type_ids": types.to_tensor(),
            "attention_mask": tf.ones_like(ids).to_tensor(),
        }
        one, two = (tf.nn.softmax(network(inputs, training=False)) for network in (model, other))
        changes.append(np.abs(one - two).max())
    return float(np.max(changes))
