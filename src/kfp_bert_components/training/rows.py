"""The rows of a split as tokens, targets and weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from kfp_bert_components.errors import UserError
from kfp_bert_components.training.batches import PaddedBatch
from kfp_bert_components.training.trimming import renumbered, used_tokens


@dataclass(frozen=True)
class TokenizedRows:
    """Tokenized rows, kept in flat arrays.

    Attributes:
        tokens: Token ids of all rows, one row after the other, int32 [tokens].
        token_types: Token types in the same order, int32 [tokens]: 1 for the second text of a pair.
        starts: Where each row starts in `tokens`, and where the last one ends, int64 [rows + 1].
        full_lengths: Tokens that each row had before it was cut to the longest length, int64 [rows].
        targets: Index of each row's label, int32 [rows].
        texts: The text of each row; of a pair both texts, with a line break between them.
    """

    tokens: np.ndarray
    token_types: np.ndarray
    starts: np.ndarray
    full_lengths: np.ndarray
    targets: np.ndarray
    texts: list[str]

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each row, [CLS] and [SEP] included, int64 [rows]."""
        return np.diff(self.starts)

    def inputs(self, batch: PaddedBatch) -> dict[str, np.ndarray]:
        """What the network takes: three int32 arrays [batch, length], padded with zeros."""
        mask = np.arange(batch.length) < self.lengths[batch.rows][:, None]
        places = np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in batch.rows])
        ids, types = np.zeros((2, len(batch.rows), batch.length), np.int32)
        ids[mask], types[mask] = self.tokens[places], self.token_types[places]
        return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask.astype(np.int32)}


@dataclass(frozen=True)
class TrainingData:
    """The rows of a run.

    Attributes:
        train: The rows to train on.
        validation: The rows that are scored to choose the best weights.
        labels: The classes, in the order of the logits.
        class_weights: Weight of each class in the loss, float32 [classes].
        used: The token ids that the rows hold, where their tokens are places in this list; None where tokens are ids
            of the whole vocabulary. See `trimming`.
    """

    train: TokenizedRows
    validation: TokenizedRows
    labels: list[str]
    class_weights: np.ndarray
    used: np.ndarray | None = None


def read_data(
    classifier: Any, train: Any, validation: Any, *, max_length: int, truncation: str, weighting: str
) -> TrainingData:
    """Tokenize the two splits of a run.

    Args:
        classifier: The `bert.Classifier` whose tokenizer is used.
        train: The `data.Split` to train on.
        validation: The `data.Split` that is scored.
        max_length: Longest row in tokens; longer ones are cut.
        truncation: What stays of a longer row: "head" or "head_tail"; see `bert.tokenizer.tokenize`.
        weighting: Kind of class weights: "none" or "balanced"; see `class_weights`.

    Raises:
        UserError: A split has no rows.
    """
    parts = [tokenize_split(classifier, split, max_length, truncation) for split in (train, validation)]
    used = used_tokens(classifier.config.vocab_size, *(part.tokens for part in parts))
    if used is not None:
        parts = [replace(part, tokens=renumbered(part.tokens, used)) for part in parts]
    weights = class_weights(weighting, parts[0].targets, len(train.labels))
    return TrainingData(parts[0], parts[1], train.labels, weights, used)


def read_texts(table: Any, pair: bool) -> tuple[list[str], list[str] | None]:
    """The first texts of a split's table, and the second ones of a split of pairs (else None)."""
    texts = table.column("text").to_pylist()
    return texts, table.column("text_pair").to_pylist() if pair else None


def sample_rows(split: Any, most: int = 1_000, characters: int = 10_000) -> list[Any]:
    """The texts of some rows of a `data.Split`, at equal distances; tuples of two in a split of pairs.

    Args:
        split: The split.
        most: Most rows.
        characters: Most characters of a text.
    """
    rows = split.table.num_rows
    table = split.table.take(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))
    texts, pairs = ([text[:characters] for text in column or []] for column in read_texts(table, split.pair))
    return list(zip(texts, pairs, strict=True)) if split.pair else texts


def tokenize_split(classifier: Any, split: Any, max_length: int, truncation: str) -> TokenizedRows:
    """Tokenize a split; the arguments are those of `read_data`.

    Returns:
        The rows in the order of the split's table.

    Raises:
        UserError: The split has no rows.
    """
    if not split.table.num_rows:
        raise UserError(f"The {split.name} split has no rows, and training needs at least one.")
    texts, pairs = read_texts(split.table, split.pair)
    tokens = classifier.tokenize(texts, pairs, max_length=max_length, truncation=truncation)
    index = {label: number for number, label in enumerate(split.labels)}
    return TokenizedRows(
        tokens=_flat(tokens.input_ids),
        token_types=_flat(tokens.token_type_ids),
        starts=np.concatenate([[0], np.cumsum([len(ids) for ids in tokens.input_ids])]).astype(np.int64),
        full_lengths=np.array(tokens.lengths),
        targets=np.array([index[label] for label in split.table.column("label").to_pylist()], np.int32),
        texts=texts if pairs is None else [f"{a}\n{b}" for a, b in zip(texts, pairs, strict=True)],
    )


def _flat(rows: list[list[int]]) -> np.ndarray:
    return np.fromiter(chain.from_iterable(rows), np.int32)


def class_weights(kind: str, targets: np.ndarray, classes: int) -> np.ndarray:
    """Weight of each class, float32 [classes].

    Args:
        kind: "none": 1 for each class. "balanced": rows / (number of classes that occur * rows of this class), so
            that all classes together weigh the same.
        targets: Index of each row's label, int [rows].
        classes: Number of classes.
    """
    counts = np.bincount(targets, minlength=classes)
    if kind == "none":
        return np.ones(classes, np.float32)
    occurring = np.count_nonzero(counts)
    return (len(targets) / (occurring * np.maximum(counts, 1))).astype(np.float32)


def with_weights(
    rows: TokenizedRows, batches: Sequence[PaddedBatch], weights: np.ndarray
) -> list[dict[str, np.ndarray]]:
    """The batches of one step as arrays.

    Args:
        rows: The training rows.
        batches: The batches of the step.
        weights: Weight of each class, float32 [classes].

    Returns:
        For each batch the inputs of the network, `targets` (int32 [batch]) and `weights` (float32 [batch]); the
        weights of all rows of the step add up to 1.
    """
    total = weights[rows.targets[np.concatenate([batch.rows for batch in batches])]].sum()
    return [
        {
            **rows.inputs(batch),
            "targets": rows.targets[batch.rows],
            "weights": weights[rows.targets[batch.rows]] / total,
        }
        for batch in batches
    ]
