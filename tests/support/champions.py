"""Champions that were chosen by a gate, and test sets of texts that repeat: for the simulations of the data alarm."""

import numpy as np
import pyarrow as pa
from scipy.stats import binom

from kfp_bert_components.evaluation import Evaluation

LABELS = ["a", "b", "c"]
GATE_ALPHA = 0.05


def answered(texts, right, truth, fingerprint, **known) -> Evaluation:
    """An evaluation without metrics: for each row the number of its text, whether it is right, and its class."""
    said = np.where(right, truth, (truth + 1) % len(LABELS))
    table = {"id": [f"{text:08x}" for text in texts], "label": [LABELS[k] for k in truth]}
    ends = np.arange(0, len(LABELS) * len(said) + 1, len(LABELS), dtype=np.int32)
    probabilities = pa.ListArray.from_arrays(ends, np.eye(len(LABELS), dtype=np.float32)[said].ravel())
    return Evaluation(LABELS, fingerprint, predictions=pa.table({**table, "probabilities": probabilities}), **known)


class World:
    """A population of texts, each with a class, and models that are all equally good.

    Args:
        rows: Rows of the test set of the promotion.
        new: New rows.
        accuracy: Of every model.
        alike: Share of the texts that all models answer alike.
        repeated: Share of the rows that are one of ten texts, the first of them most often (Zipf).
        growing: Whether the new rows come after the old ones in the same test set; else they are a new one.
    """

    def __init__(self, rows, new, accuracy, alike=0.5, repeated=0.0, growing=False):
        self.rows, self.new, self.accuracy, self.alike = rows, new, accuracy, alike
        self.repeated, self.growing = repeated, growing

    def draw(self, rng, many, start):
        """The texts of some rows: new ones, and ten that come again and again."""
        frequent = 1 / np.arange(1, 11)
        texts = start + np.arange(many)
        again = rng.random(many) < self.repeated
        texts[again] = rng.choice(10, int(again.sum()), p=frequent / frequent.sum())
        return texts

    def chain(self, rng, candidates):
        """Candidates come one by one and are promoted by the exact McNemar test of texts; the last champion, then now.

        Returns:
            Evaluations of the champion on the rows that it was promoted on and on new rows, and of a last candidate on
            the new ones; None where no candidate was promoted.
        """
        old = self.draw(rng, self.rows, 10)
        fresh = self.draw(rng, self.new, 10 + self.rows)
        new = np.concatenate([old, fresh]) if self.growing else fresh
        size = 10 + self.rows + self.new
        truth, common = rng.integers(0, len(LABELS), size), rng.random(size) < self.accuracy
        alike = rng.random(size) < self.alike

        def model():
            return np.where(alike, common, rng.random(size) < self.accuracy)

        champion, chosen, seen = model(), False, np.unique(old)
        for _ in range(candidates):
            candidate = model()
            wins, losses = ((one & ~two)[seen].sum() for one, two in ((candidate, champion), (champion, candidate)))
            if wins + losses and binom.sf(wins - 1, wins + losses, 0.5) <= GATE_ALPHA:
                champion, chosen = candidate, True
        if not chosen:
            return None
        last = model()
        return (
            answered(old, champion[old], truth[old], "then"),
            answered(new, champion[new], truth[new], "now"),
            answered(new, last[new], truth[new], "now"),
        )


def shuffled(rng, evaluation: Evaluation, first=0) -> Evaluation:
    """The evaluation with the labels of its rows from `first` on in a random order."""
    table = evaluation.predictions
    labels = table["label"].to_numpy(zero_copy_only=False).copy()
    labels[first:] = rng.permutation(labels[first:])
    table = table.set_column(table.column_names.index("label"), "label", pa.array(labels))
    return Evaluation(evaluation.labels, evaluation.test_fingerprint, predictions=table)
