"""The staging folder of a training job: the key that names it, what is copied there, and what is brought back."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.jobs.records import read_result, write_client, write_settings

if TYPE_CHECKING:
    from kfp_bert_components.storage import Store
    from kfp_bert_components.training import TrainingSettings


def pinned_base_model(settings: TrainingSettings) -> TrainingSettings:
    """The settings with what the files of the base model are, and with its whole path where it is in a local folder."""
    from kfp_bert_components.bert.source import checkpoint_address, pin_checkpoint

    base = checkpoint_address(settings.base_model) if settings.base_model else None
    if base is None:
        return settings
    pin = settings.base_model_pin or pin_checkpoint(settings.base_model)
    return replace(settings, base_model=str(base) if base.is_local else settings.base_model, base_model_pin=pin)


def job_key(train: Path, validation: Path, settings: TrainingSettings, image: str, machines: Sequence[Any]) -> str:
    """A hash of data, base model, parameters, image and machines: jobs with the same key have the same outputs.

    The settings are from `pinned_base_model`.
    """
    from kfp_bert_components.data.splits import read_split
    from kfp_bert_components.storage import file_crc32c, relative_files

    data = [read_split(folder).fingerprint for folder in (train, validation)]
    base = Path(settings.base_model)
    if settings.base_model and base.is_dir():
        data += [f"{name} {file_crc32c(base / name)}" for name in relative_files(base)]
    elif settings.base_model:
        data.append(settings.base_model_pin[:32])
    steering = [settings.label_check_rows, settings.keep_texts]
    parts = [data, settings.parameters(), settings.export_precision, *steering, image, machines]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def place_of(staging: str, key: str) -> str:
    """The folder of the job with a key, in the staging folder of all jobs."""
    return f"{staging.rstrip('/')}/kfp-bert-jobs/{key}"


def places(settings: TrainingSettings, place: str) -> list[str]:
    """What a job with these settings and this folder reads and writes by address."""
    return [place, settings.base_model, settings.checkpoint_dir, settings.tensorboard_dir]


def stage(
    store: Store, place: str, train: Path, validation: Path, settings: TrainingSettings, client: Mapping[str, str]
) -> None:
    """Copy what a job needs to its folder.

    Args:
        store: The folder.
        place: Its address.
        train: Folder of the split to train on.
        validation: Folder of the split by which the best weights are chosen.
        settings: How to train.
        client: With what the job finds itself in the API that runs it.

    Raises:
        ConflictError: The base model was changed since it was pinned.
    """
    from kfp_bert_components.bert.source import check_pin
    from kfp_bert_components.storage import upload_folder

    upload_folder(train, store, "train")
    upload_folder(validation, store, "validation")
    if settings.base_model and Path(settings.base_model).is_dir():
        upload_folder(Path(settings.base_model), store, "base_model")
        check_pin(settings.base_model, settings.base_model_pin)
        settings = replace(settings, base_model=f"{place}/base_model", base_model_pin="")
    if not settings.checkpoint_dir:  # so that a job whose machine is taken away loses minutes only
        settings = replace(settings, checkpoint_dir=f"{place}/checkpoints")
    write_settings(store, asdict(settings))
    write_client(store, client)


def collect(store: Store, model: Path, report: Path) -> dict[str, float]:
    """Copy a job's outputs to their places, and return its metrics."""
    from kfp_bert_components.storage import download_folder, publish_folder

    metrics = read_result(store)
    with tempfile.TemporaryDirectory() as scratch:
        download_folder(store, "output/model", Path(scratch) / "model")
        publish_folder(Path(scratch) / "model", model)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_bytes(store.read("output/report.html").data)
    return metrics
