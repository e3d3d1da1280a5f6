"""Slices of a test split: by columns, rules and lengths."""

import numpy as np
import pyarrow as pa
import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation.slices import find_slices


def test_rules_of_slices():
    years = [1990, 2000, None, 2010]
    table = pa.table({"text": ["a b c", "a", "b c", "d e f g"], "label": list("xyxy"), "year": years})
    rules = {"long": "length > 2", "late": "year >= 2000", "not x": "label != 'x'"}
    found = find_slices(table, ["label"], rules)
    assert found["long"].tolist() == [True, False, False, True]
    assert found["late"].tolist() == [False, True, False, True]
    assert found["not x"].tolist() == found["label = y"].tolist() == [False, True, False, True]
    for rule, message in (
        ("what", "COLUMN OPERATOR VALUE"),
        ("age > 3", "^s names the column 'age'"),
        ("label > 3", "The rule of slice 's' compares numbers, but 'label' or '3' is none"),
        ("text ~ (", "regular expression"),
    ):
        with pytest.raises(UserError, match=message):
            find_slices(table, (), {"s": rule})
    with pytest.raises(UserError, match="slice_columns names the column 'film'; the test split has text, label, year"):
        find_slices(table, ["film"])


def test_slices_of_a_column_are_its_values_and_a_missing_one_is_an_empty_text():
    values = [None, *(str(k) for k in range(25) for _ in range(k + 1))]
    table = pa.table({"text": ["a"] * len(values), "label": ["x"] * len(values), "kind": values})
    found = find_slices(table, ["kind"])
    assert list(found) == [*(f"kind = {k}" for k in range(24, 0, -1)), "kind = ", "kind = 0"]
    assert found["kind = 24"].sum() == 25
    many = pa.table({"text": ["a"] * 2_001, "label": ["x"] * 2_001, "who": [str(k) for k in range(2_001)]})
    with pytest.raises(UserError, match="slice_columns names the column 'who', which has 2,001 values in the test spl"):
        find_slices(many, ["who"])
    assert find_slices(table, (), {"unknown": "kind == ''"})["unknown"].tolist() == [True] + [False] * (len(values) - 1)


def test_texts_that_train_has_are_a_slice_where_the_split_says_which_they_are():
    table = pa.table({"text": ["a", "b", "c"], "label": list("xyx")})
    known = table.append_column("in_train", pa.array([True, False, True]))
    found = find_slices(known)
    assert list(found) == ["text in train", "text not in train"]
    assert [rows.tolist() for rows in found.values()] == [[True, False, True], [False, True, False]]
    assert find_slices(table) == {}
    # all rows of one kind are no part of the test set
    assert find_slices(table.append_column("in_train", pa.array([False] * 3))) == {}
    # a column of the user's, from when splits did not have their own
    assert find_slices(table.append_column("in_train", pa.array(["True", "", "True"]))) == {}


def test_slices_by_length_are_thirds_of_the_rows():
    texts = [" ".join(["word"] * k) for k in (1, 1, 2, 3, 4, 5, 6, 7, 8)]
    found = find_slices(pa.table({"text": [f"  {text} " for text in texts]}))
    assert {name: rows.sum() for name, rows in found.items()} == {
        "up to 3 words": 4,
        "4 to 5 words": 2,
        "more than 5 words": 3,
    }
    assert find_slices(pa.table({"text": ["a b", "c d"]})) == {}
    texts = [" ".join(["word"] * k) for k in (1, 1, 1, 1, 2, 2, 3, 3, 3)]
    assert [*find_slices(pa.table({"text": texts}))] == ["up to 1 words", "2 words", "more than 2 words"]


def test_a_character_is_a_word_where_texts_are_written_without_spaces():
    table = pa.table({"text": ["この映画は最高でした。" * k for k in range(1, 10)]})
    found = find_slices(table, (), {"long": "length > 20", "first": "length == 10"})
    assert [int(rows.sum()) for rows in found.values()] == [4, 2, 3, 7, 1]
    assert next(iter(found)) == "up to 40 words"


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        ("length == 2", [1]),
        ("length != 2", [0, 2, 3]),
        ("length ~ ^[34]$", [2, 3]),
        ("length <= 2", [0, 1]),
        ("price < 2", [0]),
        ("price >= 2", [2, 3]),
        (" text == a b ", [1]),
        ('text == "a b"', [1]),
        ("text ~ d$", [3]),
        ("list price == x", [0]),
        ("text == '", []),
        ("new == True", [0, 2]),
        ("new != TRUE", [1, 3]),
    ],
)
def test_what_a_rule_finds(rule, rows):
    columns = {"text": ["a", "a b", "a b c", "a b c d"], "price": ["1.5", None, "2", "10"], "list price": list("xyyy")}
    columns["new"] = ["true", "false", "true", ""]  # as prepare_text_data spells it
    assert np.flatnonzero(find_slices(pa.table(columns), (), {"s": rule})["s"]).tolist() == rows
