"""What must hold before two models are compared: the same task, and a first model that has learned its classes."""

import unicodedata

import numpy as np
import pytest

from kfp_bert_components.evaluation import read_evaluation, write_evaluation
from kfp_bert_components.gate import Policy, compare, decide, uncounted
from kfp_bert_components.gate.task import other_task
from kfp_bert_components.steps.compare_models import compare_models
from tests.support.evaluations import scores, write_nobody, write_numbers


def with_labels(folder, labels, strength, truth, *, unknown=(), version=None, seed=0):
    """An evaluation of a model that gives the `unknown` labels probability 0, as evaluate_champion writes it."""
    rng = np.random.default_rng(seed)
    found = scores(rng, truth, len(labels), strength, own=1.5)
    found[:, [labels.index(one) for one in unknown]] = 0
    write_numbers(folder, truth, found / found.sum(1, keepdims=True), labels, version=version)
    made = read_evaluation(folder)
    made.new_labels.extend(unknown)
    write_evaluation(made, folder)
    return folder


def judge(candidate, champion, policy=None):
    policy = policy or Policy()
    comparison = compare(read_evaluation(candidate), read_evaluation(champion), policy.goal)
    return decide(comparison, policy, uncounted(policy.alpha))


def pair(folder, labels, unknown, *, strengths=(2.0, 2.0), known=None, rows=600):
    """A candidate that knows `labels` but `known`, and a champion that does not know `unknown`."""
    truth = np.random.default_rng(7).integers(0, len(labels) - len(known or ()), rows)
    return (
        with_labels(folder / "new", labels, strengths[0], truth, unknown=known or (), seed=1),
        with_labels(folder / "old", labels, strengths[1], truth, unknown=unknown, version=4, seed=2),
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["neg", "Pos"], ["neg", "pos"]),
        (["neg", "pos "], ["neg", "pos"]),
        (["neg", unicodedata.normalize("NFD", "긍정")], ["neg", "긍정"]),
        (["neg", "ＰＯＳ"], ["neg", "pos"]),
        (["neg", "pos\u200b"], ["neg", "pos"]),
        (["ham", "no_spam"], ["ham", "no-spam"]),
        (["a", "b", "c", "d", "Pos"], ["a", "b", "c", "d", "pos", "Pos"]),
    ],
)
def test_labels_that_differ_by_their_spelling_only_are_another_task(ours, theirs):
    assert "differ only by case, spaces, hyphens or Unicode form" in other_task(ours, theirs, 1.0)


@pytest.mark.parametrize(
    ("one", "other"), [("-1", "1"), ("\N{MINUS SIGN}1", "1"), ("A-", "A"), ("1-2", "12"), ("1 2", "12")]
)
def test_a_sign_is_no_hyphen(one, other):
    assert other_task(["0", "2", other, one], ["0", "2", other], 1.0) == ""


@pytest.mark.parametrize(("one", "other"), [("-1", "\N{MINUS SIGN}1"), ("covid-19", "COVID 19"), ("1 - 2", "1\u20132")])
def test_hyphens_have_one_form(one, other):
    assert "differ only by" in other_task(["0", "2", one], ["0", "2", other], 1.0)


def test_few_common_labels_are_another_task_and_a_new_one_among_many_is_not():
    ten = list("abcdefghij")
    assert (
        other_task([*ten, "k"], ten, 0.9)
        == other_task(ten, ten[:9], 0.9)
        == other_task(["a", "b", "c"], "ab", 0.7)
        == ""
    )
    assert other_task([*ten, "A"], [*ten, "A", "k"], 0.9) == ""  # both know both spellings
    assert "only 2 of all 4 labels are known to both" in other_task(list("abcd"), list("ab"), 0.9)
    assert "only 1 of all 3" in other_task(["spam", "ham"], ["spam", "no spam"], 0.9)
    assert "only 40% of the test rows have a label that the champion knows" in other_task([*ten, "k"], ten, 0.4)


def test_a_champion_with_other_labels_holds_until_someone_says_that_the_task_is_the_same(tmp_path):
    """Seen: promoted by +0.82, because the champion says pos where the rows say Pos."""
    new, old = pair(tmp_path, ["neg", "Pos", "pos"], ["Pos"], known=["pos"])
    made = judge(new, old)
    assert made.outcome == made.gate_outcome == "HOLD"
    assert made.reason == (
        "This may be another task: the candidate knows the labels 'neg', 'Pos', and version 4 knows 'neg', 'pos'; "
        "'Pos' and 'pos' differ only by case, spaces, hyphens or Unicode form. Give the labels one spelling, or set "
        "allow_new_labels to go on."
    )
    assert judge(new, old, Policy(override="PROMOTE", override_by="Ada", override_reason="ok")).outcome == "PROMOTE"


