"""Texts out of the spool."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_bert_components.data.arrow import to_arrow
from kfp_bert_components.data.keys import PAIR_MARK
from kfp_bert_components.data.spool import Spool


def joined_text(batch: pa.RecordBatch) -> pa.Array:
    """The texts of a batch; of pairs, both with a mark between them, string [rows]."""
    if "text_pair" in batch.schema.names:
        return pc.binary_join_element_wise(batch["text"], batch["text_pair"], PAIR_MARK.decode())
    return batch["text"]


def read_texts(spool: Spool, wanted: np.ndarray) -> dict[int, str]:
    """The texts of some rows, by number.

    Args:
        spool: The texts of all rows.
        wanted: Numbers of rows, sorted, int64 [n].
    """
    found: dict[int, str] = {}
    start = 0
    for batch in spool:
        here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)]
        if len(here):
            texts = joined_text(batch.take(to_arrow(here - start))).to_pylist()
            found.update(zip(here.tolist(), texts, strict=True))
        start += batch.num_rows
        if len(found) == len(wanted):
            break
    return found
