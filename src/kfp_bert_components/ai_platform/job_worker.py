"""What runs inside a custom job: `python -m kfp_bert_components.ai_platform.job_worker gs://STAGING_FOLDER`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from kfp_bert_components.ai_platform.job_records import read_settings, write_result
from kfp_bert_components.errors import UserError
from kfp_bert_components.storage import download_folder, open_store, upload_folder


def work(place: str) -> None:
    """Train on the staged splits and, as the chief, write the outputs to the same staging folder.

    Args:
        place: The gs:// folder that `run_as_custom_job` filled. `output/result.json` is written last.

    Raises:
        UserError: The staged files are damaged, or training failed with a UserError.
    """
    from kfp_bert_components.training import TrainingSettings, finetune

    store = open_store(place)
    settings = TrainingSettings(**read_settings(store))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for split in ("train", "validation"):
            download_folder(store, split, folder / split)
        model, report = folder / "model", folder / "report.html"
        metrics = finetune(folder / "train", folder / "validation", model, report, settings)
        if is_chief(os.environ.get("TF_CONFIG", "")):
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


if __name__ == "__main__":
    try:
        work(sys.argv[1])
    except UserError as error:
        raise SystemExit(str(error)) from error
