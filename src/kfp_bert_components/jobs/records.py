"""The records in the staging folder of a job: its settings and its place go in, its metrics come out.

Where several workers write a part each, all parts together say that the job's command ran on all of them.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kfp_bert_components.errors import NotFoundError
from kfp_bert_components.records import dump_record, load_record
from kfp_bert_components.storage import Store

SETTINGS = "job.json"
CLIENT = "client.json"
RESULT = "output/result.json"
PARTS = "workers/"
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
    """Write client.json: with what the job finds itself in the API that runs it."""
    store.write(CLIENT, dump_record({"client": arguments}).encode())


def read_client(store: Store) -> dict[str, str]:
    """What client.json says.

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


def write_part(store: Store, number: int, failure: str = "") -> None:
    """Write workers/NUMBER.json: that a worker is done, or why it failed where no other try would help."""
    store.write(f"{PARTS}{number}.json", dump_record({"failure": failure}).encode())


def read_parts(store: Store) -> dict[int, str]:
    """The failure of each worker that has written its part, "" where it is done; by its number.

    Raises:
        UserError: A part is damaged, or of a newer format.
    """
    readers = {1: lambda fields: str(fields["failure"])}
    names = [entry.name for entry in store.list(PARTS, checksums=False)]
    return {
        int(name.removeprefix(PARTS).removesuffix(".json")): load_record(
            store.read(name).data, store.describe(name), readers, _REMEDY
        )
        for name in names
    }


def clear_results(store: Store) -> None:
    """Remove the parts and the metrics of an earlier job, which would count as those of the next one."""
    for name in [RESULT, *(entry.name for entry in store.list(PARTS, checksums=False))]:
        with suppress(NotFoundError):
            store.delete(name)
