"""The rows of a split as tokens, targets and weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from kfp_bert_components.errors import UserError
from kfp_bert_components.training.batches import Batch


@dataclass(frozen=True)
class Examples:
    """Tokenized rows, kept as one flat array.

    Attributes:
        tokens: Token ids of all rows, one after the other, int32.
        starts: Where each row starts, and the end of the last one, int64 [rows + 1].
        targets: Index of each row's label, int32 [rows].
        texts: The text of each row; of a pair, both, with a line between.
        types: Token types of all rows, as `tokens`: 1 for the second text of a pair.
        whole: Tokens that each row had before it was cut, int64 [rows].
    """

    tokens: np.ndarray
    starts: np.ndarray
    targets: np.ndarray
    texts: list[str]
    types: np.ndarray
    whole: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each row, [CLS] and [SEP] included, int64 [rows]."""
        return np.diff(self.starts)

    def inputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """What the network takes: three int32 arrays [batch, length], padded with zeros."""
        there = np.arange(batch.length) < self.lengths[batch.rows][:, None]
        where = np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in batch.rows])
        ids, types = np.zeros((2, len(batch.rows), batch.length), np.int32)
        ids[there], types[there] = self.tokens[where], self.types[where]
        return {"input_ids": ids, "token_type_ids": types, "attention_mask": there.astype(np.int32)}


def read_texts(table: Any, pair: bool) -> tuple[list[str], list[str] | None]:
    """The texts of a split's table, and the second ones where it is made of pairs."""
    texts = table.column("text").to_pylist()
    return texts, table.column("text_pair").to_pylist() if pair else None


def check_texts(split: Any) -> list[Any]:
    """What the export checks its tokenizer on: texts, or tuples of two."""
    texts, pairs = read_texts(split.table, split.pair)
    return texts if pairs is None else list(zip(texts, pairs, strict=True))


def tokenize_split(classifier: Any, split: Any, max_length: int, truncation: str) -> Examples:
    """Tokenize a split.

    Args:
        classifier: `bert.Classifier` whose tokenizer is used.
        split: `data.Split`.
        max_length: Longest row in tokens; longer ones are cut.
        truncation: What stays of them, as for `Classifier.tokenize`.

    Returns:
        The rows in the order of the table.
    """
    if not split.table.num_rows:
        raise UserError(f"The {split.name} split has no rows, and training needs at least one.")
    texts, pairs = read_texts(split.table, split.pair)
    found = classifier.tokenize(texts, pairs, max_length=max_length, truncation=truncation)
    index = {label: number for number, label in enumerate(split.labels)}
    return Examples(
        tokens=_flat(found.input_ids),
        types=_flat(found.token_type_ids),
        whole=np.array(found.lengths),
        starts=np.concatenate([[0], np.cumsum([len(row) for row in found.input_ids])]).astype(np.int64),
        targets=np.array([index[label] for label in split.table.column("label").to_pylist()], np.int32),
        texts=texts if pairs is None else [f"{a}\n{b}" for a, b in zip(texts, pairs, strict=True)],
    )


def _flat(rows: list[list[int]]) -> np.ndarray:
    return np.fromiter(chain.from_iterable(rows), np.int32)


def class_weights(kind: str, targets: np.ndarray, classes: int) -> np.ndarray:
    """Weight of each class, float32 [classes].

    "balanced" is rows / (classes that occur * rows of this class).
    """
    counts = np.bincount(targets, minlength=classes)
    if kind == "none":
        return np.ones(classes, np.float32)
    occurring = np.count_nonzero(counts)
    return (len(targets) / (occurring * np.maximum(counts, 1))).astype(np.float32)


def with_weights(examples: Examples, batches: Sequence[Batch], weights: np.ndarray) -> list[dict[str, np.ndarray]]:
    """The batches of one step, with targets and with weights of the rows that add up to 1 over the step."""
    rows = np.concatenate([batch.rows for batch in batches])
    total = weights[examples.targets[rows]].sum()
    return [
        {
            **examples.inputs(batch),
            "targets": examples.targets[batch.rows],
            "weights": weights[examples.targets[batch.rows]] / total,
        }
        for batch in batches
    ]
