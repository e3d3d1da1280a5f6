"""From the labels in the data to the classes of the model."""

import pytest

from kfp_bert_components.data.labels import UNKNOWN, map_labels


def classes(found, label_names=None, keep_unknown=False):
    """The classes, and that of each label; None for one that has none."""
    made = map_labels(found, label_names or {}, keep_unknown)
    return made.names, [None if code == UNKNOWN else made.names[code] for code in made.code]


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (["b", "a", ""], ["a", "b"]),
        (["10", "9", "-1", "b", "a"], ["-1", "9", "10", "a", "b"]),
        (["1" * 16, "9", "2"], ["2", "9", "1" * 16]),
    ],
)
def test_classes_are_in_the_order_of_numbers_and_then_of_names(found, names):
    assert classes(found) == (names, [label or None for label in found])


def test_labels_that_differ_in_how_a_number_is_written_are_the_same():
    made = map_labels(["1", "1.0", "+1", " 1. ", "1.5", "-0", "a", " a", "b"], {}, False)
    assert made.names == ["-0", "1", "1.5", "a", "b"]
    assert made.merged == [("1", "1.0", "+1", " 1. "), ("a", " a")]
    assert [made.names[code] for code in made.code] == ["1"] * 4 + ["1.5", "-0", "a", "a", "b"]


def test_given_names_come_in_the_order_of_their_keys_and_labels_without_one_are_unknown():
    given = {"10": "ten ", "2.0": "two", "7": "never there"}
    assert classes(["10", "2", "3", ""], given) == (["two", "ten"], ["ten", "two", None, None])
    assert classes(["10", "2", "3", ""], given, keep_unknown=True) == (
        ["two", "ten", "3"],
        ["ten", "two", "3", None],
    )


def test_several_labels_may_get_one_name_and_a_name_may_stand_in_the_data_already():
    given = {"1": "bad", "2": "bad", "3": "good"}
    assert classes(["1", "2", "3", "good"], given) == (["bad", "good"], ["bad", "bad", "good", "good"])
