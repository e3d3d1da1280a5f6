"""Logits of many rows, batch by batch."""

from collections.abc import Callable

import numpy as np

from kfp_bert_components.training.batches import bucket_limits, plan_in_order
from kfp_bert_components.training.examples import Examples


def score(
    predict: Callable[[dict[str, np.ndarray]], np.ndarray],
    examples: Examples,
    batch_size: int,
    classes: int,
    between: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Logits of all rows in their order, float32 [rows, classes].

    Args:
        predict: Gives the logits of one batch.
        examples: The rows.
        batch_size: Rows in a batch.
        classes: Number of classes.
        between: Called after each batch; may raise to stop.
    """
    logits = np.zeros((len(examples), classes), np.float32)
    for batch in plan_in_order(examples.lengths, batch_size, bucket_limits(examples.lengths)):
        logits[batch.rows] = predict(examples.inputs(batch))
        between()
    return logits