def test_long_lists_of_labels_are_cut(tmp_path):
    labels = [f"label {i}" for i in range(30)]
    assert "'label 9' and 20 more, and version 4 knows" in judge(*pair(tmp_path, labels, labels[12:])).reason


@pytest.mark.parametrize(
    ("strengths", "outcome", "reason"),
    [
        ((3.5, 1.5), "PROMOTE", " On the labels that both know: Macro F1 rose by"),
        ((2.0, 2.0), "HOLD", " But on the labels that both know: Macro F1"),
        ((1.0, 3.5), "REJECT", " But on the labels that both know: Macro F1 fell by"),
    ],
)
def test_with_new_labels_allowed_the_goal_must_be_shown_on_the_common_ones_too(tmp_path, strengths, outcome, reason):
    """A model that only learned the new labels would pass the test on all rows, whatever it lost elsewhere."""
    new, old = pair(tmp_path, list("abcd"), ["c", "d"], strengths=strengths, rows=800)
    assert judge(new, old).outcome == "HOLD"
    made = judge(new, old, Policy(allow_new_labels=True))
    assert made.outcome == outcome and reason in made.reason
    assert made.reason.startswith("Macro F1 rose by")
    common, truth = made.difference["common_labels"], read_evaluation(new).truth()
    assert common["rows"] == (truth < 2).sum() and common["metric"] == "macro_f1"
    right = read_evaluation(old).confusion()
    assert made.difference["champion"] < common["champion"] and right[2][2] == right[3][3] == 0


def test_a_margin_says_what_may_be_lost_on_the_common_labels(tmp_path):
    new, old = pair(tmp_path, list("abcd"), ["c", "d"], rows=800)
    assert judge(new, old, Policy(allow_new_labels=True, margin=0.1)).outcome == "PROMOTE"


def test_without_a_common_label_nothing_can_be_shown(tmp_path):
    new, old = pair(tmp_path, ["A", "B", "a", "b"], ["A", "B"], known=["a", "b"])
    made = judge(new, old, Policy(allow_new_labels=True))
    assert made.outcome == "HOLD" and "no test row has a label that both know" in made.reason
    assert made.reason.endswith("To promote it all the same, give override, override_by and override_reason.")


def test_one_new_label_among_many_decides_as_ever_and_the_pages_show_the_common_labels(tmp_path):
    new, old = pair(tmp_path, list("abcdefghijk"), ["k"], strengths=(4.5, 2.0), rows=900)
    paths = tmp_path / "decision", tmp_path / "report.html", tmp_path / "summary.md"
    made = compare_models(new, old, *paths, Policy())
    assert made.outcome == "PROMOTE" and "does not know 'k'. On the labels that both know: Macro F1 rose" in made.reason
    assert "On the labels that both models know" in paths[1].read_text()
    assert "Macro F1, labels that both know" in paths[2].read_text()


@pytest.mark.parametrize(("rows", "outcome"), [(20, "HOLD"), (19, "PROMOTE")])
def test_a_first_model_that_is_never_right_about_a_class_is_held_back(tmp_path, rows, outcome):
    truth = np.repeat([0, 1, 2], [200, 200, rows])
    answers = np.eye(3)[np.where(truth == 2, 1, truth)]
    new = write_numbers(tmp_path / "new", truth, 0.04 + 0.88 * answers, ["a", "b", "rare"])
    nobody = write_nobody(tmp_path / "nobody", ["a", "b", "rare"])
    made = judge(new, nobody)
    assert made.outcome == outcome
    if outcome == "HOLD":
        assert made.reason.startswith("There is no champion yet, and the model is right about no row of 'rare': train")
        assert judge(new, nobody, Policy(require_all_classes=False)).outcome == "PROMOTE"
    paths = tmp_path / "decision", tmp_path / "report.html", tmp_path / "summary.md"
    compare_models(new, nobody, *paths, Policy())
    assert "The model never predicts &#39;rare&#39;." in paths[1].read_text()


@pytest.mark.parametrize(
    ("strengths", "outcome", "says"),
    [
        ((2.0, 2.0), "PROMOTE", "Version 4 does not know 'd'. On the labels that both know: Macro F1"),
        ((1.6, 2.2), "REJECT", "Version 4 does not know 'd'. But on the labels that both know: Macro F1 fell by"),
    ],
)
def test_a_new_label_among_several_does_not_outweigh_a_loss_on_the_others(tmp_path, strengths, outcome, says):
    made = judge(*pair(tmp_path, list("abcd"), ["d"], strengths=strengths))
    assert made.outcome == outcome
    assert says in made.reason
