"""What runs inside a training job, wherever that runs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from kfp_bert_components.jobs.records import read_settings, write_result
from kfp_bert_components.leases import ended_when_abandoned
from kfp_bert_components.storage import download_folder, open_store, upload_folder


def work(place: str, cancel: Callable[[], None]) -> None:
    """Train on the staged splits and, as the chief, write the outputs to the same staging folder.

    When nobody waits for the job any more, the chief writes a checkpoint, and the job ends as cancelled.

    Args:
        place: The folder that was staged. `output/result.json` is written last.
        cancel: Ends the job that this process belongs to.

    Raises:
        UserError: The staged files are damaged, or training failed with a UserError.
        SystemExit: With code 143, at SIGTERM and when nobody waits.
    """
    store, chief = open_store(place), is_chief(os.environ.get("TF_CONFIG", ""))
    # All replicas stop training where one does.
    with ended_when_abandoned(store, cancel) if chief else nullcontext():
        _train(place, chief)


def _train(place: str, chief: bool) -> None:
    from kfp_bert_components.training import TrainingSettings, finetune

    store = open_store(place)
    settings = TrainingSettings(**read_settings(store))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for split in ("train", "validation"):
            download_folder(store, split, folder / split)
        model, report = folder / "model", folder / "report.html"
        metrics = finetune(folder / "train", folder / "validation", model, report, settings)
        if chief:
            upload_folder(model, store, "output/model")
            store.upload(report, "output/report.html")
            write_result(store, metrics)


def is_chief(config: str) -> bool:
    """Whether this replica writes the outputs.

    Args:
        config: The value of TF_CONFIG; "" if there is one machine only, which is the chief.
    """
    if not config:
        return True
    parsed = json.loads(config)
    task, cluster = parsed.get("task", {}), parsed.get("cluster", {})
    if "chief" in cluster:
        return task.get("type") == "chief"
    return task.get("type", "worker") == "worker" and int(task.get("index", 0)) == 0
