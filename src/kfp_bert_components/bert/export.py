"""The SavedModel that is served: text in, label and probabilities out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.bert.wordpiece import WordPiece


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
        network: Any,
        variables: Sequence[tf.Variable],
        wordpiece: WordPiece,
        labels: Sequence[str],
        pair: bool,
    ) -> None:
        super().__init__(name="served_model")
        self.wordpiece, self.weights, self.pair = wordpiece, list(variables), pair
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
    variables = [variable.value for variable in model.trainable_variables]
    served = ServedModel(
        lambda tokens: model(tokens, training=False), variables, wordpiece, model.config.labels, pair
    )
    tf.saved_model.save(served, str(folder), signatures={"serving_default": served.serve})
