"""What runs inside a custom job: `python -m kfp_bert_components.ai_platform.job_worker gs://STAGING_FOLDER`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from kfp_bert_components.ai_platform.job_records import read_client, read_settings, write_result
from kfp_bert_components.errors import UserError
from kfp_bert_components.leases import ended_when_abandoned
from kfp_bert_components.progress import say
from kfp_bert_components.storage import download_folder, open_store, upload_folder


def work(place: str) -> None:
    """Train on the staged splits and, as the chief, write the outputs to the same staging folder.

    When nobody waits for the job any more, the chief writes a checkpoint, and the job ends as cancelled.

    Args:
        place: The gs:// folder that `run_as_custom_job` filled. `output/result.json` is written last.

    Raises:
        UserError: The staged files are damaged, or training failed with a UserError.
        SystemExit: With code 143, at SIGTERM and when nobody waits.
    """
    store, chief = open_store(place), is_chief(os.environ.get("TF_CONFIG", ""))
    # All replicas stop training where one does.
    with ended_when_abandoned(store, lambda: cancel_own_job(place)) if chief else nullcontext():
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


def cancel_own_job(place: str) -> None:
    """Cancel the job that works on a staging folder, which is the one that this process belongs to.

    Where its account may not do that, or AI Platform can't be reached, a line says so: the job then ends with the exit
    code of this process, as one that failed.

    Args:
        place: The gs:// folder that `run_as_custom_job` filled.
    """
    from kfp_bert_components.ai_platform.client import AiPlatformClient
    from kfp_bert_components.ai_platform.running_jobs import cancel_job, running_jobs

    try:
        where = read_client(open_store(place))
        # Seconds, as the process ends the job in any case.
        client = AiPlatformClient(where["project"], where["location"], where["api_endpoint"], call_seconds=10.0)
        for job in running_jobs(client, place.rpartition("/")[2]):
            cancel_job(client, job.name)
    except UserError as error:
        say(f"The job can't be cancelled, and ends as one that failed: {error}")


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
