"""From files of labelled text to three clean splits and a report."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.arrow import strings, to_arrow
from kfp_bert_components.data.assign import SPLITS, TEST, TRAIN, VALIDATION, assign
from kfp_bert_components.data.checks import sieve, sieve_repeats
from kfp_bert_components.data.findings import Sieve
from kfp_bert_components.data.gather import BLANK, gather
from kfp_bert_components.data.keys import ids, spread
from kfp_bert_components.data.labels import LabelMap, map_labels
from kfp_bert_components.data.leaks import Leak, find_leaks
from kfp_bert_components.data.profile import (
    SAMPLE,
    Drift,
    Profile,
    compare_profiles,
    make_profile,
    read_reference,
)
from kfp_bert_components.data.settings import METADATA, PrepareSettings
from kfp_bert_components.data.splits import HEADER, fingerprint_of, write_header, write_rows
from kfp_bert_components.data.spool import Spool
from kfp_bert_components.data.summary import Prepared, write_report
from kfp_bert_components.data.texts import read_texts
from kfp_bert_components.errors import UserError
from kfp_bert_components.storage import publish_folder
from kfp_bert_components.tables.chunks import Faults, FileFacts, shorten
from kfp_bert_components.tables.files import list_files
from kfp_bert_components.tables.read import read_tables


def prepare(
    source: Path,
    train: Path,
    validation: Path,
    test: Path,
    report: Path | None,
    settings: PrepareSettings | None = None,
) -> Prepared:
    """Read labelled text, check it, and write it as three splits that share no text.

    Args:
        source: A folder made by `fetch`, any other folder, or a file.
        train: Folder for the split to train on.
        validation: Folder for the split that training watches.
        test: Folder for the split that models are compared on.
        report: The HTML page to write, or None for none.
        settings: Columns, checks and splits; default: `PrepareSettings()`.

    Returns:
        The counts. `read` is the sum of `rows` and `dropped`.

    Raises:
        UserError: The data can't be read, a check with the policy "error" found something, or a split is empty.
    """
    settings = settings or PrepareSettings()
    with tempfile.TemporaryDirectory(prefix="prepare-") as name:
        scratch = Path(name)
        faults = Faults()
        facts: list[FileFacts] = []
        chunks = read_tables(list_files(Path(source)), settings, faults, facts)
        rows = gather(chunks, Spool(scratch), settings, facts, faults)
        labels = map_labels(rows.labels, settings.label_names, settings.unknown_label == "keep")
        state = sieve(rows, facts, faults, labels, settings)
        split = _split(state, facts, settings)
        with ThreadPoolExecutor(1) as pool:  # writing the largest split takes as long as all the rest
            # No leak is taken out of test: it is final.
            writing = [pool.submit(_write_rows, state, split, TEST, scratch)]
            leaks = _leaks(state, split)
            names = _classes(state, split)
            writing.append(pool.submit(_write_rows, state, split, TRAIN, scratch))
            profile = _profile(state, split, names)
            fingerprints = _fingerprints(state, split, names)
            profile = replace(profile, fingerprint=fingerprints["train"])
            drift = _drift(profile, settings.reference)
            prepared = _count(state, split, faults, names, fingerprints)
            _fill_examples(state)
            if report:
                write_report(scratch / "report", prepared, state, split, facts, leaks, drift, settings)
            _write_rows(state, split, VALIDATION, scratch)
            for done in writing:
                done.result()
        profile.write(scratch / "train")
        for name, target in zip(SPLITS, (train, validation, test), strict=True):
            write_header(scratch / name, name, names, prepared.rows[name], fingerprints[name], rows.pair)
            publish_folder(scratch / name, Path(target), last=[HEADER])
        if report:
            Path(report).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(scratch / "report", report)
    _tell(prepared, state, labels)
    return prepared


def _split(state: Sieve, facts: list[FileFacts], settings: PrepareSettings) -> np.ndarray:
    """Compare the rows with each other and assign them to splits, in the order that the way of splitting needs."""
    if settings.split_by == "text":  # all copies of a text go to the same split
        sieve_repeats(state, np.zeros(len(state.rows), np.uint8))
        return assign(state.rows, state.inside, state.code, facts, settings)
    split = assign(state.rows, state.inside, state.code, facts, settings)
    sieve_repeats(state, split)
    return split


def _leaks(state: Sieve, split: np.ndarray) -> list[Leak]:
    """Find what two splits share, and do what the policy says."""
    leaks = find_leaks(state.rows, state.inside, split, state.settings.near_duplicates)
    found = np.zeros(len(state.rows), bool)
    for leak in leaks:
        found[leak.rows] = True
    state.apply("leakage", found, hint="choose another split")
    return leaks


def _classes(state: Sieve, split: np.ndarray) -> list[str]:
    """The classes that have rows left.

    Raises:
        UserError: Fewer than two have rows to train on.
    """
    classes = len(state.names)
    train = np.bincount(state.code[state.inside & (split == TRAIN)], minlength=classes)
    if (train > 0).sum() < 2:
        raise UserError(
            f"Train is left with {(train > 0).sum()} of {classes} labels, and a classifier needs two or more: "
            "change the way of splitting, or see in the checks what took the rows."
        )
    everywhere = np.bincount(state.code[state.inside], minlength=classes)
    for index in np.flatnonzero((train == 0) & (everywhere > 0)):
        print(f"  no row to train on has the label {state.names[index]!r}")
    return [state.names[index] for index in np.flatnonzero(everywhere)]


def _fingerprints(state: Sieve, split: np.ndarray, names: list[str]) -> dict[str, str]:
    """The fingerprint of each split, by its name."""
    code = np.searchsorted(np.array([state.names.index(name) for name in names]), state.code)
    found = {}
    for number, name in enumerate(SPLITS):
        keep = state.inside & (split == number)
        found[name] = fingerprint_of(state.rows.exact[keep], code[keep], names)
    return found


def _write_rows(state: Sieve, split: np.ndarray, number: int, scratch: Path) -> None:
    """Write the rows of a split into scratch space."""
    keep = state.inside & (split == number)
    texts = ["text", "text_pair"] if state.rows.pair else ["text"]
    metadata = state.settings.metadata_columns
    schema = pa.schema([(name, pa.string()) for name in ["id", *texts, "label", "source", *metadata]])
    columns = [*texts, *(METADATA + name for name in metadata)]
    labels, sources = strings(state.names), strings([fact.name for fact in state.facts])

    def of_split(start: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        here = np.flatnonzero(keep[start : start + batch.num_rows])
        rows, kept = start + here, batch.select(columns).take(to_arrow(here))
        arrays = [
            ids(state.rows.exact[rows]),
            *kept.columns[: len(texts)],
            labels.take(to_arrow(state.code[rows])),
            sources.take(to_arrow(state.rows.file[rows])),
            *kept.columns[len(texts) :],
        ]
        return pa.record_batch(arrays, schema=schema)

    made = (of_split(start, batch) for start, batch in state.rows.texts.numbered())
    write_rows(scratch / SPLITS[number], schema, (batch for batch in made if batch.num_rows))


def _profile(state: Sieve, split: np.ndarray, names: list[str]) -> Profile:
    rows = state.rows
    train = np.flatnonzero(state.inside & (split == TRAIN))
    counts = np.bincount(state.code[train], minlength=len(state.names))
    sample = train
    if len(train) > SAMPLE:  # by hash, so that the same rows are taken whatever their order
        place = spread(rows.exact[train], 3)
        sample = np.sort(train[np.argpartition(place, SAMPLE)[:SAMPLE]])
    texts = read_texts(rows.texts, sample).values()
    labels = {name: int(counts[state.names.index(name)]) for name in names}
    return make_profile(rows.length[train], labels, texts)


def _drift(profile: Profile, reference: str) -> Drift | None:
    if not reference:
        return None
    before, place = read_reference(reference)
    return compare_profiles(profile, before, place) if before else Drift(reference, note=place)


def _count(state: Sieve, split: np.ndarray, faults: Faults, names: list[str], fingerprints: dict[str, str]) -> Prepared:
    sizes = np.bincount(split[state.inside], minlength=3).tolist()
    blank = int(((state.rows.flags & BLANK) > 0).sum())
    dropped = {check: finding.dropped for check, finding in state.findings.items()}
    read = len(state.rows) - blank + faults.count
    return Prepared(dict(zip(SPLITS, sizes, strict=True)), read, blank, dropped, names, fingerprints)


def _fill_examples(state: Sieve) -> None:
    """Put the texts into the examples, which know only the numbers of their rows so far."""
    examples = [one for finding in state.findings.values() for one in finding.examples if one.number >= 0]
    texts = read_texts(state.rows.texts, np.unique(np.array([one.number for one in examples], np.int64)))
    for one in examples:
        one.excerpt = shorten(texts[one.number])


def _tell(prepared: Prepared, state: Sieve, labels: LabelMap) -> None:
    counts = ", ".join(f"{rows:,} to {name}" for name, rows in prepared.rows.items())
    print(f"Read {prepared.read:,} rows: {counts}, {sum(prepared.dropped.values()):,} dropped.")
    for group in labels.merged:
        print(f"  taken for the same label: {', '.join(map(repr, group))}")
    for finding in state.findings.values():
        if finding.dropped:
            print(f"  dropped {finding.dropped:,}: {finding.what}")
