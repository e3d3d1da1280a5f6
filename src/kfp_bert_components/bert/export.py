"""The SavedModel that is served: text in, label and probabilities out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.bert.wordpiece import WordPiece

# A graph must fit into one protocol buffer of 2 GiB; larger networks keep their weights in variables.
MOST_BYTES_IN_GRAPH = 1_500_000_000


class ServedModel(tf.Module):
    """Tokenizer, network and labels as one graph.

    Args:
        network: Maps the dict of ids to logits.
        variables: What the network reads, so that it is saved with it.
        wordpiece: The tokenizer.
        labels: Names of the classes in the order of the logits.
        pair: Whether the model takes two texts.
    """

    def __init__(
        self,
        network: Callable[[Any], Any],
        variables: Sequence[tf.Variable],
        wordpiece: WordPiece,
        labels: Sequence[str],
        pair: bool,
    ) -> None:
        super().__init__(name="served_model")
        self.wordpiece, self.weights = wordpiece, list(variables)
        self._network, self._labels = network, list(labels)
        text = tf.TensorSpec([None], tf.string, name="text")
        text_pair = tf.TensorSpec([None], tf.string, name="text_pair")
        self.serve = tf.function(
            self._serve_pair if pair else self._serve, input_signature=[text, text_pair] if pair else [text]
        )

    def _serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(self.wordpiece(text))

    def _serve_pair(self, text: tf.Tensor, text_pair: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(self.wordpiece(text, text_pair))

    def _answer(self, tokens: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(tf.cast(self._network(tokens), tf.float32))
        best = tf.argmax(probabilities, axis=-1)
        return {
            "label": tf.gather(tf.constant(self._labels), best),
            "score": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
        }


def save(folder: Path, model: BertClassifier, wordpiece: WordPiece, *, pair: bool) -> None:
    """Write the SavedModel of a classifier, with the one signature `serving_default`.

    Args:
        folder: Where to write; made.
        model: The network.
        wordpiece: Its tokenizer as a graph.
        pair: Whether the model takes two texts.
    """
    network: Callable[[Any], Any]
    if sum(weight.value.numpy().nbytes for weight in model.trainable_variables) <= MOST_BYTES_IN_GRAPH:
        network, variables = frozen(model), []
    else:
        network = lambda tokens: model(tokens, training=False)  # noqa: E731
        variables = [weight.value for weight in model.trainable_variables]
    served = ServedModel(network, variables, wordpiece, model.config.labels, pair)
    tf.saved_model.save(served, str(folder), signatures={"serving_default": served.serve})


def frozen(model: BertClassifier) -> Callable[[Any], Any]:
    """The network with its weights as constants of the graph it is traced into.

    TensorFlow prepares constants once when the graph is loaded, where variables are read at every call: one
    short text takes a third less time.
    """
    weights = [np.asarray(weight.value) for weight in model.trainable_variables]
    state = [np.asarray(weight.value) for weight in model.non_trainable_variables]

    def network(tokens: Any) -> Any:
        logits, _ = model.stateless_call(
            [tf.constant(weight) for weight in weights],
            [tf.constant(value) for value in state],
            tokens,
            training=False,
        )
        return logits

    return network


def in_bfloat16(model: BertClassifier) -> BertClassifier:
    """The same network with weights and states in bfloat16; the head stays in float32."""
    half = BertClassifier(model.config, dtype="bfloat16")
    for mine, theirs in zip(half.trainable_variables, model.trainable_variables, strict=True):
        mine.assign(tf.cast(theirs.value, mine.dtype))
    return half
