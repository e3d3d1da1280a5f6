"""From files of labelled text to three clean splits and a report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.assign import SPLITS, TRAIN, assign
from kfp_bert_components.data.checks import Sieve, sieve, sieve_repeats
from kfp_bert_components.data.chunks import Example, Faults, FileFacts, shorten
from kfp_bert_components.data.gather import BLANK, Rows, gather
from kfp_bert_components.data.keys import ids
from kfp_bert_components.data.labels import map_labels
from kfp_bert_components.data.leaks import Leak, find_equal
from kfp_bert_components.data.read_tables import read_tables
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import HEADER, write_batches
from kfp_bert_components.data.spool import Spool
from kfp_bert_components.data.table_files import list_files
from kfp_bert_components.storage import publish_folder


@dataclass(frozen=True)
class Prepared:
    """What came of it.

    Attributes:
        rows: Rows in each split, by its name.
        read: Rows that were read, blank lines not counted.
        blank: Blank lines.
        dropped: Rows taken out, by the check that did it.
        labels: The classes, in the order of the model's outputs.
        fingerprints: Of each split.
    """

    rows: dict[str, int]
    read: int
    blank: int
    dropped: dict[str, int]
    labels: list[str]
    fingerprints: dict[str, str]


def prepare(
    source: Path, train: Path, validation: Path, test: Path, report: Path, settings: PrepareSettings | None = None
) -> Prepared:
    """Read labelled text, check it, and write it as three splits that share no text.

    Args:
        source: A folder made by `fetch`, any other folder, or a file.
        train: Folder for the split to train on.
        validation: Folder for the split that training watches.
        test: Folder for the split that models are compared on.
        report: The HTML page to write.
        settings: Columns, checks and splits; default: `PrepareSettings()`.

    Returns:
        The counts. `read` is the sum of `rows` and `dropped`.

    Raises:
        UserError: The data can't be read, a check with the policy "error" found something, or a split is empty.
    """
    settings = settings or PrepareSettings()
    with tempfile.TemporaryDirectory(prefix="prepare-") as name:
        scratch = Path(name)
        faults, facts = Faults(), []
        chunks = read_tables(list_files(Path(source)), settings, faults, facts)
        rows = gather(chunks, Spool(scratch), settings, facts, faults)
        labels = map_labels(rows.labels, settings.label_names, settings.unknown_label == "keep")
        state = sieve(rows, facts, faults, labels, settings)
        split = _split(state, facts, settings)
        leaks = find_equal(rows.exact, rows.normal, state.inside, split)
        _apply_leaks(state, leaks)
        names = [name for i, name in enumerate(state.names) if (state.code[state.inside & (split == TRAIN)] == i).any()]
        fingerprints = {}
        for number, (split_name, target) in enumerate(zip(SPLITS, (train, validation, test), strict=True)):
            folder = scratch / split_name
            keep = state.inside & (split == number)
            fingerprints[split_name] = write_batches(folder, split_name, names, _schema(rows), _batches(state, keep))
            publish_folder(folder, Path(target), last=[HEADER])
        prepared = _count(state, split, faults, names, fingerprints)
        _fill_examples(state, rows)
        _write_report(Path(report), prepared, state, facts, leaks, split)
    _tell(prepared, state)
    return prepared


def _split(state: Sieve, facts: list[FileFacts], settings: PrepareSettings) -> np.ndarray:
    """Compare the rows with each other and assign them to splits, in the order that the way of splitting needs."""
    if settings.split_by == "text":  # all copies of a text go to the same split
        sieve_repeats(state, np.zeros(len(state.rows), np.uint8))
        return assign(state.rows, state.inside, state.code, facts, settings)
    split = assign(state.rows, state.inside, state.code, facts, settings)
    sieve_repeats(state, split)
    return split


def _apply_leaks(state: Sieve, leaks: list[Leak]) -> None:
    found = np.zeros(len(state.rows), bool)
    for leak in leaks:
        found[leak.rows] = True
    state.apply("leakage", found, hint="choose another split")


def _schema(rows: Rows) -> pa.Schema:
    texts = ["text", "text_pair"] if rows.pair else ["text"]
    return pa.schema([(name, pa.string()) for name in ["id", *texts, "label", "source"]])


def _batches(state: Sieve, keep: np.ndarray) -> Iterator[pa.RecordBatch]:
    """The rows of a split, batch by batch."""
    rows = state.rows
    labels = pa.array(state.names)
    sources = pa.array([fact.name for fact in state.facts])
    schema = _schema(rows)
    start = 0
    for batch in rows.texts:
        here = slice(start, start + batch.num_rows)
        start += batch.num_rows
        mask = keep[here]
        if not mask.any():
            continue
        texts = batch.filter(pa.array(mask))
        yield pa.record_batch(
            [
                ids(rows.exact[here][mask]), *texts.columns, labels.take(pa.array(state.code[here][mask])),
                sources.take(pa.array(rows.file[here][mask])),
            ],
            schema=schema,
        )


def _count(
    state: Sieve, split: np.ndarray, faults: Faults, names: list[str], fingerprints: dict[str, str]
) -> Prepared:
    sizes = np.bincount(split[state.inside], minlength=3).tolist()
    blank = int(((state.rows.flags & BLANK) > 0).sum())
    dropped = {check: finding.dropped for check, finding in state.findings.items()}
    read = len(state.rows) - blank + faults.count
    return Prepared(dict(zip(SPLITS, sizes, strict=True)), read, blank, dropped, names, fingerprints)


def _fill_examples(state: Sieve, rows: Rows) -> None:
    """Put the texts into the examples, which know only the numbers of their rows so far."""
    examples = [one for finding in state.findings.values() for one in finding.examples if one.excerpt.startswith("\0")]
    texts = read_texts(rows, [int(one.excerpt[1:]) for one in examples])
    for finding in state.findings.values():
        finding.examples = [
            Example(one.file, one.row, shorten(texts[int(one.excerpt[1:])]), one.reason)
            if one.excerpt.startswith("\0") else one
            for one in finding.examples
        ]


def read_texts(rows: Rows, wanted: list[int]) -> dict[int, str]:
    """The texts of some rows, by number."""
    numbers = np.unique(np.array(wanted, np.int64))
    found: dict[int, str] = {}
    start = 0
    for batch in rows.texts:
        here = numbers[(numbers >= start) & (numbers < start + batch.num_rows)]
        for number in here.tolist():
            found[number] = " ‖ ".join(str(column[number - start]) for column in batch.columns)
        start += batch.num_rows
        if len(found) == len(numbers):
            break
    return found


def _write_report(
    path: Path, prepared: Prepared, state: Sieve, facts: list[FileFacts], leaks: list[Leak], split: np.ndarray
) -> None:
    from kfp_bert_components.reports.data import data_report

    path.parent.mkdir(parents=True, exist_ok=True)
    shares = {
        name: np.bincount(state.code[state.inside & (split == number)], minlength=len(state.names)).tolist()
        for number, name in enumerate(SPLITS)
    }
    path.write_text(
        data_report(prepared=prepared, findings=list(state.findings.values()), files=facts, labels=state.names, counts=shares),
        encoding="utf-8",
    )


def _tell(prepared: Prepared, state: Sieve) -> None:
    counts = ", ".join(f"{rows:,} to {name}" for name, rows in prepared.rows.items())
    print(f"Read {prepared.read:,} rows: {counts}, {sum(prepared.dropped.values()):,} dropped.")
    for finding in state.findings.values():
        if finding.dropped:
            print(f"  dropped {finding.dropped:,}: {finding.what}")


