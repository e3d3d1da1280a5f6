"""The state machine by itself: the diagram in the docs is the code's, and splits add up."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_bert_components.deployment import Journal, restored_split, split_with
from kfp_bert_components.deployment.states import FAILED, IDLE, LIVE, NEXT, PENDING, TRANSITIONS
from kfp_bert_components.registry import Registry

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"


def test_the_diagram_in_the_docs_shows_the_transitions_of_the_code():
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", PAGE.read_text(), re.MULTILINE))
    assert drawn == {(state, after) for state, ways in TRANSITIONS.items() for after in ways}


def test_the_table_in_the_docs_explains_every_state():
    assert set(TRANSITIONS) <= set(re.findall(r"^\| (\w+) \|", PAGE.read_text(), re.MULTILINE))


def test_every_state_leads_to_live_or_failed():
    for start in NEXT:
        state = start
        while state not in IDLE:
            state = NEXT[state]
        assert state in (LIVE, FAILED)


def test_a_transition_that_is_not_drawn_is_refused(tmp_path):
    journal = Journal(Registry(str(tmp_path)), "production")
    assert journal.state == PENDING
    with pytest.raises(AssertionError):
        journal.enter(LIVE)


splits = st.dictionaries(st.sampled_from("1234"), st.integers(1, 100), min_size=1).map(
    lambda weights: restored_split(weights, set(weights))
)


@given(splits, st.integers(1, 100))
def test_a_share_adds_up_and_gives_the_new_one_no_more_than_asked(before, percent):
    split = split_with(before, "new", percent)
    assert sum(split.values()) == 100
    assert split["new"] == percent
    assert min(split.values()) > 0


@given(splits, st.sets(st.sampled_from("1234")))
def test_what_is_left_gets_everything_back(before, deployed):
    split = restored_split(before, deployed)
    assert sum(split.values()) in (0, 100)
    assert set(split) <= deployed


def test_nothing_before_means_everything_to_the_first_one():
    assert split_with({}, "new", 10) == {"new": 100}
    assert restored_split({"1": 40, "2": 60}, {"1", "2"}) == {"1": 40, "2": 60}
