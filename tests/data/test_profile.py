"""What describes a training set, and how far another one has moved from it."""

import json
import math

import numpy as np
import pytest

from kfp_bert_components.data.profile import compare_profiles, make_profile, parse_profile
from kfp_bert_components.errors import UserError


def of(texts, labels):
    """The profile of these texts."""
    return make_profile(np.array([len(text) for text in texts]), labels, texts)


def test_words_are_counted_in_lower_case_and_lengths_up_to_the_end_of_their_bin():
    found = of(["One two, TWO", "é-é", "abcd", "x" * 10**6], {"a": 3, "b": 1})
    assert (found.rows, found.labels, found.word_total) == (4, {"a": 3, "b": 1}, 7)
    assert found.words == {"two": 2, "é": 2, "one": 1, "abcd": 1, "x" * 10**6: 1}
    # The bins end at 4, 6, 9, 14 ... characters; the last has all longer texts.
    assert found.lengths[:4] == [2, 0, 0, 1] and found.lengths[-1] == 1 and sum(found.lengths) == 4
    assert len(of([" ".join(f"w{i}" for i in range(2001))], {}).words) == 2000


def test_a_profile_is_read_as_it_was_written(tmp_path):
    found = of(["One two"], {"a": 1})
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
    of(["One two"], {"a": 1}).write(tmp_path)
    record = json.loads((tmp_path / "data_profile.json").read_text()) | wrong
    with pytest.raises(UserError, match=rf"there is damaged: .*{next(iter(wrong))}.*give one that") as error:
        parse_profile(json.dumps(record).encode(), "there")
    assert "\n" not in str(error.value)


def index(*bins):
    """The population stability index, with half a row more in each bin."""
    before, now = ([(pair[side] + 0.5) / sum(one[side] + 0.5 for one in bins) for pair in bins] for side in (0, 1))
    return sum((q - p) * math.log(q / p) for p, q in zip(before, now, strict=True))


def test_drift_is_the_population_stability_index_of_labels_lengths_and_words():
    before = of(["red"] * 6 + ["green apples"] * 3, {"a": 6, "b": 3})
    now = of(["red"] * 2 + ["blue apples"] * 8, {"b": 8, "c": 2})
    found = compare_profiles(now, before, "the champion")
    assert found.source == "the champion"
    assert found.label_shares == [
        ("a", pytest.approx(6 / 9), 0),
        ("b", pytest.approx(3 / 9), 0.8),
        ("c", 0, pytest.approx(0.2)),
    ]
    assert found.labels == pytest.approx(index((6, 0), (3, 8), (0, 2)))
    assert found.lengths == pytest.approx(index((6, 2), (3, 8)))
    assert found.vocabulary == pytest.approx(index((6, 2), (3, 0), (3, 8), (0, 8)))
    assert found.new_words == [
        ("blue", 0, pytest.approx(8 / 18)),
        ("apples", pytest.approx(3 / 12), pytest.approx(8 / 18)),
    ]
    assert found.largest == max(found.labels, found.lengths, found.vocabulary)
    same = compare_profiles(before, before, "itself")
    assert same.largest == 0 and same.new_words == []
