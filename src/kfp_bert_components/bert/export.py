"""The SavedModel that is served: text in, label and probabilities out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.bert.wordpiece import WordPiece

# Weights up to this size can be constants of a graph, which must fit into one protocol buffer of 2 GiB.
MOST_BYTES_IN_GRAPH = 1_500_000_000


class ServedModel(tf.Module):
    """Tokenizer, network and labels as one graph, `serve`, whose parts can be called on their own:

    - `tokenize`: text (and text_pair), strings [B] -> a dict of int32 `input_ids`, `token_type_ids` and
      `attention_mask`, all [B, S]
    - `probabilities`: these three -> float32 [B, C]
    - `answer`: the probabilities -> a dict of `label`, `score` and `probabilities`
    - `probabilities_of_one`: `probabilities` for B = 1, made of operations that XLA can compile. It is there only where
      weights are variables; constants would be in the graph twice.

    Args:
        network: From the dict of ids to logits [B, C].
        variables: The variables that the network reads, to be saved with it; empty where weights are constants.
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
        texts = [tf.TensorSpec([None], tf.string, name=name) for name in ("text", "text_pair")[: 1 + pair]]
        ids = [
            tf.TensorSpec([None, None], tf.int32, name=name)
            for name in ("input_ids", "token_type_ids", "attention_mask")
        ]
        scores = [tf.TensorSpec([None, len(labels)], tf.float32, name="probabilities")]
        self.tokenize = tf.function(
            self._tokenize_pair if pair else self._tokenize, autograph=False, input_signature=texts
        )
        self.probabilities = tf.function(self._probabilities, autograph=False, input_signature=ids)
        if self.weights:
            one = [tf.TensorSpec([1, None], spec.dtype, name=spec.name) for spec in ids]
            self.probabilities_of_one = tf.function(self._probabilities, autograph=False, input_signature=one)
        self.answer = tf.function(self._answer, autograph=False, input_signature=scores)
        self.serve = tf.function(self._serve_pair if pair else self._serve, autograph=False, input_signature=texts)

    def _tokenize(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.wordpiece(text)

    def _tokenize_pair(self, text: tf.Tensor, text_pair: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.wordpiece(text, text_pair)

    def _probabilities(self, input_ids: tf.Tensor, token_type_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        tokens = {"input_ids": input_ids, "token_type_ids": token_type_ids, "attention_mask": attention_mask}
        return tf.nn.softmax(tf.cast(self._network(tokens), tf.float32))

    def _answer(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        best = tf.argmax(probabilities, axis=-1)
        return {
            "label": tf.gather(tf.constant(self._labels), best),
            "score": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
        }

    def _serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.answer(self.probabilities(**self.tokenize(text)))

    def _serve_pair(self, text: tf.Tensor, text_pair: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.answer(self.probabilities(**self.tokenize(text, text_pair)))


def save(folder: Path, model: BertClassifier, wordpiece: WordPiece, *, pair: bool) -> None:
    """Write the SavedModel of a classifier, with the one signature `serving_default`.

    Weights in float32 are variables; weights in bfloat16 are constants of the graph where it can hold them. The reason
    is oneDNN, which multiplies matrices for TensorFlow and needs bfloat16 weights in a memory layout of its own.
    TensorFlow converts a constant once, and a variable at every call. In float32 the layout depends on the number of
    tokens, so constants would be converted again at each call with another number of tokens, and cost more than they
    gain.

    Args:
        folder: Where to write; it is made.
        model: The network.
        wordpiece: Its tokenizer as a graph.
        pair: Whether the model takes two texts.
    """
    network: Callable[[Any], Any]
    size = sum(weight.value.numpy().nbytes for weight in model.trainable_variables)
    if model.dtype_policy.variable_dtype == "bfloat16" and size <= MOST_BYTES_IN_GRAPH:
        network, variables = frozen(model), []
    else:
        network = lambda tokens: model(tokens, training=False)  # noqa: E731
        variables = [weight.value for weight in model.trainable_variables]
    served = ServedModel(network, variables, wordpiece, model.config.labels, pair)
    tf.saved_model.save(served, str(folder), signatures={"serving_default": served.serve})


def frozen(model: BertClassifier) -> Callable[[Any], Any]:
    """The network as a function whose weights become constants of the graph that it is traced into."""
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
