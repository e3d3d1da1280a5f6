"""The records in the staging folder of a custom job: its settings and its place go in, its metrics come out."""

from collections.abc import Mapping
from typing import Any

from kfp_bert_components.records import dump_record, load_record
from kfp_bert_components.storage import Store

SETTINGS = "job.json"
CLIENT = "client.json"
RESULT = "output/result.json"
_REMEDY = "delete the job's staging folder and run finetune_bert again"


def write_settings(store: Store, settings: Mapping[str, Any]) -> None:
    """Write job.json: the fields of `TrainingSettings`, by name."""
    store.write(SETTINGS, dump_record({"settings": settings}).encode())


def read_settings(store: Store) -> dict[str, Any]:
    """The fields of `TrainingSettings` in job.json.

    Raises:
        NotFoundError: There is no job.json.
        UserError: It is damaged, or of a newer format.
    """
    readers = {1: lambda fields: dict(fields["settings"])}
    return load_record(store.read(SETTINGS).data, store.describe(SETTINGS), readers, _REMEDY)


def write_client(store: Store, arguments: Mapping[str, str]) -> None:
    """Write client.json: the arguments of `AiPlatformClient` by name, with which the job finds itself."""
    store.write(CLIENT, dump_record({"client": arguments}).encode())


def read_client(store: Store) -> dict[str, str]:
    """The arguments of `AiPlatformClient` in client.json.

    Raises:
        NotFoundError: There is no client.json.
        UserError: It is damaged, or of a newer format.
    """
    readers = {1: lambda fields: dict(fields["client"])}
    return load_record(store.read(CLIENT).data, store.describe(CLIENT), readers, _REMEDY)


def write_result(store: Store, metrics: Mapping[str, float]) -> None:
    """Write output/result.json: the metrics of the job, finite numbers by name."""
    store.write(RESULT, dump_record({"metrics": metrics}).encode())


def read_result(store: Store) -> dict[str, float]:
    """The metrics in output/result.json.

    Raises:
        NotFoundError: There is no output/result.json.
        UserError: It is damaged, or of a newer format.
    """
    readers = {1: lambda fields: {name: float(value) for name, value in fields["metrics"].items()}}
    return load_record(store.read(RESULT).data, store.describe(RESULT), readers, _REMEDY)
