"""Predict a table: file by file, window by window, part by part."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from kfp_bert_components.errors import UserError
from kfp_bert_components.prediction.output import PartWriter, output_rows, output_schema
from kfp_bert_components.prediction.parts import OWN, TABLE, Parts
from kfp_bert_components.prediction.predictor import Predictor
from kfp_bert_components.prediction.rows import MENDED, UNREADABLE, WINDOW, WITHOUT_TEXT, TableRows, Window
from kfp_bert_components.prediction.settings import PredictionSettings
from kfp_bert_components.prediction.sources import Share, Source, find_sources, share_of
from kfp_bert_components.progress import say
from kfp_bert_components.progress_bar import track

# Texts in one call of the model: as often progress is counted.
_CALL = 256
# Seconds after which a part ends, so that no more work than this is lost.
PART_SECONDS = 300.0
_COUNTS = {MENDED: "mended", WITHOUT_TEXT: "without_text", UNREADABLE: "unreadable"}


@dataclass(frozen=True)
class Predicted:
    """What came of it.

    Attributes:
        rows: Rows written.
        parts: Files that they are in.
        mended: Rows of them that were answered although something was wrong with them.
        without_text: Rows of them without an answer, because they have no text.
        unreadable: The same, because they could not be read.
        dropped: Rows that could not be read and are left out (unreadable="drop"): they are not in `rows`.
    """

    rows: int
    parts: int
    mended: int = 0
    without_text: int = 0
    unreadable: int = 0
    dropped: int = 0


def predict_table(
    table: str, output: str, predictor: Predictor, settings: PredictionSettings | None = None
) -> Predicted:
    """Write the rows of a table, or of one shard of it, with the answers of a model, in parts.

    If it is called again after it was killed, it continues after the last part. If the existing parts come from another
    model, input or settings, they are removed first. No row is silently left out: a row that has no text, or can't be
    read, has no answer, and its `reason` says why.

    Args:
        table: A file, a folder, or a folder made by fetch; gs://, s3:// or local.
        output: gs:// or s3:// URI, or folder, for the parts.
        predictor: The model.
        settings: How the table is read and what is written; default: `PredictionSettings()`.

    Raises:
        UserError: The table can't be read, has no row or a column that the output has; the model takes pairs and there
            is no `pair_column`, or the other way round; or the output is not free.
        ConflictError: Another process writes to the same output.
    """
    settings = settings or PredictionSettings()
    _check_pair(predictor, settings)
    sources = find_sources(table)
    share = share_of(sources, settings.num_shards, settings.shard_index)
    run = {
        "model": predictor.fingerprint,
        "model version": str(predictor.version),
        # The content of files that the shard does not read is not looked at.
        TABLE: _fingerprint(sources, contents=share.shards > 1),
        OWN: _fingerprint(share.sources, contents=True),
        "settings": json.dumps(asdict(replace(settings, shard_index=0)), sort_keys=True),
    }
    shard = {"num_shards": settings.num_shards, "shard_index": settings.shard_index}
    parts = Parts(output, run, predictor.labels, suffix=settings.output_format, **shard)
    if parts.progress.complete:
        say(f"{output} holds the predictions already.")
    else:
        with tempfile.TemporaryDirectory(prefix="predict-") as scratch:
            rows = _open_rows(share, settings, Path(scratch))
            schema = output_schema(rows.types, predictor, settings.prefix)
            parts.begin()
            try:
                _write_parts(rows, parts, predictor, schema, settings, Path(scratch))
            except BaseException:
                parts.give_up()
                raise
    return Predicted(parts.progress.rows, len(parts.progress.parts), **parts.progress.counts)


def _check_pair(predictor: Predictor, settings: PredictionSettings) -> None:
    if predictor.pair and not settings.pair_column:
        raise UserError(f"{predictor.name} takes pairs of texts: name the column with the second in pair_column.")
    if settings.pair_column and not predictor.pair:
        raise UserError(f"{predictor.name} takes single texts: leave pair_column {settings.pair_column!r} out.")


def _fingerprint(sources: Sequence[Source], *, contents: bool) -> str:
    """Hash of the names and sizes of files, and of their content."""
    lines = [f"{one.name}\t{one.size}\t{one.checksum() if contents else ''}" for one in sources]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _open_rows(share: Share, settings: PredictionSettings, scratch: Path) -> TableRows:
    files = [one.fetch(scratch / "files") for one in share.sources]
    rows = TableRows(files, settings, share.shards, share.index)
    for note in rows.notes:
        say(f"  {note}")
    if share.shards == 1 and rows.is_empty():
        raise UserError("There is not one row in the table: check its files and their first rows.")
    return rows


def _write_parts(
    rows: TableRows,
    parts: Parts,
    predictor: Predictor,
    schema: pa.Schema,
    settings: PredictionSettings,
    scratch: Path,
) -> None:
    """Write the parts that are not there yet; one without rows where the shard has none."""
    counts, size, writer = Counter(parts.progress.counts), min(WINDOW, settings.part_rows), None
    if predictor.prepare:
        predictor.prepare(window.asked() for window in rows.windows(size, parts.progress.rows))
    with track(None, "predicting", "rows", every=2, done=parts.progress.rows) as bar:
        for window in rows.windows(size, parts.progress.rows):
            writer = writer or PartWriter(scratch / parts.next_name(), schema, predictor.labels)
            writer.write(output_rows(window, _answers(window, predictor, bar), predictor, schema))
            counts.update({name: int((window.kind == kind).sum()) for kind, name in _COUNTS.items()})
            if writer.rows + size > settings.part_rows or writer.age > PART_SECONDS:
                writer.close()
                parts.add(writer.path, writer.rows, counts)
                writer = None
    if not writer and not parts.progress.parts:
        writer = PartWriter(scratch / parts.next_name(), schema, predictor.labels)
    if writer:
        writer.close()
        parts.add(writer.path, writer.rows, counts)
    parts.finish({**counts, "dropped": rows.dropped})


def _answers(window: Window, predictor: Predictor, bar: tqdm) -> np.ndarray:
    """The probabilities of the rows that are asked, in their order: float32 [asked, classes]."""
    texts, pairs = window.asked()
    lengths = [len(text) + (len(pairs[index]) if pairs else 0) for index, text in enumerate(texts)]
    order = sorted(range(len(texts)), key=lengths.__getitem__)
    found = np.zeros((len(texts), len(predictor.labels)), np.float32)
    for start in range(0, len(order), _CALL):
        call = order[start : start + _CALL]
        found[call] = predictor.predict([texts[i] for i in call], [pairs[i] for i in call] if pairs else None)
        bar.update(len(call))
    if not np.isfinite(found).all():
        raise UserError(f"{predictor.name} answers with numbers that are no probabilities: train it again.")
    bar.update(len(window.kind) - len(texts))
    return found
