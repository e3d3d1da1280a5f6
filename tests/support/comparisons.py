"""Pairs of models to compare, and what the gate decides about them."""

import numpy as np

from kfp_bert_components.evaluation import read_evaluation
from kfp_bert_components.gate import Policy, compare, decide, read_decision, uncounted
from kfp_bert_components.steps.compare_models import compare_models
from tests.support.evaluations import scores, write_numbers

LABELS = ["action", "dialogue", "<i>$scene$</i>"]


def models(folder, *strengths, rows=400, seed=0, own=0.5, **options):
    """Evaluations of models with these signals on the same rows; the last is the champion."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, rows)
    common = rng.standard_normal((rows, 3))
    return [
        write_numbers(
            folder / str(i),
            truth,
            scores(rng, truth, 3, strength, common, own),
            LABELS,
            version=4 if i == len(strengths) - 1 else None,
            **options,
        )
        for i, strength in enumerate(strengths)
    ]


def one_model(rows=400):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, rows)
    return truth, scores(rng, truth, 3, 2.0)


def judge(candidate, champion, policy=None):
    """The decision alone: drawing the page takes far longer."""
    policy = policy or Policy()
    comparison = compare(read_evaluation(candidate), read_evaluation(champion), policy.goal)
    return decide(comparison, policy, uncounted(policy.alpha))


def run(folder, candidate, champion, policy=None, registry=""):
    """The decision, read from its file, with the pages beside it."""
    paths = folder / "decision", folder / "report.html", folder / "summary.md"
    made = compare_models(candidate, champion, *paths, policy or Policy(), registry)
    assert read_decision(folder / "decision") == made
    return made


def counted(folder, *, version=4, **options):
    """Two models that differ in 60 of 400 rows: of them the candidate has 40 right, and the champion 20."""
    truth = np.arange(400) % 2
    new, old = truth.copy(), truth.copy()
    new[:20], old[20:60] = 1 - truth[:20], 1 - truth[20:60]
    return [
        write_numbers(folder / name, truth, 0.2 + 0.6 * np.eye(2)[answers], LABELS[:2], version=number, **options)
        for name, answers, number in (("new", new, None), ("old", old, version))
    ]


def repeated(folder, champion_by="text", **options):
    """A candidate that is better on 900 rows of three texts of a class, and on 100 texts of another."""
    numbers = np.r_[np.repeat([0, 1, 2], [600, 200, 100]), 3 + np.arange(100)]
    truth = (numbers < 3).astype(int)
    old = np.where(numbers % 3 == 0, 1 - truth, truth)
    new = np.where(numbers % 9 == 0, 1 - truth, truth)
    return [
        write_numbers(
            folder / name, truth, 0.1 + 0.8 * np.eye(2)[said], LABELS[:2], version=version, ids=numbers, **by, **options
        )
        for name, said, version, by in (
            ("new", new, None, {}),
            ("old", old, 4, {"evidence_by": champion_by}),
        )
    ]
