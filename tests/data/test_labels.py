"""From the labels in the data to the classes of the model."""

import unicodedata

import pytest

from kfp_bert_components.data.labels import UNKNOWN, map_labels, remarks


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


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (["true", "True", "TRUE", " true "], "true"),
        (["False", "false"], "false"),
        ([unicodedata.normalize(form, "café") for form in ("NFC", "NFD")], "café"),
        ([unicodedata.normalize(form, "긍정") for form in ("NFC", "NFD")], "긍정"),
        (
            ["good", "good\u00a0", "\u200bgood", "good\ufeff", "good\u2060", "good\u3000", "\u00adgood", "good\x00"],
            "good",
        ),
        (["new york", "new  york", "new\u00a0york", "new\tyork"], "new york"),
    ],
)
def test_a_label_has_one_spelling_and_the_others_are_said(written: list[str], name: str):
    made = map_labels([*written, "other"], {}, False)
    assert set(made.names) == {name, "other"}
    assert [made.names[code] for code in made.code[:-1]] == [name] * len(written)
    assert made.merged == [tuple(written)]
    given, found = classes([*written, "other"], {written[-1]: "yes\u00a0", "other": "no"})
    assert set(given) == {"yes", "no"} and found == ["yes"] * len(written) + ["no"]


def test_a_name_that_is_true_or_false_is_spelled_as_a_label_is():
    assert classes(["0", "1"], {"0": "False", "1": " TRUE"}) == (["false", "true"], ["false", "true"])


@pytest.mark.parametrize("nothing", ["", " ", "\u200b", "\ufeff\u00a0", "\u2060\u200d", "\x1f", "\u3164"])
def test_a_label_that_shows_nothing_is_missing(nothing: str):
    assert classes([nothing, "a", "b"]) == (["a", "b"], [None, "a", "b"])


def said(rows: dict[str, int], label_names=None) -> list[str]:
    """What is said of labels that so many rows have."""
    made = map_labels(list(rows), label_names or {}, True)
    return remarks(list(rows), list(rows.values()), made, label_names or {})


def test_labels_that_differ_by_case_only_stay_apart_and_are_said():
    made = map_labels(["Pos", "pos", "neg", "ＮＥＧ"], {}, False)
    assert made.names == ["Pos", "neg", "pos", "ＮＥＧ"]
    assert said({"Pos": 1, "pos": 1, "x": 1}) == [
        "labels that differ only by case, spaces or the width of letters are classes of their own: 'Pos', 'pos'"
    ]
    nfd = "\u1100\u1173\u11bc"
    assert said({nfd: 1, "긍": 1, "x": 1}) == [f"taken for the same label: '{nfd}' (not in Unicode form NFC), '긍'"]
    assert made.alike == [("Pos", "pos"), ("neg", "ＮＥＧ")]
    assert not said({"Pos": 1, "pos": 1}, {"Pos": "good", "pos": "good"})


def test_labels_that_are_several_are_said_with_their_rows():
    found = said({"a|b": 20, "a": 3, "b | c": 4, "d;e": 5, "x, y": 6, "y": 1})
    what, end = "rows have what looks like several labels joined by", "each combination is a class of its own"
    assert found == [
        f"24 {what} '|' (2, such as 'a|b', 'b | c'): {end}",
        f"5 {what} ';' (1, such as 'd;e'): {end}",
        f"6 {what} ',' (1, such as 'x, y'): {end}",
    ]
    assert said({"a/b": 7, "b": 1}) == [f"7 {what} '/' (1, such as 'a/b'): {end}"]
    for joint in "、，；·・ㆍ":
        assert said({f"긍정{joint}부정": 7, "긍정": 1}) == [f"7 {what} '{joint}' (1, such as '긍정{joint}부정'): {end}"]
    assert not said({"Seoul, Korea": 20, "w/o": 1, "C++": 1, "a|": 1, "|": 3, ";)": 2, "b": 3})
    assert not said({"a|b": 20, "c": 3}, {"a|b": "both", "c": "one"})


@pytest.mark.parametrize("joint", "、，·・ㆍ；")
def test_labels_that_are_several_in_east_asian_punctuation_are_said(joint):
    (found,) = said({f"감동{joint}재미": 20, "재미": 3, "감동": 4})
    assert found.startswith(f"20 rows have what looks like several labels joined by {joint!r}")
    assert joint == "；" or not said({f"서울{joint}부산": 20, "재미": 3})


def test_labels_that_may_stand_for_missing_ones_are_said():
    missing = ["nan", "NA", "#N/A", "None", "N/A", "NULL", "n/a"]
    found = said(dict.fromkeys([*missing, "a"], 2))
    assert not said({"none": 3, "a": 1})
    assert found[0].startswith("labels that differ only by case")
    assert found[1:] == [f"the text {one!r} is a label like any other (2 rows have it)" for one in missing]


def test_labels_that_are_named_and_that_no_row_has_are_said():
    names = {"0": "other", "1.0": "scene", "2": "cut", "dialog": "dialogue"}
    assert said({"0": 3, "1": 2, "cut": 2}, names) == ["label_names has labels that no row has: 'dialog'"]


def test_labels_that_are_lists_are_said_as_several():
    what, end = "rows have what looks like several labels in a list", "each combination is a class of its own"
    lists = {'["a", "b"]': 20, "['b', 'c']": 3, '["a"]': 4, "(b)": 1}
    shown = """'["a", "b"]', "['b', 'c']\""""
    assert said(lists) == [f"23 {what} (2, such as {shown}): {end}"]


def test_numbers_are_not_said_to_be_several_labels():
    assert not said({"1,0": 5, "2,0": 4, "0": 3, "1.5e+16": 1, "16": 2, "1,5e+16": 1, "2.5e-3": 1})


def test_a_whole_number_with_an_exponent_is_written_out():
    made = map_labels(["1e+16", "10000000000000000", "1.00E+03", "1000.0", "1e-3", "1e+400", "1e3"], {}, False)
    assert made.merged == [("1e+16", "10000000000000000"), ("1.00E+03", "1000.0")]
    assert set(made.names) == {"10000000000000000", "1000", "1e-3", "1e+400", "1e3"}


def test_of_thousands_of_labels_the_first_ten_are_said():
    found = said({str(i) + end: 1 for i in range(5_000) for end in ("", ".0")} | dict.fromkeys("Aa", 1))
    assert len(found) == 12 and found[10].startswith("and 4,990 more groups like these")
    assert all(len(line) < 200 for line in found)
