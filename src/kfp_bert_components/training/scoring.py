"""Logits of all rows of a split, batch by batch."""

from collections.abc import Callable

import numpy as np

from kfp_bert_components.training.batches import bucket_limits, plan_in_order
from kfp_bert_components.training.rows import TokenizedRows


def score(
    predict: Callable[[dict[str, np.ndarray]], np.ndarray],
    rows: TokenizedRows,
    batch_size: int,
    classes: int,
    after_batch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Logits of all rows in their order, float32 [rows, classes].

    Args:
        predict: From the inputs of a batch, as `TokenizedRows.inputs` gives them, to its logits [batch, classes].
        rows: The rows.
        batch_size: Rows in a batch.
        classes: Number of classes.
        after_batch: Called after each batch; it may raise an exception to end the scoring.
    """
    logits = np.zeros((len(rows), classes), np.float32)
    for batch in plan_in_order(rows.lengths, batch_size, bucket_limits(rows.lengths)):
        logits[batch.rows] = predict(rows.inputs(batch))
        after_batch()
    return logits
