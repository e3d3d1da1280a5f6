"""A text classifier: network, labels and tokenizer together, from a checkpoint or with random weights."""

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_bert_components.bert import checkpoint, source
from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.bert.tokenizer import learn_tokenizer, tokenize
from kfp_bert_components.bert.tokens import Tokens
from kfp_bert_components.errors import UserError


@dataclass(frozen=True)
class Classifier:
    """A BERT with a classification head, and its tokenizer.

    Attributes:
        model: Keras network: dict of int32 `input_ids`, `token_type_ids`, `attention_mask` [batch, length] to
            float32 logits [batch, classes].
        tokenizer: The transformers tokenizer that belongs to it.
    """

    model: BertClassifier
    tokenizer: Any

    @property
    def config(self) -> BertConfig:
        """The shape of the network."""
        return self.model.config

    @property
    def labels(self) -> list[str]:
        """The classes in the order of the logits."""
        return list(self.config.labels)

    def tokenize(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int,
        truncation: str = "head",
    ) -> Tokens:
        """Token ids of texts or pairs; see `bert.tokens.encode`."""
        return tokenize(self.tokenizer, texts, pairs, max_length=max_length, truncation=truncation)


def load_checkpoint(
    base_model: str,
    labels: Sequence[str],
    *,
    hidden_dropout: float | None = None,
    attention_dropout: float | None = None,
    classifier_dropout: float | None = None,
    seed: int = 0,
    dtype: str = "float32",
    texts: Sequence[str] = (),
    quiet: bool = False,
    folder: Path | None = None,
) -> Classifier:
    """A classifier from a Hugging Face BERT checkpoint.

    The checkpoint's classification head is kept if its labels are the same set as `labels`. It is also kept if its
    labels are only numbered (LABEL_0, LABEL_1, ...) and their number is the same; they are then taken in the order of
    `labels`. Otherwise the head is new. A printed line says which of these was done.

    Args:
        base_model: Hub id, `gs://` or `s3://` folder, or local folder with config.json, safetensors and tokenizer
            files; a model bundle of this library works too.
        labels: The classes, in the order of the logits.
        hidden_dropout: Dropout of sublayer outputs, 0 to 1; None takes the checkpoint's.
        attention_dropout: Dropout of attention weights; None takes the checkpoint's.
        classifier_dropout: Dropout before the head; None takes the checkpoint's.
        seed: Seed of new weights and of dropout.
        dtype: Keras dtype policy: "float32" or "mixed_bfloat16".
        texts: Texts that the classifier will be used for. The tokenizer is checked on up to 1,000 of them, and on
            others.
        quiet: Print nothing, for example if the same checkpoint is loaded again.
        folder: Folder with the checkpoint's files, from `source.checkpoint_folder`; None reads them from `base_model`.

    Raises:
        UserError: The checkpoint can't be found or downloaded, is no BERT, is incomplete or damaged, has another
            tokenizer than BERT's, or holds only pickled weights; or there are fewer than two labels, or equal ones.
            All of this is found before memory for the network is taken.
    """
    changes = {
        "hidden_dropout_prob": hidden_dropout,
        "attention_probs_dropout_prob": attention_dropout,
        "classifier_dropout": classifier_dropout,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = folder or source.checkpoint_folder(base_model, Path(scratch))
        saved, tokenizer, notes = checkpoint.read_checkpoint(folder, _checked(labels), texts)
        given = {name: value for name, value in changes.items() if value is not None}
        config = dataclasses.replace(saved, labels=_checked(labels), **given)  # type: ignore[arg-type]
        model = BertClassifier(config, seed=seed, dtype=dtype)
        checkpoint.load_weights(model, folder, saved)
    for note in notes if not quiet else []:
        print(f"{base_model}: {note}", flush=True)
    return Classifier(model, tokenizer)


def new_classifier(
    texts: Iterable[str],
    labels: Sequence[str],
    *,
    vocabulary_size: int = 8_000,
    layers: int = 4,
    width: int = 128,
    heads: int = 2,
    max_length: int = 128,
    lowercase: bool = False,
    seed: int = 0,
    dtype: str = "float32",
) -> Classifier:
    """A small untrained classifier with a vocabulary learned from text.

    Args:
        texts: The training texts, from which the vocabulary is learned.
        labels: The classes, in the order of the logits.
        vocabulary_size: Largest number of entries of the vocabulary.
        layers: Number of transformer layers.
        width: Hidden width; the feed-forward part is four times as wide.
        heads: Attention heads; divides `width`.
        max_length: Longest sequence in tokens.
        lowercase: Whether texts are lowercased and their accents stripped.
        seed: Seed of weights and of dropout.
        dtype: Keras dtype policy: "float32" or "mixed_bfloat16".

    Raises:
        UserError: `heads` does not divide `width`, or there are fewer than two labels, or equal ones.
    """
    tokenizer = learn_tokenizer(texts, vocabulary_size=vocabulary_size, max_length=max_length, lowercase=lowercase)
    if width % heads:
        raise UserError(f"width is {width}, which heads={heads} does not divide: choose another number of heads")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=max_length,
        labels=_checked(labels),
    )
    return Classifier(BertClassifier(config, seed=seed, dtype=dtype), tokenizer)


def _checked(labels: Sequence[str]) -> tuple[str, ...]:
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise UserError(f"labels are {list(labels)}: a classifier needs at least two, all different")
    return tuple(labels)
