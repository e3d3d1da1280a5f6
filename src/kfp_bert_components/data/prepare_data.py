"""From files of labelled text to three clean splits."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.assign import SPLITS, TRAIN, assign
from kfp_bert_components.data.checking import CheckedRows, CheckResult, check_repeats, check_rows
from kfp_bert_components.data.ids import ids_of, spread
from kfp_bert_components.data.labels import map_labels
from kfp_bert_components.data.leakage import Leak, find_leaks
from kfp_bert_components.data.profile import SAMPLE, Profile, make_profile
from kfp_bert_components.data.rows import METADATA, PAIR, TEXT, RowExample, Rows, read_rows, shorten
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.splits import HEADER, SplitWriter, fingerprint_of, write_header
from kfp_bert_components.errors import UserError
from kfp_bert_components.storage import publish_folder
from kfp_bert_components.tables import FileFacts, list_files
from kfp_bert_components.tables.arrow import strings, to_arrow

# Leaked rows of each kind that are kept to be shown.
SHOWN_LEAKS = 100


@dataclass(frozen=True)
class LeakExamples:
    """Leaks of one kind between two splits.

    Attributes:
        kind: exact, normalised or near.
        split: The split that the rows are in.
        other: The split that they repeat.
        count: Number of rows.
        examples: Some of the rows, each with one that it repeats.
    """

    kind: str
    split: str
    other: str
    count: int
    examples: list[tuple[RowExample, RowExample]]


@dataclass(frozen=True)
class Prepared:
    """What came of preparing the data.

    Attributes:
        rows: Rows in each split, by its name.
        read: Rows that were read, blank lines not counted: the sum of `rows` and `dropped`.
        blank: Blank lines.
        dropped: Rows taken out, by the check that did it.
        labels: The classes, in the order of the model's outputs.
        fingerprints: Of each split.
        files: What was found out about each file.
        file_rows: Rows that were read of each file.
        merged_labels: Labels in the data that were taken for the same, such as ("1", "1.0").
        results: What each check found.
        leaks: Rows that two splits shared.
        classes: All classes, also those without rows.
        class_rows: Rows of each of `classes` by split.
        word_counts: Words of each text by split, int32 [rows].
        profile: A description of the training split.
    """

    rows: dict[str, int]
    read: int
    blank: int
    dropped: dict[str, int]
    labels: list[str]
    fingerprints: dict[str, str]
    files: list[FileFacts] = field(repr=False)
    file_rows: list[int] = field(repr=False)
    merged_labels: list[tuple[str, ...]] = field(repr=False)
    results: list[CheckResult] = field(repr=False)
    leaks: list[LeakExamples] = field(repr=False)
    classes: list[str] = field(repr=False)
    class_rows: dict[str, list[int]] = field(repr=False)
    word_counts: dict[str, np.ndarray] = field(repr=False)
    profile: Profile = field(repr=False)


def prepare(
    source: Path, train: Path, validation: Path, test: Path, settings: PrepareSettings | None = None
) -> Prepared:
    """Read labelled text, check it, and write it as three splits that share no text.

    Args:
        source: A folder made by `fetch`, any other folder, or a file.
        train: Folder for the split to train on.
        validation: Folder for the split that training watches.
        test: Folder for the split that models are compared on.
        settings: Columns, checks and splits; default: `PrepareSettings()`.

    Raises:
        UserError: The data can't be read, a check with the policy "error" found something, or a split is empty.
    """
    settings = settings or PrepareSettings()
    with tempfile.TemporaryDirectory(prefix="prepare-") as name:
        scratch = Path(name)
        rows = read_rows(list_files(Path(source)), settings.tables, settings.near_duplicates > 0, scratch)
        labels = map_labels(rows.labels, settings.label_names, settings.unknown_label == "keep")
        checked = check_rows(rows, labels, settings.policies, settings.max_dropped)
        split = _split(checked, settings)
        leaks = find_leaks(rows, checked.inside, split, settings.near_duplicates)
        _drop_leaks(checked, leaks)
        classes = _classes(checked, split)
        prepared = _describe(checked, split, leaks, classes, labels.merged)
        _write_examples(checked, split, settings, scratch)
        prepared.profile.write(scratch / "train")
        for name, target in zip(SPLITS, (train, validation, test), strict=True):
            counted = (prepared.rows[name], prepared.fingerprints[name], bool(settings.pair_column))
            write_header(scratch / name, name, classes, *counted)
            publish_folder(scratch / name, Path(target), last=[HEADER])
    return prepared


def _split(checked: CheckedRows, settings: PrepareSettings) -> np.ndarray:
    """Compare the rows with each other and assign them to splits, in the order that the way of splitting needs."""
    if settings.split_by == "text":  # all copies of a text go to the same split
        check_repeats(checked, np.zeros(len(checked.rows), np.uint8), settings.min_class_rows)
        return assign(checked.rows, checked.inside, checked.code, settings)
    split = assign(checked.rows, checked.inside, checked.code, settings)
    check_repeats(checked, split, settings.min_class_rows)
    return split


def _drop_leaks(checked: CheckedRows, leaks: list[Leak]) -> None:
    found = np.zeros(len(checked.rows), bool)
    for leak in leaks:
        found[leak.rows] = True
    checked.apply("leakage", found, hint="choose another split")


def _classes(checked: CheckedRows, split: np.ndarray) -> list[str]:
    """The classes that have rows left.

    Raises:
        UserError: Fewer than two have rows to train on.
    """
    train = np.bincount(checked.code[checked.inside & (split == TRAIN)], minlength=len(checked.names))
    if (train > 0).sum() < 2:
        raise UserError(
            f"Train is left with {(train > 0).sum()} of {len(checked.names)} labels, and a classifier needs two or "
            "more: change the way of splitting, or see in the checks what took the rows."
        )
    return [checked.names[index] for index in np.flatnonzero(checked.class_rows())]


def _describe(
    checked: CheckedRows, split: np.ndarray, leaks: list[Leak], classes: list[str], merged: list[tuple[str, ...]]
) -> Prepared:
    rows, names = checked.rows, checked.names
    masks = {name: checked.inside & (split == number) for number, name in enumerate(SPLITS)}
    code = np.searchsorted(np.array([names.index(name) for name in classes]), checked.code)
    fingerprints = {name: fingerprint_of(rows.exact[mask], code[mask], classes) for name, mask in masks.items()}
    class_rows = {name: np.bincount(checked.code[mask], minlength=len(names)).tolist() for name, mask in masks.items()}
    shown = [_shown(rows, leak) for leak in leaks]
    results = list(checked.results.values())
    found = [example for result in results for example in result.examples if example.index >= 0]
    leaked = [example for leak in shown for pair in leak.examples for example in pair]
    sample = _sample(rows, np.flatnonzero(masks["train"]))
    wanted = [example.index for example in found + leaked]
    texts = rows.read_texts(np.union1d(sample, np.array(wanted, np.int64)))
    for example in found:
        example.excerpt = shorten(texts[example.index])
    for example in leaked:
        example.excerpt = shorten(texts[example.index], 140)
    labels = {name: class_rows["train"][names.index(name)] for name in classes}
    profile = make_profile(rows.length[masks["train"]], labels, [texts[index] for index in sample.tolist()])
    return Prepared(
        rows={name: int(mask.sum()) for name, mask in masks.items()},
        read=sum(rows.read),
        blank=rows.blank,
        dropped={check: result.dropped for check, result in checked.results.items()},
        labels=classes,
        fingerprints=fingerprints,
        files=rows.files,
        file_rows=rows.read,
        merged_labels=merged,
        results=results,
        leaks=shown,
        classes=names,
        class_rows=class_rows,
        word_counts={name: rows.words[mask] for name, mask in masks.items()},
        profile=replace(profile, fingerprint=fingerprints["train"]),
    )


def _shown(rows: Rows, leak: Leak) -> LeakExamples:
    pairs = zip(leak.rows[:SHOWN_LEAKS].tolist(), leak.repeats[:SHOWN_LEAKS].tolist(), strict=True)
    examples = [(rows.example(one), rows.example(other)) for one, other in pairs]
    return LeakExamples(leak.kind, SPLITS[leak.split], SPLITS[leak.other], len(leak.rows), examples)


def _sample(rows: Rows, train: np.ndarray) -> np.ndarray:
    """Some rows of train, by hash, so that the same are taken whatever their order."""
    if len(train) <= SAMPLE:
        return train
    return np.sort(train[np.argpartition(spread(rows.exact[train], 3), SAMPLE)[:SAMPLE]])


def _write_examples(checked: CheckedRows, split: np.ndarray, settings: PrepareSettings, scratch: Path) -> None:
    """Write the rows that are still in into one folder a split."""
    rows, place = checked.rows, np.where(checked.inside, split, len(SPLITS))
    labels, sources = strings(checked.names), strings([facts.name for facts in rows.files])
    texts = [TEXT, PAIR] if settings.pair_column else [TEXT]
    names = ["id", *texts, "label", "source", *settings.metadata_columns]
    schema = pa.schema([(name, pa.string()) for name in names])
    with ExitStack() as stack:
        writers = [stack.enter_context(SplitWriter(scratch / name, schema)) for name in SPLITS]
        for start, batch in rows.texts:
            for number, writer in enumerate(writers):
                here = np.flatnonzero(place[start : start + batch.num_rows] == number)
                if len(here):
                    kept, index = batch.take(to_arrow(here)), start + here
                    label = labels.take(to_arrow(checked.code[index]))
                    source = sources.take(to_arrow(rows.file[index]))
                    metadata = [kept[METADATA + name] for name in settings.metadata_columns]
                    columns = [ids_of(rows.exact[index]), *(kept[name] for name in texts), label, source, *metadata]
                    writer.write(pa.record_batch(columns, schema=schema))
