"""Batches of rows of similar length: little of the arithmetic is spent on padding."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batch:
    """Rows that go through the network together.

    Attributes:
        rows: Indices of the rows, int64 [batch].
        length: Number of tokens that each row is padded to.
    """

    rows: np.ndarray
    length: int


def bucket_limits(lengths: np.ndarray, count: int = 16) -> tuple[int, ...]:
    """The lengths to pad to, chosen so that the least padding is needed over all rows.

    Few different lengths keep the kernels that are prepared for one shape (oneDNN, XLA) in use.

    Args:
        lengths: Tokens in each row, int [rows], at least one row.
        count: Most limits to use.

    Returns:
        Limits in rising order; the last one is the longest length.
    """
    values, counts = np.unique(lengths, return_counts=True)
    rows = np.concatenate([[0], np.cumsum(counts)])
    # cost[j]: least number of tokens for all rows of the first j lengths, with one more limit each round
    cost = rows * np.concatenate([[0], values]).astype(float)
    choices = []
    for _ in range(min(count, len(values)) - 1):
        table = np.full((len(values) + 1, len(values) + 1), np.inf)
        for j in range(1, len(values) + 1):
            table[j, :j] = cost[:j] + (rows[j] - rows[:j]) * values[j - 1]
        table[0, 0] = 0
        choices.append(table.argmin(axis=1))
        cost = table.min(axis=1)
    limits, end = [], len(values)
    for choice in reversed(choices):
        limits.append(int(values[end - 1]))
        end = int(choice[end])
        if end == 0:
            return tuple(reversed(limits))
    limits.append(int(values[end - 1]))
    return tuple(reversed(limits))


def plan_epoch(lengths: np.ndarray, batch_size: int, limits: tuple[int, ...], rng: np.random.Generator) -> list[Batch]:
    """All rows once, in batches of rows of similar length, in random order.

    Rows that don't fill a batch of their bucket move up to the next one, so that only one batch is not full
    and the number of steps is that of plain batching.

    Args:
        lengths: Tokens in each row, int [rows].
        batch_size: Rows in a batch.
        limits: Lengths to pad to, from `bucket_limits`.
        rng: Decides the order; the same state gives the same plan.

    Returns:
        The batches in the order to train on them.
    """
    bucket = np.searchsorted(limits, lengths)
    batches: list[Batch] = []
    left = np.empty(0, np.int64)
    for number, limit in enumerate(limits):
        rows = np.concatenate([rng.permutation(np.flatnonzero(bucket == number)), left])
        # the shorter rows that moved up go first, so that they move only once where that is possible
        rows = rows[::-1]
        full = len(rows) // batch_size * batch_size
        batches += [Batch(rows[start : start + batch_size], limit) for start in range(0, full, batch_size)]
        left = rows[full:]
    if len(left):
        batches.append(Batch(left, limits[-1]))
    return [batches[i] for i in rng.permutation(len(batches))]


def plan_in_order(lengths: np.ndarray, batch_size: int, limits: tuple[int, ...]) -> list[Batch]:
    """All rows once, from the shortest to the longest, for scoring."""
    order = np.argsort(lengths, kind="stable")
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [Batch(part, limits[int(np.searchsorted(limits, lengths[part].max()))]) for part in parts]
