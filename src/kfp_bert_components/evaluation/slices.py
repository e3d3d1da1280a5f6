"""Named parts of a test set: by text length, by a metadata column, or by a rule."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.labels import spelled
from kfp_bert_components.errors import UserError
from kfp_bert_components.formats import counted

PREFIX = "slice:"
MOST_VALUES = 2_000
# Slices of a split that says which of its texts the train split of its run has too.
SEEN, UNSEEN = "text in train", "text not in train"
_RULE = re.compile(r"\s*([\w ]+?)\s*(==|!=|<=|>=|<|>|~)\s*(.+?)\s*$", re.DOTALL)
_NUMERIC: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def find_slices(table: pa.Table, columns: Sequence[str] = (), rules: dict[str, str] | None = None) -> dict[str, Any]:
    """Which rows belong to which slice.

    Args:
        table: Columns id, text, label and metadata.
        columns: Metadata columns: each of their values, of which there may be 2,000, is a slice.
        rules: By name: COLUMN OPERATOR VALUE, where the column is one of the table's or `length` (words of the
            text, see `data.words`), the operator ==, !=, <, <=, >, >= or ~ (a regular expression is found in the
            value).

    Returns:
        By name, bool [rows]. Three slices by length are always there when lengths differ, and SEEN and UNSEEN where
        the table has the column `in_train` (bool) and rows of both kinds.

    Raises:
        UserError: A column is missing or has too many values, or a rule cannot be read.
    """
    found = _by_train(table) | _by_length(table)
    for column in columns:
        values = _text_column(table, column, "slice_columns")
        names, counts = np.unique(values, return_counts=True)
        if len(names) > MOST_VALUES:
            raise UserError(
                f"slice_columns names the column {column!r}, which has {len(names):,} values in the test split; each "
                f"is a slice, and there may be {MOST_VALUES:,}. Name a column with fewer values, or pick some of them "
                "with slice_rules."
            )
        for name in names[np.argsort(-counts, kind="stable")]:
            found[f"{column} = {name}"] = values == name
    for name, rule in (rules or {}).items():
        found[name] = _by_rule(table, name, rule)
    return found


def seen_in_train(table: pa.Table) -> np.ndarray | None:
    """Whether train has the text of each row, bool [rows]; None where the table does not say."""
    # Before splits had the column, users' own columns could have its name: they hold texts.
    if "in_train" not in table.column_names or not pa.types.is_boolean(table.schema.field("in_train").type):
        return None
    return table["in_train"].to_numpy()


def _by_train(table: pa.Table) -> dict[str, np.ndarray]:
    seen = seen_in_train(table)
    return {} if seen is None or seen.all() or not seen.any() else {SEEN: seen, UNSEEN: ~seen}


def _lengths(table: pa.Table) -> np.ndarray:
    """Words of each text, int [rows]; a character is one in scripts that are written without spaces."""
    from kfp_bert_components.data.words import hash_words

    return hash_words(table["text"].cast(pa.string()).combine_chunks())[0].counts


def _by_length(table: pa.Table) -> dict[str, np.ndarray]:
    words = _lengths(table)
    low, high = (int(cut) for cut in np.quantile(words, [1 / 3, 2 / 3], method="nearest"))
    if low == high:
        return {}
    thirds = {
        f"up to {low} words": words <= low,
        f"{low + 1} to {high} words" if low + 1 < high else counted(high, "words"): (words > low) & (words <= high),
        f"more than {high} words": words > high,
    }
    return {name: rows for name, rows in thirds.items() if rows.any()}


def _by_rule(table: pa.Table, name: str, rule: str) -> np.ndarray:
    parts = _RULE.match(rule)
    if not parts:
        raise UserError(
            f"The rule of slice {name!r} is {rule!r}; write COLUMN OPERATOR VALUE, for example: length > 20."
        )
    column, operator, value = parts.groups()
    value = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    if operator in _NUMERIC:
        try:
            values = (
                _lengths(table)
                if column == "length"
                else np.array([float(one) if one else np.nan for one in _text_column(table, column, name)])
            )
            return _NUMERIC[operator](values, float(value))
        except ValueError:
            raise UserError(
                f"The rule of slice {name!r} compares numbers, but {column!r} or {value!r} is none."
            ) from None
    values = _lengths(table).astype(str) if column == "length" else _text_column(table, column, name)
    if operator == "~":
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise UserError(f"The rule of slice {name!r} is no regular expression: {error}.") from None
        return np.array([bool(pattern.search(one)) for one in values])
    return np.isin(values, [value, spelled(value)], invert=operator == "!=")


def _text_column(table: pa.Table, column: str, where: str) -> np.ndarray:
    if column not in table.column_names:
        raise UserError(
            f"{where} names the column {column!r}; the test split has {', '.join(table.column_names)}. Let "
            "prepare_text_data keep it: metadata_columns."
        )
    return np.array(["" if value is None else str(value) for value in table[column].to_pylist()])
