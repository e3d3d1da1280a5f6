"""The use case of `batch_predict`: find the model, predict the table, put the parts where they are wanted."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from kfp_bert_components.errors import UserError
from kfp_bert_components.formats import counted
from kfp_bert_components.prediction import Predicted, PredictionSettings, Predictor, predict_table
from kfp_bert_components.prediction.mounted import predict_file, predict_folder
from kfp_bert_components.prediction.one_file import join_parts, parts_beside
from kfp_bert_components.progress import say
from kfp_bert_components.steps.predictor import as_bundle, find_model, open_predictor
from kfp_bert_components.storage import Address, is_file, is_fuse, is_meant, parse_address

_ONE_FILE = (".csv", ".parquet")
# Names that nobody means for a folder.
_OTHER_FILES = (".gz", ".zst", ".bz2", ".zip", ".tsv", ".txt", ".json", ".jsonl", ".xlsx")


def batch_predict(
    table: str,
    output: str,
    model: str,
    settings: PredictionSettings | None = None,
    *,
    resumable: bool = True,
    run_on: str = "pod",
    **job_settings: Any,
) -> tuple[Predicted, Predictor]:
    """Write a table, or one shard of it, with the answers of a model; see `predict_table`.

    Args:
        table: A file, a folder, or a folder made by fetch; gs://, s3:// or local.
        output: gs:// or s3:// URI, or folder, for parts; or a local file that ends with .csv or .parquet, for one file:
            its parts are in a folder beside it until it is complete.
        model: As in `find_model`.
        settings: How the table is read and what is written; default: `PredictionSettings()`.
        resumable: Whether parts are put in their place one by one, so that a run that was killed goes on there; else
            all come at the end, as in a mounted bucket, where files can't be renamed.
        run_on: "pod", or "ai_platform" for a batch prediction job that this process starts and follows; the table is
            read here in either case.
        **job_settings: Attributes of `ai_platform.BatchJobSettings`, for such a job.

    Returns:
        What came of it, and the model that answered.

    Raises:
        UserError: The table, the model or the output can't be used.
    """
    settings = settings or PredictionSettings()
    place = parse_address(output, "the output")
    _check_output(place, parse_address(table, "the table"), settings)
    one_file = place.name.endswith(_ONE_FILE)
    if one_file:
        settings = replace(settings, output_format=place.name.rpartition(".")[2])
    with _named_full_disk(place), tempfile.TemporaryDirectory(prefix="model-") as scratch:
        predictor = _open_predictor(model, Path(scratch), run_on, job_settings)
        say(f"Predicting with {predictor.name}: {len(predictor.labels)} labels.")

        def predict(folder: str) -> Predicted:
            return predict_table(table, folder, predictor, settings)

        if place.is_local and (is_fuse(place.path) or not resumable):
            predict_there = predict_file if one_file else predict_folder
            found = predict_there(predict, place.path, Path(scratch))
        elif one_file:
            with parts_beside(place.path) as folder:
                found = predict(str(folder))
                join_parts(folder, place.path, found.parts)
        else:
            found = predict(str(place))
    _print_summary(found, str(place))
    return found, predictor


@contextmanager
def _named_full_disk(output: Address) -> Iterator[None]:
    """Around the work: a disk that is full, of the output or of the temporary folder, is a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{error.strerror}: make room for {output} (of one file for twice its size) and in the temporary folder "
            f"{tempfile.gettempdir()}, or set TMPDIR to another. The same command again goes on after the last part."
        ) from error


def _open_predictor(model: str, scratch: Path, run_on: str, job_settings: dict[str, Any]) -> Predictor:
    if run_on == "pod":
        return open_predictor(*find_model(model, scratch), scratch)
    if run_on != "ai_platform":
        raise UserError(f"run_on must be pod or ai_platform, not {run_on!r}.")
    from kfp_bert_components.ai_platform.batch_job import predictor_of_job
    from kfp_bert_components.ai_platform.settings import BatchJobSettings

    settings = BatchJobSettings(**job_settings)
    folder, version = find_model(model, scratch)
    bundle = as_bundle(folder, scratch)
    version = version or int(bundle.metadata.get("registry_version") or 0)
    return predictor_of_job(bundle, folder, settings, version)


def _check_output(output: Address, table: Address, settings: PredictionSettings) -> None:
    """UserError where the output can't be what is asked for, before any work."""
    here, there = f"{output}/", f"{table}/"
    made = str(output) if output.name.endswith(_ONE_FILE) else f"{here}part-00000.{settings.output_format}"
    if here.startswith(there) or (not table.is_local and is_meant(str(table), made)):
        raise UserError(f"The output {output} lies in the table {table}, which would grow by it: give another place.")
    if output.is_local and is_file(output.path):
        raise UserError(f"The output {output} is a file that is there already: remove it, or give another name.")
    if output.name.endswith(_OTHER_FILES):
        raise UserError(
            f"The output {output} names a file, and one file is CSV or Parquet: let its name end with .csv or "
            ".parquet, or give a folder."
        )
    if output.name.endswith(_ONE_FILE):
        if not output.is_local:
            raise UserError(f"The output {output} names one file, which is made on a local disk only: give a folder.")
        if settings.num_shards > 1:
            raise UserError(f"The output {output} is one file, and a shard is a part of a table: give a folder.")


def _print_summary(found: Predicted, output: str) -> None:
    say(f"{counted(found.rows, 'rows')} in {output}.")
    kinds = {
        "answered although something was wrong": found.mended,
        "without text and without an answer": found.without_text,
        "unreadable and without an answer": found.unreadable,
        "unreadable and left out": found.dropped,
    }
    for what, count in kinds.items():
        if count:
            say(f"  {counted(count, 'rows')} {what}")
