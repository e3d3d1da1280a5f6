"""What a step says of its artifacts on the run's page: a few typed values each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp_bert_components.data.prepare_data import Prepared
    from kfp_bert_components.evaluation import Evaluation
    from kfp_bert_components.gate import Decision

# The backend keeps metadata in its database: a model of thousands of classes must not fill it.
MOST_LABELS = 50


def of_model(bundle: Path, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Of a model bundle: what it is, what it was made from, and the metrics of its training."""
    from kfp_bert_components.bert import read_bundle

    found = read_bundle(bundle)
    known = found.metadata
    return {
        "framework": "TensorFlow",
        "engines": ", ".join(sorted(found.engines)),
        "base_model": known.get("base_model") or "none, trained from scratch",
        **_labels(found.labels),
        "max_length": known.get("max_length", 0),
        "pair": known["pair"],
        "precision": known.get("precision", "float32"),
        "parameters": known.get("parameters", {}),
        "fingerprint": found.fingerprint,
        "data_fingerprint": known.get("data_fingerprint", ""),
        **metrics,
    }


def of_split(prepared: Prepared, name: str) -> dict[str, Any]:
    """Of the split `name`: its rows, labels and fingerprint."""
    return {
        "rows": prepared.rows[name],
        "fingerprint": prepared.fingerprints[name],
        **_labels(prepared.labels),
    }


def of_evaluation(found: Evaluation) -> dict[str, Any]:
    """Of an evaluation: of which model, on which rows, and its metrics over all classes."""
    version = {"model_version": found.model_version} if found.model_version else {}
    return {
        "empty": found.empty,
        "rows": found.predictions.num_rows if found.predictions is not None else 0,
        "test_fingerprint": found.test_fingerprint,
        "model_fingerprint": found.model_fingerprint,
        **version,
        **_labels(found.labels),
        **({} if found.empty else found.overall()),
    }


def of_decision(made: Decision, registry: str = "") -> dict[str, Any]:
    """Of a decision: its outcome and reason, the figures that it rests on, and the registry that it is for."""
    names = ("metric", "candidate", "champion", "value", "p_value", "rows")
    return {
        "outcome": made.outcome,
        "reason": made.reason,
        "decision_id": made.decision_id,
        "champion_version": made.champion_version or 0,
        "candidate_fingerprint": made.candidate_fingerprint,
        "test_fingerprint": made.test_fingerprint,
        "overridden": made.outcome != made.gate_outcome,
        **({"registry": registry} if registry else {}),
        **{name: made.difference[name] for name in names if made.difference.get(name) is not None},
    }


def _labels(labels: Sequence[str]) -> dict[str, Any]:
    """How many labels there are, and their names where they are few."""
    return {"classes": len(labels), **({"labels": list(labels)} if len(labels) <= MOST_LABELS else {})}
