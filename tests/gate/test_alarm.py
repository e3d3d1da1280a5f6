"""The data alarm: its level where nothing changed, its power, and what it looks at."""

from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import norm

from kfp_bert_components.evaluation.text_keys import TEXT_KEY
from kfp_bert_components.gate.alarm import ALPHA, by_text, find_alarm, not_recovered
from tests.support.champions import GATE_ALPHA, LABELS, World, answered, shuffled

WORLDS = {
    "a new test set": World(400, 400, 0.85, alike=0.0),
    "many new rows": World(200, 3000, 0.85, alike=0.3),
    "a fifth of the rows are ten texts": World(500, 500, 0.8, repeated=0.2),
    "a test set that grows": World(500, 50, 0.85, growing=True),
}


def chains(world, many, candidates=3, seed=0):
    """Some chains with a champion that was promoted."""
    rng = np.random.default_rng(seed)
    while many:
        if found := world.chain(rng, candidates):
            many -= 1
            yield rng, *found


def with_alarm(then, now, chance=GATE_ALPHA):
    return replace(now, alarm=asdict(find_alarm(now, then, LABELS, chance)), promoted_on=by_text(then, LABELS))


@pytest.mark.parametrize("name", WORLDS)
def test_where_nothing_changed_there_is_no_alarm_more_often_than_alpha(name):
    many = 150
    raised = [find_alarm(now, then, LABELS, GATE_ALPHA).sentence for _, then, now, _ in chains(WORLDS[name], many)]
    assert np.mean([bool(one) for one in raised]) <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / many)


def test_without_allowing_for_the_choice_of_the_champion_the_level_would_not_hold():
    many = 150
    found = [find_alarm(now, then, LABELS, 1.0) for _, then, now, _ in chains(WORLDS["many new rows"], many)]
    raised = np.mean([one.p_fall <= ALPHA / 2 for one in found])
    assert raised > ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / many)


@pytest.mark.parametrize("name", WORLDS)
def test_shuffled_labels_are_an_alarm_and_no_candidate_recovers(name):
    world = WORLDS[name]
    for rng, then, now, last in chains(world, 20):
        bad = shuffled(rng, now, world.rows if world.growing else 0)
        champion = with_alarm(then, bad)
        assert champion.alarm["sentence"].startswith("The new labels disagree with the champion: accuracy 0.")
        assert "Nor does the candidate reach" in not_recovered(replace(last, predictions=bad.predictions), champion)


@pytest.mark.parametrize("name", WORLDS)
def test_a_candidate_that_is_as_good_as_the_champion_was_is_not_held_back_more_often_than_alpha(name):
    world, many, held = WORLDS[name], 100, 0
    for rng, then, now, last in chains(world, many, seed=1):
        champion = with_alarm(then, shuffled(rng, now))
        held += bool(not_recovered(last, champion))
    assert held / many <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / many)


def some(right, rows, fingerprint, classes=3, start=0):
    """`rows` texts of so many classes in turn, the first `right` of them answered rightly."""
    texts = start + np.arange(rows)
    return answered(texts, np.arange(rows) < right, texts % classes, fingerprint)


def test_the_alarm_says_both_figures_with_rows_and_texts():
    then, now = some(893, 1000, "then"), some(238, 1200, "now", start=5000)
    assert find_alarm(now, then, LABELS, 0.05).sentence == (
        "The new labels disagree with the champion: accuracy 0.198 now (1,200 rows, 1,200 texts), 0.893 then (1,000 "
        "rows, 1,000 texts), where always saying 'a' would give 0.333; look at the data before you train."
    )


def test_copies_of_a_text_are_one_piece_of_evidence():
    then = some(180, 200, "then")
    wrong = np.concatenate([np.full(300, 900), 1000 + np.arange(100)])
    copies = answered(wrong, wrong != 900, wrong % 3, "now")
    rows = answered(np.arange(1000, 1400), np.arange(400) >= 300, np.arange(400) % 3, "now")
    assert not find_alarm(copies, then, LABELS).sentence and find_alarm(rows, then, LABELS).sentence


def test_a_few_bad_rows_in_a_test_set_that_grew_stand_out_because_the_others_are_those_of_then():
    texts = np.arange(5000)
    right = texts % 10 > 0
    then = answered(texts, right, texts % 3, "then")
    more = np.arange(5060)
    bad = find_alarm(answered(more, np.append(right, np.zeros(60, bool)), more % 3, "now"), then, LABELS, 0.05)
    elsewhere = find_alarm(answered(10_000 + more, np.append(right, np.zeros(60, bool)), more % 3, "now"), then, LABELS)
    assert bad.sentence and not elsewhere.sentence


