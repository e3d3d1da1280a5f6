"""Scoring a model bundle on a test split."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kfp_bert_components.errors import UserError
from kfp_bert_components.evaluation.measure import measure
from kfp_bert_components.evaluation.records import Evaluation, check_evidence_by, write_evaluation
from kfp_bert_components.evaluation.slices import find_slices
from kfp_bert_components.memory import memory_used, say_memory

_TIMED_TEXTS = 60
_CHUNK = 4096
_BATCH = 32  # rows in one call of the engine, as `Bundle.predict` has it
_ENGINE_BYTES = {"onnxruntime": 150e6, "tensorflow": 700e6}  # of its libraries


@dataclass(frozen=True)
class Slicing:
    """Which slices to look at beside those by text length.

    Attributes:
        columns: Metadata columns of the test split: each of their values is a slice.
        rules: By slice name, a rule such as "length > 20"; see `slices.find_slices`.
    """

    columns: Sequence[str] = ()
    rules: dict[str, str] = field(default_factory=dict)


def evaluate(
    model: Path,
    test: Path,
    evaluation: Path,
    *,
    model_version: int | None = None,
    champion_generation: int | str = 0,
    slicing: Slicing | None = None,
    evidence_by: str = "text",
    predict: Callable[[list[str], list[str] | None], np.ndarray] | None = None,
    new_labels: bool = False,
    keep_texts: str = "all",
) -> Evaluation:
    """Score the bundle in `model` on the split in `test`, with the engine that our server uses; keep every prediction.

    Args:
        model: A model bundle.
        test: A split made by prepare_text_data.
        evaluation: Folder to write evaluation.json and predictions.parquet to.
        model_version: Version of the model in the registry, for a champion.
        champion_generation: Generation of the champion pointer, for a champion.
        slicing: Parts of the test set to evaluate on their own.
        evidence_by: What counts as one piece of evidence: "text" (all rows with it), "row", or a column of the split.
        predict: Scores texts (and pairs) instead of the bundle's engine, for tests.
        new_labels: Whether the split may have labels that the model does not know: they get probability 0.
        keep_texts: "all", or "ids" to leave the texts out of the evaluation.

    Raises:
        UserError: The split has no rows, labels that the model does not know, or no column `evidence_by`, or an answer
            of the model is not made of probabilities: a NaN, one below 0 or above 1, or a sum that is not 1.
    """
    from kfp_bert_components.bert import read_bundle
    from kfp_bert_components.data.splits import read_split
    from kfp_bert_components.storage import file_hashes

    if keep_texts not in ("all", "ids"):
        raise UserError(f"keep_texts is {keep_texts!r}, but it must be 'all' or 'ids'.")
    bundle, split = read_bundle(model), read_split(test)
    files = file_hashes(model)
    labels = _labels(bundle.labels, split.labels, split.table.num_rows, test, new_labels)
    ask = predict or (lambda texts, pairs: bundle.predict(texts, pairs))
    check_evidence_by(evidence_by, split.table.column_names)
    slicing = slicing or Slicing()
    slices = find_slices(split.table, slicing.columns, slicing.rules)
    texts = split.table["text"].to_pylist()
    pairs = split.table["text_pair"].to_pylist() if split.pair else None
    if not predict:
        _say_memory(bundle, texts, pairs)
    scores = _score(ask, texts, pairs)
    if scores.shape[1] != len(bundle.labels):
        raise UserError(f"The model in {model} gives {scores.shape[1]} probabilities for {len(bundle.labels)} labels.")
    probabilities = np.zeros((len(texts), len(labels)), np.float32)
    probabilities[:, : scores.shape[1]] = scores
    result = measure(
        split.table,
        probabilities,
        labels,
        slices=slices,
        test_fingerprint=split.fingerprint,
        evidence_by=evidence_by,
        keep_texts=keep_texts == "all",
        model_fingerprint=bundle.metadata["fingerprint"],
        bundle_files=files,
        model_version=model_version,
        champion_generation=champion_generation,
        new_labels=[label for label in labels if label not in bundle.labels],
        engine=bundle.engine,
        precision=bundle.engines[bundle.engine]["precision"],
        system=_latency(ask, texts, pairs) | {"size_bytes": float(bundle.size_bytes)},
    )
    write_evaluation(result, evaluation)
    return result


def _labels(known: list[str], labels: list[str], rows: int, test: Path, new_labels: bool) -> list[str]:
    if not rows:
        raise UserError(f"The test split {test} has no rows; give it some, for example with test_fraction.")
    unknown = sorted(set(labels) - set(known))
    if unknown and not new_labels:
        raise UserError(
            f"The test split has labels that the model does not know: {', '.join(map(repr, unknown[:5]))}; "
            "evaluate it on a split of the data that it was trained on."
        )
    return [*known, *unknown]


def _say_memory(bundle: Any, texts: list[str], pairs: list[str] | None) -> None:
    """Say how much memory scoring is expected to take at most; measured with benchmarks/memory.py."""
    from kfp_bert_components.bert.checkpoint import read_config

    try:
        config = read_config(bundle.folder / "huggingface")
    except UserError:  # scoring needs no checkpoint, and only this line is lost without one
        return
    characters = max(len(text) + len(pair) for text, pair in zip(texts, pairs or [""] * len(texts), strict=True))
    tokens = min(bundle.metadata["max_length"], 2 + characters // 3)
    floats = 8 * config.hidden_size + 2 * config.intermediate_size + config.num_attention_heads * tokens
    needed = memory_used() + _ENGINE_BYTES[bundle.engine] + bundle.size_bytes + 4 * _BATCH * tokens * floats
    say_memory(needed, "give the step more memory")


def _score(ask: Callable, texts: list[str], pairs: list[str] | None) -> np.ndarray:
    """Probabilities [rows, classes], with progress."""
    from kfp_bert_components.progress_bar import track

    # Texts of like length go together, so that a chunk is not padded to its one long text.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts = []
    with track(len(texts), "scoring", "rows", part=(0, 1)) as bar:
        for start in range(0, len(order), _CHUNK):
            rows = order[start : start + _CHUNK]
            part = ask([texts[i] for i in rows], pairs and [pairs[i] for i in rows])
            if part.ndim != 2 or len(part) != len(rows):
                raise UserError(
                    f"The model answers {len(rows)} texts with an array of the shape {part.shape}: it must have a row "
                    "for each text, and in it one number for each label."
                )
            parts.append(part)
            bar.update(len(rows))
    scores = np.concatenate(parts)
    result = np.empty_like(scores)
    result[order] = scores
    return result


def _latency(ask: Callable, texts: list[str], pairs: list[str] | None) -> dict[str, float]:
    """Latency in ms of single texts, chosen evenly over the lengths."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    chosen = [order[i] for i in np.linspace(0, len(order) - 1, min(_TIMED_TEXTS, len(order))).astype(int)]
    taken = []
    for turn in (0, 1):  # the first round warms up
        for i in chosen[:10] if turn == 0 else chosen:
            start = time.perf_counter()
            ask([texts[i]], pairs and [pairs[i]])
            if turn:
                taken.append(1000 * (time.perf_counter() - start))
    middle, slow = np.quantile(taken, [0.5, 0.95])
    return {"latency_p50_ms": float(middle), "latency_p95_ms": float(slow)}
