"""Small folders that look like a model, its evaluation and a decision, for tests that need no training."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from kfp_bert_components.registry import Registry


def write_candidate(
    folder: Path,
    name: str = "m",
    *,
    outcome: str = "PROMOTE",
    champion_version: int | None = None,
    champion_generation: int = 0,
    decision_id: str = "",
    files: int = 2,
) -> tuple[Path, Path, Path]:
    """Make folder/bundle, folder/evaluation and folder/decision, and return the three."""
    bundle, evaluation, decision = folder / "bundle", folder / "evaluation", folder / "decision"
    for path in (bundle / "saved_model", evaluation, decision):
        path.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        (bundle / "saved_model" / f"part{number}").write_text(f"weights of {name}, part {number}")
    model = {
        "format": 1,
        "labels": ["ham", "spam"],
        "max_length": 64,
        "pair": False,
        "base_model": "tiny",
        "parameters": {"epochs": 3, "learning_rate": 5e-05},
        "versions": {"tensorflow": "2.21.0"},
        "data_fingerprint": f"data of {name}",
        "fingerprint": f"model {name}",
    }
    scores = {
        "format": 1,
        "metrics": {"macro_f1": {"value": 0.91, "low": 0.88, "high": 0.94}},
        "test_fingerprint": "test",
        "labels": ["ham", "spam"],
        "model_version": None,
        "model_fingerprint": model["fingerprint"],
        "empty": True,
    }
    verdict = {
        "format": 1,
        "outcome": outcome,
        "reason": "macro F1 is 0.05 higher.",
        "decision_id": decision_id or uuid.uuid4().hex,
        "candidate_fingerprint": model["fingerprint"],
        "champion_version": champion_version,
        "champion_generation": champion_generation,
        "test_fingerprint": "test",
        "difference": {"metric": "macro_f1", "value": 0.05, "low": 0.02, "high": 0.08},
    }
    (bundle / "bundle.json").write_text(json.dumps(model))
    (evaluation / "evaluation.json").write_text(json.dumps(scores))
    (decision / "decision.json").write_text(json.dumps(verdict))
    return bundle, evaluation, decision


def candidate_for(registry: Registry, folder: Path, name: str) -> tuple[Path, Path, Path]:
    """A model that was compared with the champion of this moment; its decision's id is its name."""
    champion = registry.champion()
    return write_candidate(
        folder / name,
        name,
        champion_version=champion.version if champion else None,
        champion_generation=champion.generation if champion else 0,
        decision_id=name,
    )


def promote_next(registry: Registry, folder: Path, name: str) -> int:
    """Promote such a model."""
    return registry.promote(*candidate_for(registry, folder, name))