def test_texts_of_a_record_without_keys_of_texts_are_known_by_their_ids():
    texts = np.arange(5000)
    right = texts % 10 > 0
    then, more = answered(texts, right, texts % 3, "then"), np.arange(5060)
    now = answered(more, np.append(right, np.zeros(60, bool)), more % 3, "now")
    keys = pa.array([f"key of {text}" for text in more])
    keyed = replace(now, predictions=now.predictions.append_column(TEXT_KEY, keys))
    by_key, by_id = (find_alarm(one, then, LABELS, 0.05) for one in (keyed, now))
    assert by_key.p_fall == pytest.approx(by_id.p_fall) and by_id.p_fall < 1e-6


def test_texts_of_then_whose_labels_changed_are_an_alarm():
    texts = np.arange(300)
    then = answered(texts, texts % 10 > 0, texts % 3, "then")
    assert find_alarm(answered(texts, texts % 10 > 5, texts % 3, "now"), then, LABELS, 0.05).sentence


def test_the_same_test_set_and_a_very_small_one_are_no_alarm():
    then = some(180, 200, "then")
    same = find_alarm(then, then, LABELS, 0.05)
    assert not same.sentence and "promoted on: nothing to compare" in same.note and same.p_fall is None
    assert not find_alarm(some(0, 4, "now", start=900), then, LABELS, 0.05).sentence
    assert not find_alarm(some(10, 200, "now", start=900), some(3, 3, "then"), LABELS, 0.05).sentence


def test_a_champion_that_made_no_mistake_on_few_rows_has_not_fallen_by_a_few_mistakes():
    few, more = np.arange(40), np.arange(1000, 5000)
    now = answered(more, more % 33 > 0, more % 3, "now")
    found = find_alarm(now, answered(few, few >= 0, few % 3, "then"), LABELS)
    assert found.p_fall > 0.1


def test_each_class_may_have_been_the_most_frequent_one_by_chance():
    texts = np.arange(300)
    now = answered(texts, texts % 9 == 1, texts % 3, "now")
    # The most frequent class is right alone 100 times, the champion 34 times.
    z = (100 - 34) / np.sqrt(100 + 34)
    assert find_alarm(now, None, LABELS).p_frequent == pytest.approx(3 * norm.sf(z), rel=1e-6)


def test_rows_with_labels_that_the_champion_does_not_know_are_left_out():
    then = some(180, 200, "then", classes=2)
    now = some(300, 600, "now", start=900)
    labels, truth = ["a", "b"], now.truth()
    right = (truth == 2) | (np.arange(600) % 10 > 0)
    found = find_alarm(answered(np.arange(900, 1500), right, truth, "now"), then, labels, 0.05)
    assert not found.sentence and found.now.rows == 400
    alien = find_alarm(answered(np.arange(900, 1500), right, np.full(600, 2), "now"), then, labels, 0.05)
    assert (alien.sentence, alien.note) == ("", "The champion knows none of the labels of these rows.")


def test_a_champion_that_never_beat_the_most_frequent_class_is_no_alarm_for_that():
    truth = (np.arange(400) % 20 == 0).astype(int)
    right = (truth == 1) | (np.arange(400) % 5 > 0)  # finds the rare class, at the price of a fifth of the others
    then = answered(np.arange(400), right, truth, "then")
    found = find_alarm(answered(np.arange(400, 800), right, truth, "now"), then, LABELS, 0.05)
    assert found.p_frequent < ALPHA / 100 and not found.sentence


def test_where_it_is_not_known_how_good_the_champion_was_the_most_frequent_class_decides():
    truth = np.arange(300) % 3
    now = answered(np.arange(300), np.arange(300) % 10 == 0, truth, "now")
    champion = replace(now, alarm=asdict(find_alarm(now, None, LABELS, 0.05, "It is lost.")))
    assert champion.alarm["sentence"] == (
        "The new labels disagree with the champion: accuracy 0.100 now (300 rows, 300 texts), where always saying 'a' "
        "would give 0.333; look at the data before you train."
    )
    assert (champion.alarm["note"], champion.alarm["then"]) == ("It is lost.", None)
    constant, better = (answered(np.arange(300), right, truth, "now") for right in (truth == 0, np.arange(300) % 5 > 0))
    assert "nor is the candidate" in not_recovered(constant, champion).lower()
    assert not not_recovered(better, champion)
    assert not not_recovered(constant, now)
