"""Which rows have the same text, whatever its case, punctuation, spaces and Unicode form.

A model gives such texts nearly the same answer, so they are one piece of evidence. It is the form by which
prepare_text_data keeps copies of a text in one split.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Column of the predictions: a hash of the row's text, or of both its texts. It stays where texts are left out.
TEXT_KEY = "text_key"
TEXTS = ("text", "text_pair")


def with_text_keys(table: pa.Table) -> pa.Table:
    """The table with a column TEXT_KEY, if it has none and has texts."""
    from kfp_bert_components.data.ids import hash_texts, ids_of

    texts = [name for name in TEXTS if name in table.column_names]
    if TEXT_KEY in table.column_names or not texts:
        return table
    keys, *pair = [ids_of(_hashes(table[name])) for name in texts]
    if pair:
        keys = ids_of(hash_texts(pc.binary_join_element_wise(keys, *pair, "-")))
    return table.append_column(TEXT_KEY, keys)


def key_column(*tables: pa.Table | None) -> str:
    """The column by which texts are told apart in all of these: TEXT_KEY, or id where one of them lacks it.

    Evaluations without texts that were written before have no keys; an id is a hash of the text as it stands.
    """
    return TEXT_KEY if all(table is not None and TEXT_KEY in table.column_names for table in tables) else "id"


def _hashes(column: pa.ChunkedArray) -> np.ndarray:
    from kfp_bert_components.data.words import hash_words

    parts = [hash_words(chunk)[1] for chunk in column.cast(pa.string()).chunks]
    return np.concatenate([np.empty(0, np.uint64), *parts])
