"""Batches of rows of similar length, so that little of the arithmetic is spent on padding."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PaddedBatch:
    """Rows that go through the network together.

    Attributes:
        rows: Indices of the rows, int64 [batch].
        length: Tokens that each row is padded to.
    """

    rows: np.ndarray
    length: int


def bucket_limits(lengths: np.ndarray, count: int = 16) -> tuple[int, ...]:
    """The few lengths that rows are padded to, chosen so that all rows together need the least padding.

    oneDNN and XLA prepare code for each shape of input; with few lengths that code is used again.

    Args:
        lengths: Tokens in each row, int [rows], at least one row.
        count: Greatest number of different lengths.

    Returns:
        The lengths in rising order; the last one is that of the longest row.
    """
    values, counts = np.unique(lengths, return_counts=True)
    rows = np.concatenate([[0], np.cumsum(counts)])
    # cost[j]: the least number of tokens, padding included, of all rows that have one of the first j lengths; each
    # round of the loop allows one limit more
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


def plan_epoch(
    lengths: np.ndarray, batch_size: int, limits: tuple[int, ...], rng: np.random.Generator
) -> list[PaddedBatch]:
    """One pass over all rows, in batches of rows of similar length, in random order.

    Rows that are left over in a bucket, because they fill no batch, move to the bucket of the next greater length.
    So only one batch of the pass is not full, and there are ceil(rows / batch_size) batches.

    Args:
        lengths: Tokens in each row, int [rows].
        batch_size: Rows in a batch.
        limits: Lengths to pad to, from `bucket_limits`.
        rng: Decides the order; a generator in the same state gives the same batches.

    Returns:
        The batches in the order to train on them.
    """
    bucket = np.searchsorted(limits, lengths)
    batches: list[PaddedBatch] = []
    left = np.empty(0, np.int64)
    for number, limit in enumerate(limits):
        rows = np.concatenate([rng.permutation(np.flatnonzero(bucket == number)), left])
        # rows that came from a shorter bucket are used first: if they moved on, they would be padded even more
        rows = rows[::-1]
        full = len(rows) // batch_size * batch_size
        batches += [PaddedBatch(rows[start : start + batch_size], limit) for start in range(0, full, batch_size)]
        left = rows[full:]
    if len(left):
        batches.append(PaddedBatch(left, limits[-1]))
    return [batches[i] for i in rng.permutation(len(batches))]


def plan_in_order(lengths: np.ndarray, batch_size: int, limits: tuple[int, ...]) -> list[PaddedBatch]:
    """One pass over all rows, from the shortest to the longest, for scoring.

    Args:
        lengths: Tokens in each row, int [rows].
        batch_size: Rows in a batch.
        limits: Lengths to pad to, from `bucket_limits`.
    """
    order = np.argsort(lengths, kind="stable")
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [PaddedBatch(part, limits[int(np.searchsorted(limits, lengths[part].max()))]) for part in parts]


class BatchPlan:
    """The batches of every step of a trial. They depend on the arguments alone, so a resumed trial gets the same.

    Args:
        lengths: Tokens in each training row, int [rows].
        limits: Lengths to pad to, from `bucket_limits`.
        batch_size: Rows in a batch.
        accumulation_steps: Batches in one step.
        seed: Decides the order of the rows, together with the number of the epoch.
    """

    def __init__(
        self, lengths: np.ndarray, limits: tuple[int, ...], *, batch_size: int, accumulation_steps: int, seed: int
    ) -> None:
        self._lengths, self._limits, self._batch_size = lengths, limits, batch_size
        self._accumulation_steps, self._seed = accumulation_steps, seed
        self._steps_per_epoch = math.ceil(math.ceil(len(lengths) / batch_size) / accumulation_steps)
        self._epoch = -1  # the epoch whose batches are kept
        self._steps: list[list[PaddedBatch]] = []

    def batches(self, step: int) -> list[PaddedBatch]:
        """The batches of a step; steps are numbered from 0 over all epochs."""
        self._open(step // self._steps_per_epoch)
        return self._steps[step % self._steps_per_epoch]

    def rows_before(self, step: int) -> int:
        """Number of rows in all steps before this one."""
        if not step:
            return 0
        epoch, last = divmod(step - 1, self._steps_per_epoch)
        self._open(epoch)
        return epoch * len(self._lengths) + sum(len(b.rows) for group in self._steps[: last + 1] for b in group)

    def _open(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        rng = np.random.default_rng([self._seed, epoch])
        batches, group = plan_epoch(self._lengths, self._batch_size, self._limits, rng), self._accumulation_steps
        self._steps = [batches[start : start + group] for start in range(0, len(batches), group)]
        self._epoch = epoch
