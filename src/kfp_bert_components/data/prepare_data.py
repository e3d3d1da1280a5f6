"""From files of labelled text to three clean splits."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from kfp_bert_components.data.assign import SPLITS, assign
from kfp_bert_components.data.checking import CheckedRows, CheckResult, check_repeats, check_rows
from kfp_bert_components.data.ids import ids_of, spread
from kfp_bert_components.data.labels import map_labels
from kfp_bert_components.data.leakage import Leak, find_leaks
from kfp_bert_components.data.profile import SAMPLE, Profile, make_profile
from kfp_bert_components.data.rows import Rows, read_rows, shorten
from kfp_bert_components.data.settings import METADATA, PAIR, TEXT, PrepareSettings
from kfp_bert_components.data.splits import HEADER, SplitWriter, fingerprint_of
from kfp_bert_components.errors import UserError
from kfp_bert_components.storage import publish_folder
from kfp_bert_components.tables import FileFacts, list_files
from kfp_bert_components.tables.arrow import strings, to_arrow


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
    leaks: list[Leak] = field(repr=False)
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
    near = settings.near_duplicates
    with tempfile.TemporaryDirectory(prefix="prepare-") as name:
        scratch = Path(name)
        rows = read_rows(list_files(Path(source)), settings.columns(), settings, near > 0, scratch / "rows.arrow")
        labels = map_labels(rows.labels, settings.label_names, settings.unknown_label == "keep")
        checked = check_rows(rows, labels, settings)
        split = _split(checked, settings)
        leaks = find_leaks(rows, checked.inside, split, near)
        leaking = np.concatenate([np.empty(0, np.int64), *(leak.rows for leak in leaks)])
        checked.apply("leakage", np.isin(np.arange(len(rows)), leaking), hint="choose another split")
        prepared = _describe(checked, split, leaks, labels.merged, settings)
        writers = _write_examples(checked, split, settings, scratch)
        prepared.profile.write(scratch / "train")
        for name, writer, target in zip(SPLITS, writers, (train, validation, test), strict=True):
            writer.finish(name, prepared.labels, prepared.fingerprints[name])
            publish_folder(scratch / name, Path(target), last=[HEADER])
    return prepared


def _split(checked: CheckedRows, settings: PrepareSettings) -> np.ndarray:
    """Compare the rows with each other and assign them to splits, in the order that the way of splitting needs."""
    if settings.split_by == "text":  # all copies of a text go to the same split
        check_repeats(checked, np.zeros(len(checked.rows), np.uint8))
    split = assign(checked.rows, checked.inside, checked.code, settings)
    if settings.split_by != "text":
        check_repeats(checked, split)
    return split


def _describe(
    checked: CheckedRows,
    split: np.ndarray,
    leaks: list[Leak],
    merged: list[tuple[str, ...]],
    settings: PrepareSettings,
) -> Prepared:
    """What came of it.

    Raises:
        UserError: Fewer than two classes have rows to train on.
    """
    rows, names = checked.rows, checked.names
    masks = {name: checked.inside & (split == number) for number, name in enumerate(SPLITS)}
    class_rows = {name: np.bincount(checked.code[mask], minlength=len(names)) for name, mask in masks.items()}
    trained = np.count_nonzero(class_rows["train"])
    if trained < 2:
        raise UserError(
            f"Train is left with {trained} of {len(names)} labels, and a classifier needs two or more: change the way "
            "of splitting, or see in the checks what took the rows."
        )
    used = np.flatnonzero(checked.class_rows())
    labels = [names[index] for index in used]
    code = np.searchsorted(used, checked.code)
    fingerprints = {name: fingerprint_of(rows.exact[mask], code[mask], labels) for name, mask in masks.items()}
    results = list(checked.results.values())
    found = [example for result in results for example in result.examples if example.index >= 0]
    leaked = [example for leak in leaks for pair in leak.examples for example in pair]
    sample = _sample(rows, np.flatnonzero(masks["train"]))
    texts = rows.read_texts(np.union1d(sample, [example.index for example in found + leaked]).astype(np.int64))
    for example, length in [*((one, 100) for one in found), *((one, 140) for one in leaked)]:
        example.excerpt = shorten(texts[example.index], length) if settings.keep_texts == "all" else ""
    label_rows = dict(zip(labels, class_rows["train"][used].tolist(), strict=True))
    profile = make_profile(rows.length[masks["train"]], label_rows, [texts[index] for index in sample.tolist()])
    return Prepared(
        rows={name: int(mask.sum()) for name, mask in masks.items()},
        read=sum(rows.read),
        blank=rows.blank,
        dropped={check: result.dropped for check, result in checked.results.items()},
        labels=labels,
        fingerprints=fingerprints,
        files=rows.files,
        file_rows=rows.read,
        merged_labels=merged,
        results=results,
        leaks=leaks,
        classes=names,
        class_rows={name: counts.tolist() for name, counts in class_rows.items()},
        word_counts={name: rows.words[mask] for name, mask in masks.items()},
        profile=replace(profile, fingerprint=fingerprints["train"]),
    )


def _sample(rows: Rows, train: np.ndarray) -> np.ndarray:
    """Some rows of train, by hash, so that the same are taken whatever their order."""
    if len(train) <= SAMPLE:
        return train
    return np.sort(train[np.argpartition(spread(rows.exact[train], 3), SAMPLE)[:SAMPLE]])


def _write_examples(
    checked: CheckedRows, split: np.ndarray, settings: PrepareSettings, folder: Path
) -> list[SplitWriter]:
    """Write the rows that are still in into one folder a split, as yet without their headers."""
    rows, place = checked.rows, np.where(checked.inside, split, len(SPLITS))
    labels, sources = strings(checked.names), strings([facts.name for facts in rows.files])
    texts = [TEXT, PAIR] if settings.pair_column else [TEXT]
    metadata = [METADATA + name for name in settings.metadata_columns]
    schema = pa.schema([(name, pa.string()) for name in ("id", *texts, "label", "source", *settings.metadata_columns)])
    schema = schema.insert(len(texts) + 3, pa.field("source_row", pa.int64()))
    writers = [SplitWriter(folder / name, schema) for name in SPLITS]
    for start, batch in rows.store.batches(*texts, *metadata):
        for number, writer in enumerate(writers):
            here = np.flatnonzero(place[start : start + batch.num_rows] == number)
            if len(here):
                kept, index = batch.take(to_arrow(here)), start + here
                label, source = labels.take(to_arrow(checked.code[index])), sources.take(to_arrow(rows.file[index]))
                columns = [ids_of(rows.exact[index]), *(kept[name] for name in texts), label, source]
                columns.append(to_arrow(rows.row[index].astype(np.int64)))
                writer.write(pa.record_batch([*columns, *(kept[name] for name in metadata)], schema=schema))
    return writers
