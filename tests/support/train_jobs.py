"""A step with run_on="kubeflow" and a fake cluster with Kubeflow Trainer, without the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kfp_bert_components.jobs.records import write_part, write_result
from kfp_bert_components.storage import open_store
from kfp_bert_components.training import TrainingSettings
from kfp_bert_components.trainjob import TrainJobSettings, run_as_train_job
from tests.support.training import BUNDLE_JSON

NAMESPACE = "default"


def leave_outputs(place: str, workers: int = 3) -> None:
    """What the workers of a job leave in its staging folder."""
    store = open_store(place)
    store.write("output/model/bundle.json", BUNDLE_JSON)
    store.write("output/report.html", b"<p>report</p>")
    write_result(store, {"validation_loss": 0.5})
    for number in range(workers):
        write_part(store, number)


def job_settings(folder: Path, url: str, **changes: Any) -> TrainJobSettings:
    """Settings with a staging folder on a volume, and the pauses of a test."""
    known = {"staging": f"{folder}/staging", "volumes": {"claim": str(folder)}, "image": "image:1", "replicas": 3}
    times = {"poll_seconds": 0.02, "stuck_seconds": 0.5}
    return TrainJobSettings(**{**known, **times, "namespace": NAMESPACE, "api_endpoint": url, **changes})


def run(folder: Path, url: str, training: TrainingSettings | None = None, **changes: Any) -> dict[str, float]:
    """What finetune_bert does with run_on="kubeflow"; the splits lie in the folder."""
    paths = [folder / name for name in ("train", "validation", "model", "report.html")]
    return run_as_train_job(*paths, training or TrainingSettings(), job_settings(folder, url, **changes))
