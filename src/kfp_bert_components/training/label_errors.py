"""Likely wrong labels: rows whose label is contradicted by a cheap model that was not trained on them.

The rows are dealt into folds, all copies of a text into the same one. A linear model is trained on all folds but one
and gives probabilities to that one. Confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068) reads from
them which labels are likely wrong. What the linear model sees of a text knows no labels: the character n-grams, and
where training starts from a checkpoint, the hidden states of that checkpoint as it was before training.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kfp_bert_components.progress import say
from kfp_bert_components.progress_bar import track
from kfp_bert_components.training.rows import TokenizedRows, read_texts, tokenize_split
from kfp_bert_components.training.scoring import score
from kfp_bert_components.training.settings import NetworkSettings, TrainingSettings
from kfp_bert_components.training.start import make_classifier

FOLDS = 5
CHARACTERS = 1_000  # of a text whose n-grams are counted
NGRAM_FEATURES = 256  # at most, and one for ten rows


@dataclass(frozen=True)
class LabelErrors:
    """What a check of labels found.

    Attributes:
        checked: Rows that were checked.
        rows: Rows of the split whose label is likely wrong, the most suspicious first, int64 [found].
        suggested: The labels that the model gives them, as indices, int64 [found].
        certainty: The probabilities of these labels, 0 to 1, float64 [found].
        skipped: Labels with fewer texts than there are folds: their rows are not checked.
    """

    checked: int
    rows: np.ndarray
    suggested: np.ndarray
    certainty: np.ndarray
    skipped: list[str]


@dataclass(frozen=True)
class FoldEvidence:
    """What models that were not trained on a row say about its label.

    Attributes:
        rows: The rows of the split that were checked, int64 [rows].
        labels: The labels that were checked, as indices in those of the split, int64 [classes].
        codes: Place of each row's label in `labels`, int64 [rows].
        features: What the models see of each row, each column with mean 0 and variance 1, float32 [rows, features].
        probabilities: Of each of `labels`, float64 [rows, classes].
        skipped: Labels that were not checked.
    """

    rows: np.ndarray
    labels: np.ndarray
    codes: np.ndarray
    features: np.ndarray
    probabilities: np.ndarray
    skipped: list[str]


def find_label_errors(split: Any, settings: TrainingSettings, network: NetworkSettings | None = None) -> LabelErrors:
    """Check the labels of a split, of `settings.label_check_rows` rows where so many can be checked.

    Args:
        split: The `data.Split` to train on.
        settings: Those of the run.
        network: The checkpoint that it starts from, as `start.read_once` gives it; by default that of `settings`.
    """
    evidence = fold_evidence(split, settings, network)
    suspects = confident_errors(evidence.probabilities, evidence.codes)
    found = evidence.probabilities[suspects]
    say(f"The labels of {len(suspects):,} rows are likely wrong; the report lists them.")
    return LabelErrors(
        checked=len(evidence.rows),
        rows=evidence.rows[suspects],
        suggested=evidence.labels[found.argmax(axis=1)],
        certainty=found.max(axis=1),
        skipped=evidence.skipped,
    )


def fold_evidence(split: Any, settings: TrainingSettings, network: NetworkSettings | None = None) -> FoldEvidence:
    """Let a linear model that was trained on the other folds judge each row; the arguments are the same.

    Where fewer than two labels have enough texts, no row is checked.
    """
    index = {label: number for number, label in enumerate(split.labels)}
    targets = np.array([index[label] for label in split.table.column("label").to_pylist()])
    first, second = read_texts(split.table, split.pair)
    texts = first if second is None else [f"{a}\n{b}" for a, b in zip(first, second, strict=True)]
    groups = np.unique(texts, return_inverse=True)[1]
    rows, few = _some_rows(groups, targets, settings.label_check_rows)
    skipped = [split.labels[number] for number in few]
    labels, codes = np.unique(targets[rows], return_inverse=True)
    say(f"Checking the labels of {len(rows):,} of {len(targets):,} training rows.")
    if not len(rows):
        return FoldEvidence(rows, np.array([0]), codes, np.empty((0, 1)), np.empty((0, 1)), skipped)
    checked = replace(split, table=split.table.take(rows))
    features = _features([texts[row] for row in rows], checked, settings, network or settings.network)
    return FoldEvidence(rows, labels, codes, features, fold_probabilities(features, codes, groups[rows]), skipped)


def _some_rows(groups: np.ndarray, targets: np.ndarray, most: int) -> tuple[np.ndarray, list[int]]:
    """Rows that are drawn at random, text by text, in order: all, or so many, and the labels that are left out.

    Left out is a label that has too few texts for the folds, among the rows or among those that were drawn. Rows of
    others are drawn instead. There are none where fewer than two labels remain.
    """
    drawn = np.random.default_rng(0).permutation(groups.max() + 1)[groups]
    order, few = np.argsort(drawn, kind="stable"), np.zeros(targets.max() + 1, bool)
    while True:
        rows = order[~few[targets[order]]][:most]
        labels, _ = np.divmod(np.unique(targets[rows] * (groups.max() + 1) + groups[rows]), groups.max() + 1)
        texts = np.bincount(labels, minlength=len(few))
        lacking = np.flatnonzero((texts > 0) & (texts < FOLDS))
        if not len(lacking):
            break
        # Half of them at a time: with more rows of the others in their place, the rest may have enough.
        few[lacking[np.argsort(texts[lacking], kind="stable")][: (len(lacking) + 1) // 2]] = True
    return np.sort(rows) if np.count_nonzero(texts) > 1 else rows[:0], np.flatnonzero(few).tolist()


def _features(texts: Sequence[str], split: Any, settings: TrainingSettings, network: NetworkSettings) -> np.ndarray:
    from sklearn.preprocessing import StandardScaler

    features = _ngrams(texts)
    if settings.base_model:
        features = np.hstack([features, _frozen_states(split, settings, network)])
    return StandardScaler(copy=False).fit_transform(features)


def _ngrams(texts: Sequence[str]) -> np.ndarray:
    """The TF-IDF of the texts' character n-grams in few dimensions, float32 [texts, dimensions]."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from threadpoolctl import threadpool_limits

    counts = TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=(1, 4),
        lowercase=False,
        sublinear_tf=True,
        max_features=50_000,
        dtype=np.float32,
    ).fit_transform([text[:CHARACTERS] for text in texts])
    size = max(1, min(NGRAM_FEATURES, len(texts) // 10, counts.shape[1] - 1))
    with threadpool_limits(1):
        return TruncatedSVD(size, random_state=0).fit_transform(counts).astype(np.float32)


def _frozen_states(split: Any, settings: TrainingSettings, network: NetworkSettings) -> np.ndarray:
    """Means over each row's tokens of the checkpoint's hidden states, of a middle and the last layer, [rows, 2 H]."""
    import tensorflow as tf

    classifier = make_classifier(network, split, seed=settings.seed, again=True)
    encoder, layers = classifier.model.encoder, classifier.config.num_hidden_layers

    @tf.function(autograph=False, reduce_retracing=True)
    def means(inputs: dict[str, Any]) -> Any:
        states = encoder.hidden_states(**inputs)
        mask = tf.cast(inputs["attention_mask"], tf.float32)[:, :, None]
        kept = tf.concat([states[(layers + 1) // 2], states[layers]], axis=2)
        return tf.reduce_sum(kept * mask, axis=1) / tf.reduce_sum(mask, axis=1)

    rows: TokenizedRows = tokenize_split(classifier, split, settings.max_length, settings.truncation)
    batch_size = 2 * settings.batch_size
    with track(math.ceil(len(rows) / batch_size), "reading the base model's states of the rows", "batches") as bar:
        return score(
            lambda inputs: means({name: tf.constant(array) for name, array in inputs.items()}).numpy(),
            rows,
            batch_size,
            2 * classifier.config.hidden_size,
            lambda: bar.update(),
        )


def fold_probabilities(features: np.ndarray, codes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Probabilities that a logistic regression gives each row after training on the other folds, [rows, classes].

    Args:
        features: Columns with mean 0 and variance 1, float [rows, features].
        codes: Index of each row's label, int [rows]; each label has rows in at least `FOLDS` groups.
        groups: Number of each row's text: rows with the same number go into the same fold, int [rows].
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from threadpoolctl import threadpool_limits

    probabilities = np.zeros((len(codes), codes.max() + 1))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    # The products are small: several threads of BLAS cost more than they save, most of all under a limit of CPU.
    with threadpool_limits(1), warnings.catch_warnings(), track(FOLDS, "checking labels", "folds") as bar:
        warnings.simplefilter("ignore", ConvergenceWarning)
        for others, fold in folds.split(features, codes, groups):
            # With this C a logit varies by 2 in the prior, however many features there are.
            head = LogisticRegression(C=4 / features.shape[1], max_iter=200).fit(features[others], codes[others])
            probabilities[np.ix_(fold, head.classes_)] = head.predict_proba(features[fold])
            bar.update()
    return probabilities


def confident_errors(probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The rows that are off the diagonal of the confident joint, the most suspicious first, int64 [found].

    A row is confidently of a class when its probability is at least the mean of that over the rows labelled with it. A
    label is likely wrong when the row is confidently of another class (of several: the most probable one), and more
    probably than of its own. The larger the lead over its own, the more suspicious it is.

    Args:
        probabilities: Of models that were not trained on the row, float [rows, classes].
        codes: Index of each row's label, int [rows]; every class has rows.
    """
    rows = np.arange(len(codes))
    own = probabilities[rows, codes]
    counts = np.maximum(1, np.bincount(codes, minlength=probabilities.shape[1]))
    needed = np.bincount(codes, own, probabilities.shape[1]) / counts
    best = probabilities.argmax(axis=1)
    confident = probabilities >= needed - 1e-6
    # Of several confident classes the most probable of all is meant, as in the paper's authors' library.
    meant = np.where(confident.sum(axis=1) > 1, best, confident.argmax(axis=1))
    wrong = np.flatnonzero(confident.any(axis=1) & (meant != codes) & (best != codes))
    return wrong[np.argsort(own[wrong] - probabilities[wrong].max(axis=1), kind="stable")]
