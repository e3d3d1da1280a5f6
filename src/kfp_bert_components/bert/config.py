"""The shape of a BERT, as in the `config.json` of a Hugging Face checkpoint."""

import dataclasses
from dataclasses import field
from typing import Annotated, Any

from pydantic import Field

from kfp_bert_components.errors import UserError
from kfp_bert_components.validation import checked_dataclass

# Settings that other kinds of BERT have, and the only values of them that are supported.
_ONLY = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}

# A number is refused where it can't be the size of a network, before memory for one is taken.
Width = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000)]
Rows = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
Dropout = Annotated[float, Field(strict=True, ge=0, lt=1)]


@checked_dataclass
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

    Raises:
        UserError: A value is of another type or out of its range, or `num_attention_heads` does not divide
            `hidden_size`.
    """

    vocab_size: Rows = 30522
    hidden_size: Width = 768
    num_hidden_layers: Count = 12
    num_attention_heads: Count = 12
    intermediate_size: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: Dropout = 0.1
    attention_probs_dropout_prob: Dropout = 0.1
    max_position_embeddings: Rows = 512
    type_vocab_size: Rows = 2
    layer_norm_eps: Annotated[float, Field(strict=True, gt=0, le=1)] = 1e-12
    initializer_range: Annotated[float, Field(strict=True, ge=0, le=10)] = 0.02
    pad_token_id: Annotated[int, Field(strict=True, ge=0)] = 0
    classifier_dropout: Dropout | None = None
    labels: tuple[str, ...] = ()
    other: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"hidden_size is {self.hidden_size}, which num_attention_heads={self.num_attention_heads} does not "
                "divide: correct one of them"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BertConfig":
        """A config from the fields of a `config.json`.

        Raises:
            UserError: The architecture is not BERT, a setting of it is one that is not supported, or a size is none
                that a network can have.
        """
        kind = values.get("model_type", "bert")
        if kind != "bert":
            raise UserError(
                f"it is the config of a {kind!r} model and only 'bert' is supported: choose a BERT checkpoint"
            )
        for name, ours in _ONLY.items():
            if values.get(name, ours) != ours:
                raise UserError(f"{name} is {values[name]!r} and only {ours!r} is supported: choose another checkpoint")
        known = {f.name for f in dataclasses.fields(cls)} - {"labels", "other"}
        given = {name: value for name, value in values.items() if name in known and value is not None}
        other = {name: value for name, value in values.items() if name not in known and name not in _HEAD}
        config = cls(**given, labels=_labels(values.get("id2label") or {}), other=other)
        if config.pad_token_id >= config.vocab_size:
            raise UserError(
                f"pad_token_id is {config.pad_token_id}, but it should be less than vocab_size={config.vocab_size}"
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


def _labels(names: Any) -> tuple[str, ...]:
    """The labels of `id2label`, in the order of their numbers."""
    keys = sorted(names, key=len) if isinstance(names, dict) else None
    if keys is None or keys != [str(number) for number in range(len(keys))]:
        raise UserError(f"id2label is {str(names)[:80]!r}, but it should give a label to each number from 0")
    return tuple(str(names[key]) for key in keys)


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
