"""BERT (Devlin et al. 2019, arXiv:1810.04805) in Keras layers, with the same results as Hugging Face's.

Shapes in comments: B texts, S tokens in the longest, T tokens in all, H hidden width, A attention heads, C classes.
Between attention layers the tokens of all texts are packed into one matrix [T, H] (`bert.packing`). A product of two
matrices is fused by TensorFlow with the bias and the GELU that follow; a product of three-dimensional tensors is not.
Outside of training the matrix holds no padding, so only attention computes any.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import layers, ops

from kfp_bert_components.bert import fused
from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.packing import Packing
from kfp_bert_components.errors import UserError


def gelu(x: Any) -> Any:
    """Exact GELU, in the form (with erf) that TensorFlow fuses into the matrix product before it."""
    return 0.5 * x * (1.0 + ops.erf(x * (1.0 / math.sqrt(2.0))))


def gelu_tanh(x: Any) -> Any:
    """GELU by its tanh approximation, which some checkpoints were trained with."""
    return 0.5 * x * (1.0 + ops.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


# By the names of Hugging Face's `hidden_act`.
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": gelu,
    "gelu_python": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_python_tanh": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "quick_gelu": lambda x: x * ops.sigmoid(1.702 * x),
    "relu": ops.relu,
    "relu2": lambda x: ops.square(ops.relu(x)),
    "relu6": ops.relu6,
    "silu": ops.silu,
    "swish": ops.silu,
    "mish": lambda x: x * ops.tanh(ops.softplus(x)),
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "linear": lambda x: x,
}


def _activation(name: str) -> Callable[[Any], Any]:
    if name not in ACTIVATIONS:
        known = ", ".join(sorted(ACTIVATIONS))
        raise UserError(f"the checkpoint's hidden_act {name!r} is not known: choose a checkpoint with one of {known}")
    return ACTIVATIONS[name]


class Embeddings(layers.Layer):
    """Sum of word, position and token type embeddings, normalised: ids [B, S] -> [T, H]."""

    def __init__(self, config: BertConfig, seeds: Iterator[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.seeds = config, seeds
        self.norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, dtype=self.dtype_policy, name="norm")
        self.dropout = layers.Dropout(
            config.hidden_dropout_prob, seed=next(seeds), dtype=self.dtype_policy, name="dropout"
        )

    def build(self, input_shape: Any) -> None:
        config = self.config
        self.word = self._table(config.vocab_size, "word")
        self.position = self._table(config.max_position_embeddings, "position")
        self.token_type = self._table(config.type_vocab_size, "token_type")
        self.norm.build((None, None, config.hidden_size))

    def _table(self, rows: int, name: str) -> Any:
        return self.add_weight((rows, self.config.hidden_size), _normal(self.config, self.seeds), name=name)

    def call(self, input_ids: Any, token_type_ids: Any, packing: Packing, training: bool = False) -> Any:
        x = ops.take(self.word, input_ids, axis=0) + ops.take(self.token_type, token_type_ids, axis=0)
        x = packing.pack(ops.cast(x + self.position[: ops.shape(input_ids)[1]], self.compute_dtype))
        return self.dropout(self.norm(x), training=training)


class SelfAttention(layers.Layer):
    """Multi-head attention of every token over all tokens of its text: x [T, H] -> [T, H].

    Query, key and value come from one matrix product, side by side in the columns of `qkv`. With `first` the result is
    computed for the first token of each text only: -> [B, H].
    """

    def __init__(self, config: BertConfig, seeds: Iterator[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.qkv = _dense(3 * config.hidden_size, config, seeds, self.dtype_policy, "qkv")
        self.dropout = layers.Dropout(
            config.attention_probs_dropout_prob, seed=next(seeds), dtype=self.dtype_policy, name="dropout"
        )

    def build(self, input_shape: Any) -> None:
        self.qkv.build(input_shape)

    def call(self, x: Any, packing: Packing, training: bool = False, first: bool = False) -> Any:
        qkv = ops.reshape(packing.unpack(self.qkv(x)), (*packing.shape, 3, self.heads, self.size))
        query, key, value = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)  # each [B, A, S, H/A]
        if first:
            query = query[:, :, :1]
        scores = ops.matmul(query * self.size**-0.5, ops.swapaxes(key, -1, -2)) + packing.bias  # [B, A, S, S]
        weights = self.dropout(ops.softmax(scores), training=training)
        mixed = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        if first:
            return ops.reshape(mixed, (-1, self.heads * self.size))
        return packing.pack(ops.reshape(mixed, (*packing.shape, self.heads * self.size)))


class TransformerLayer(layers.Layer):
    """Self-attention and a feed-forward part, each added to its input and normalised: [T, H] -> [T, H].

    With `first` the result is computed for the first token of each text only: -> [B, H]. Where the attribute `fused` is
    set, training uses `bert.fused`: the same results, faster on a CPU.
    """

    fused = False

    def __init__(self, config: BertConfig, seeds: Iterator[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.attention = SelfAttention(config, seeds, dtype=policy, name="attention")
        self.attention_output = _dense(config.hidden_size, config, seeds, policy, "attention_output")
        self.attention_norm = layers.LayerNormalization(
            epsilon=config.layer_norm_eps, dtype=policy, name="attention_norm"
        )
        self.intermediate = _dense(config.intermediate_size, config, seeds, policy, "intermediate")
        self.activation = _activation(config.hidden_act)
        self.output_dense = _dense(config.hidden_size, config, seeds, policy, "output")
        self.output_norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, dtype=policy, name="output_norm")
        self.dropout = layers.Dropout(config.hidden_dropout_prob, seed=next(seeds), dtype=policy, name="dropout")

    def build(self, input_shape: Any) -> None:
        for layer in (
            self.attention,
            self.attention_output,
            self.attention_norm,
            self.intermediate,
            self.output_norm,
        ):
            layer.build(input_shape)
        self.output_dense.build((None, self.intermediate.units))

    def call(self, x: Any, packing: Packing, training: bool = False, first: bool = False) -> Any:
        attended = self.attention(x, packing=packing, training=training, first=first)
        if first:
            x = packing.first(x)
        if training and self.fused:
            return fused.after_attention(self, x, attended)
        x = self.attention_norm(x + self.dropout(self.attention_output(attended), training=training))
        fed = self.output_dense(self.activation(self.intermediate(x)))
        return self.output_norm(x + self.dropout(fed, training=training))


class BertEncoder(layers.Layer):
    """Token ids to hidden states.

    Call it with `input_ids`, `token_type_ids` and `attention_mask` (1 for tokens, 0 for padding), int [B, S]. It
    returns the hidden states after the last layer, [B, S, H]. `hidden_states` returns those after every layer,
    `first_states` those of the first tokens after the last layer, and `pool` turns these into one vector a text.

    Args:
        config: The shape of the network.
        pooler: Whether there is a pooler: a dense layer and tanh over the first token.
        seeds: Seeds of fresh weights and of dropout; one is taken for each.
    """

    def __init__(
        self, config: BertConfig, pooler: bool = True, seeds: Iterator[int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        seeds = seeds or itertools.count()
        policy = self.dtype_policy
        self.config = config
        self.embeddings = Embeddings(config, seeds, dtype=policy, name="embeddings")
        self.layers = [
            TransformerLayer(config, seeds, dtype=policy, name=f"layer_{i}") for i in range(config.num_hidden_layers)
        ]
        self.pooler = _dense(config.hidden_size, config, seeds, policy, "pooler") if pooler else None

    def build(self, input_shape: Any = None) -> None:
        self.embeddings.build((None, None))
        for layer in [*self.layers, *([self.pooler] if self.pooler else [])]:
            layer.build((None, self.config.hidden_size))

    def hidden_states(
        self, input_ids: Any, token_type_ids: Any, attention_mask: Any, training: bool = False
    ) -> list[Any]:
        """The embeddings' output and every layer's, each [B, S, H]."""
        packing = Packing(attention_mask, self.compute_dtype, keep_padding=True)
        return [packing.unpack(x) for x in self._states(input_ids, token_type_ids, packing, training)]

    def first_states(self, input_ids: Any, token_type_ids: Any, attention_mask: Any, training: bool = False) -> Any:
        """Hidden states of the first tokens after the last layer, which computes no others: [B, H]."""
        # packing gains nothing for a text alone: it has no padding, or a little for code compiled for some lengths
        single = attention_mask.shape[0] == 1
        packing = Packing(attention_mask, self.compute_dtype, keep_padding=training or single)
        return self._states(input_ids, token_type_ids, packing, training, first=True)[-1]

    def _states(
        self, input_ids: Any, token_type_ids: Any, packing: Packing, training: bool, first: bool = False
    ) -> list[Any]:
        states = [self.embeddings(input_ids, token_type_ids, packing=packing, training=training)]
        for layer in self.layers:
            last = layer is self.layers[-1]
            states.append(layer(states[-1], packing=packing, training=training, first=first and last))
        return states

    def call(self, input_ids: Any, token_type_ids: Any, attention_mask: Any, training: bool = False) -> Any:
        return self.hidden_states(input_ids, token_type_ids, attention_mask, training=training)[-1]

    def pool(self, states: Any) -> Any:
        """One vector a text, of what `first_states` returns: [B, H] -> [B, H].

        Raises:
            ValueError: This encoder has no pooler.
        """
        if self.pooler is None:
            raise ValueError("this encoder was made without a pooler")
        return ops.tanh(self.pooler(states))


class BertClassifier(keras.Model):
    """An encoder with a classification head.

    Call it with a dict of int32 `input_ids`, `token_type_ids` and `attention_mask`, all [B, S]: it returns
    float32 logits [B, C]. Its weights have paths such as `encoder/layer_3/attention/qkv/kernel`.

    Args:
        config: The shape of the network; its `labels` are the classes.
        seed: Of fresh weights and of dropout.
        dtype: Keras dtype policy of the layers: "float32", or "mixed_bfloat16" to compute in bfloat16.
    """

    def __init__(self, config: BertConfig, seed: int = 0, dtype: str = "float32") -> None:
        super().__init__(name="bert", dtype=dtype)
        seeds = itertools.count(seed * 10_007)
        self.config = config
        self.encoder = BertEncoder(config, seeds=seeds, dtype=dtype, name="encoder")
        self.dropout = layers.Dropout(config.head_dropout, seed=next(seeds), dtype=dtype, name="dropout")
        self.head = _dense(len(config.labels), config, seeds, "float32", "head")
        self.build()

    def build(self, input_shape: Any = None) -> None:
        if not self.built:  # type: ignore[has-type]
            self.encoder.build()
            self.head.build((None, self.config.hidden_size))
            self.built = True

    def fuse(self, fused: bool = True) -> None:
        """Set whether its layers train by `bert.fused`, which compiles parts of them for each shape of input."""
        for layer in self.encoder.layers:
            layer.fused = fused

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        states = self.encoder.first_states(
            inputs["input_ids"], inputs["token_type_ids"], inputs["attention_mask"], training=training
        )
        return self.head(self.dropout(self.encoder.pool(states), training=training))


def _normal(config: BertConfig, seeds: Iterator[int]) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=config.initializer_range, seed=next(seeds))


def _dense(units: int, config: BertConfig, seeds: Iterator[int], dtype: Any, name: str) -> layers.Dense:
    return layers.Dense(units, kernel_initializer=_normal(config, seeds), dtype=dtype, name=name)
