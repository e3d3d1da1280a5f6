"""What describes a training set, and how far another one has moved from it."""

import json
import math
from itertools import islice, product

import numpy as np
import pytest

from kfp_bert_components.data.profile import compare_profiles, make_profile, parse_profile
from kfp_bert_components.errors import UserError


def of(texts, labels, keep_texts="all"):
    """The profile of these texts."""
    return make_profile(np.array([len(text) for text in texts]), labels, texts, keep_texts)


def different(text, many, other):
    """So many different texts that have the words of this one, and each a word of its own."""
    return [f"{text} {other}{i}" for i in range(many)]


def test_words_are_counted_in_lower_case_and_lengths_up_to_the_end_of_their_bin():
    found = of(["One two, TWO", "é-é", "abcd", "x" * 10**6], {"a": 3, "b": 1})
    assert (found.rows, found.labels, found.word_total) == (4, {"a": 3, "b": 1}, 7)
    # The bins end at 4, 6, 9, 14 ... characters; the last has all longer texts.
    assert found.lengths[:4] == [2, 0, 0, 1] and found.lengths[-1] == 1 and sum(found.lengths) == 4
    assert len(of(different(" ".join(f"w{i}" for i in range(2001)), 5, "x"), {}).words) == 2000


def test_words_of_few_different_texts_are_not_kept_and_those_of_many_are_counted_in_all_rows():
    texts = [*different("One two, TWO", 5, "n"), *different("four", 4, "m"), *["call 0105550123"] * 9, "one N0"]
    found = of([*texts, texts[0]], {})
    assert (found.words, found.word_total) == ({"two": 12, "one": 7}, 6 * 4 + 4 * 2 + 9 * 2 + 2)


def test_without_texts_the_words_are_hashed_and_compare_as_words_do():
    before = different("red", 6, "x") + different("green apples", 6, "y")
    now = different("red", 7, "x") + different("blue apples", 8, "z")
    clear = compare_profiles(of(now, {"a": 1}), of(before, {"a": 1}), "")
    assert clear.vocabulary > 0 and next(word for word, *_ in clear.new_words) == "blue"
    for left, right in (("all", "ids"), ("ids", "all"), ("ids", "ids")):
        hidden = compare_profiles(of(now, {"a": 1}, left), of(before, {"a": 1}, right), "")
        assert hidden.vocabulary == clear.vocabulary
        assert hidden.new_words == (clear.new_words if left == "all" else [])
    words = of(now, {}, "ids").words
    assert sorted(words.values()) == [7, 8, 8] and not {"red", "blue", "apples"} & {*words}


def test_a_profile_is_read_as_it_was_written(tmp_path):
    found = of(different("One two", 5, "x"), {"a": 1})
    found.write(tmp_path)
    data = (tmp_path / "data_profile.json").read_bytes()
    assert parse_profile(data, "there") == found
    with pytest.raises(UserError, match="there"):
        parse_profile(b"{}", "there")


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": "many"},
        {"rows": None},
        {"rows": -1},
        {"labels": ["a"]},
        {"labels": {"a": "x"}},
        {"lengths": [1, 2]},
        {"lengths": {"4": 1}},
        {"lengths": [-1] * 25},
        {"words": {"one": None}},
        {"words": ["one"]},
        {"word_total": 0},
        {"word_total": 1.5},
        {"fingerprint": 3},
        {"more": 1},
    ],
)
def test_a_profile_with_a_wrong_value_is_damaged(tmp_path, wrong):
    of(different("One two", 5, "x"), {"a": 1}).write(tmp_path)
    record = json.loads((tmp_path / "data_profile.json").read_text()) | wrong
    with pytest.raises(UserError, match=rf"there is damaged: .*{next(iter(wrong))}.*give one that") as error:
        parse_profile(json.dumps(record).encode(), "there")
    assert "\n" not in str(error.value)


def index(*bins):
    """The population stability index, with half a row more in each bin."""
    before, now = ([(pair[side] + 0.5) / sum(one[side] + 0.5 for one in bins) for pair in bins] for side in (0, 1))
    return sum((q - p) * math.log(q / p) for p, q in zip(before, now, strict=True))


def test_drift_is_the_population_stability_index_of_labels_lengths_and_words():
    def texts(words, many):
        return [words + "".join(marks) for marks in islice(product(".!?;:", repeat=2), many)]

    before = of(texts("red", 12) + texts("green apples", 6), {"a": 12, "b": 6})
    now = of(texts("red", 5) + texts("blue apples", 20), {"b": 20, "c": 5})
    found = compare_profiles(now, before, "the champion")
    assert found.source == "the champion"
    assert found.label_shares == [
        ("a", pytest.approx(12 / 18), 0),
        ("b", pytest.approx(6 / 18), 0.8),
        ("c", 0, pytest.approx(0.2)),
    ]
    assert found.labels == pytest.approx(index((12, 0), (6, 20), (0, 5)))
    assert found.lengths == pytest.approx(index((12, 5), (6, 20)))
    assert found.vocabulary == pytest.approx(index((12, 5), (6, 0), (6, 20), (0, 20)))
    assert found.new_words == [
        ("blue", 0, pytest.approx(20 / 45)),
        ("apples", pytest.approx(6 / 24), pytest.approx(20 / 45)),
    ]
    assert found.largest == max(found.labels, found.lengths, found.vocabulary)
    same = compare_profiles(before, before, "itself")
    assert same.largest == 0 and same.new_words == []
