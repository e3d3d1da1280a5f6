"""What runs inside a custom job: `python -m kfp_bert_components.ai_platform.job_worker gs://PLACE`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage import download_folder, open_store, upload_folder


def work(place: str) -> None:
    """Train on the staged splits and, as the chief, put the outputs beside them.

    Args:
        place: The gs:// folder that `run_as_custom_job` filled. `output/result.json` is written last.
    """
    from kfp_bert_components.training import TrainingSettings, finetune

    store = open_store(place)
    job = json.loads(store.read("job.json").data)
    if job.get("format") != 1:
        raise UserError(f"{store.describe('job.json')} has an unknown format: use the package that wrote it.")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for split in ("train", "validation"):
            download_folder(store, split, folder / split)
        model, report = folder / "model", folder / "report.html"
        settings = TrainingSettings(**job["settings"])
        metrics = finetune(folder / "train", folder / "validation", model, report, settings)
        if is_chief(os.environ.get("TF_CONFIG", "")):
            upload_folder(model, store, "output/model")
            store.upload(report, "output/report.html")
            result = {"format": 1, "metrics": metrics}
            store.write("output/result.json", json.dumps(result).encode())


def is_chief(config: str) -> bool:
    """Whether this replica is the one that writes, by TF_CONFIG; a single machine always is."""
    if not config:
        return True
    parsed = json.loads(config)
    task, cluster = parsed.get("task", {}), parsed.get("cluster", {})
    if "chief" in cluster:
        return task.get("type") == "chief"
    return task.get("type", "worker") == "worker" and int(task.get("index", 0)) == 0


if __name__ == "__main__":
    try:
        work(sys.argv[1])
    except UserError as error:
        raise SystemExit(str(error)) from error
