"""The shape of a BERT, as in the `config.json` of a Hugging Face checkpoint."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from kfp_bert_components.errors import UserError

# Settings that other kinds of BERT have, and the only values of them that are supported.
_ONLY = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}


@dataclass(frozen=True)
class BertConfig:
    """Sizes and settings of the network; names and defaults are those of Hugging Face's `BertConfig`.

    Attributes:
        vocab_size: Number of rows of the word embedding.
        hidden_size: Width of every hidden state.
        num_hidden_layers: Number of transformer layers.
        num_attention_heads: Heads of each layer; divides `hidden_size`.
        intermediate_size: Width of the feed-forward part.
        hidden_act: Activation of the feed-forward part; `bert.encoder.ACTIVATIONS` lists the known ones.
        hidden_dropout_prob: Dropout of embeddings and of each sublayer's output.
        attention_probs_dropout_prob: Dropout of the attention weights.
        max_position_embeddings: Longest sequence in tokens, special tokens included.
        type_vocab_size: Number of token types (segments); pairs need two.
        layer_norm_eps: Epsilon of every layer norm.
        initializer_range: Standard deviation of fresh weights.
        pad_token_id: Id of the padding token.
        classifier_dropout: Dropout before the classification head; None stands for `hidden_dropout_prob`.
        labels: Names of the classes of the head, in the order of the logits; empty where there is none.
        other: All other fields of the file, kept so that they are written again.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int = 0
    classifier_dropout: float | None = None
    labels: tuple[str, ...] = ()
    other: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BertConfig":
        """A config from the fields of a `config.json`.

        Raises:
            UserError: The architecture is not BERT, or a setting of it is one that is not supported.
        """
        kind = values.get("model_type", "bert")
        if kind != "bert":
            raise UserError(
                f"the checkpoint is a {kind!r} model and only 'bert' is supported: choose a BERT checkpoint"
            )
        for name, ours in _ONLY.items():
            if values.get(name, ours) != ours:
                raise UserError(
                    f"the checkpoint's config.json has {name}={values[name]!r} and only {ours!r} is "
                    "supported: choose another checkpoint"
                )
        known = {f.name for f in dataclasses.fields(cls)} - {"labels", "other"}
        given = {name: value for name, value in values.items() if name in known and value is not None}
        names = values.get("id2label") or {}
        labels = tuple(names[key] for key in sorted(names, key=int))
        other = {name: value for name, value in values.items() if name not in known and name not in _HEAD}
        config = cls(**given, labels=labels, other=other)
        if config.hidden_size % config.num_attention_heads:
            raise UserError(
                f"config.json has hidden_size={config.hidden_size}, which num_attention_heads="
                f"{config.num_attention_heads} does not divide: correct one of them"
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """The fields of a `config.json` that transformers reads as a sequence classifier."""
        values = {**self.other, **dataclasses.asdict(self)}
        for name in ("labels", "other"):
            del values[name]
        if self.labels:
            values["id2label"] = {str(i): label for i, label in enumerate(self.labels)}
            values["label2id"] = {label: i for i, label in enumerate(self.labels)}
            values["problem_type"] = "single_label_classification"
        return {**values, "model_type": "bert", "architectures": ["BertForSequenceClassification"]}

    @property
    def head_dropout(self) -> float:
        """Dropout before the classification head."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout


_HEAD = (
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "architectures",
    "model_type",
    "dtype",
    "torch_dtype",
    "_name_or_path",
    "transformers_version",
)
