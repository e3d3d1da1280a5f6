"""From files of labelled text to three clean splits."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_bert_components.data.assign import SPLITS, TRAIN, assign, without_group
from kfp_bert_components.data.checking import CheckedRows, CheckResult, check_repeats, check_rows
from kfp_bert_components.data.ids import hash_texts, ids_of, spread
from kfp_bert_components.data.labels import map_labels, remarks
from kfp_bert_components.data.leakage import SHORT, Leak, find_leaks
from kfp_bert_components.data.profile import SAMPLE, FetchedFiles, Profile, make_profile
from kfp_bert_components.data.rows import Rows, read_rows, shorten
from kfp_bert_components.data.settings import METADATA, PAIR, TEXT, PrepareSettings
from kfp_bert_components.data.splits import HEADER, SplitWriter, fingerprint_of
from kfp_bert_components.errors import UserError, reason_of
from kfp_bert_components.fetch.manifest import read_manifest
from kfp_bert_components.formats import counted
from kfp_bert_components.storage import Access, publish_folder
from kfp_bert_components.tables import FileFacts, list_files
from kfp_bert_components.tables.arrow import strings, to_arrow, to_numpy

_MOST_OBJECTS = 100  # whose generations a profile has; the manifest has those of all
# What programs write where there is no text, or in place of one that begins like a formula.
_NO_TEXTS = ("nan", "NaN", "NaT", "null", "NULL", "<NA>", "#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NUM!")
# What it means that a split lacks labels.
LACKING = {
    "train": "a model that is trained on it won't learn them",
    "validation": "training will keep the weights with the lowest validation loss, whatever its metric is",
    "test": "how good a model is on such rows will not be known",
}


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
        remarks: What else a person should know of the labels, one remark each.
        results: What each check found.
        leaks: Rows whose text two splits shared though it should not recur.
        recurring: Rows whose text two splits have, too short for a leak; those of one split and another in each.
        in_train: Rows of validation and of test whose text train has, apart from case and punctuation.
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
    remarks: list[str] = field(repr=False)
    results: list[CheckResult] = field(repr=False)
    leaks: list[Leak] = field(repr=False)
    recurring: list[Leak] = field(repr=False)
    in_train: dict[str, int]
    classes: list[str] = field(repr=False)
    class_rows: dict[str, list[int]] = field(repr=False)
    word_counts: dict[str, np.ndarray] = field(repr=False)
    profile: Profile = field(repr=False)

    def warnings(self) -> list[str]:
        """A sentence for each split that lacks labels: for train some of all, for the others some of train's."""
        table = {one: dict(zip(self.classes, rows, strict=True)) for one, rows in self.class_rows.items()}
        found = []
        for name, consequence in LACKING.items():
            wanted = [one for one in self.labels if name == "train" or table["train"][one]]
            lacking = [repr(one) for one in wanted if not table[name][one]]
            if lacking and self.rows[name]:
                more = f" and {len(lacking) - 5:,} more" if len(lacking) > 5 else ""
                labels = f"label{'s' if len(lacking) > 1 else ''} {', '.join(lacking[:5])}{more}"
                found.append(f"No row of {name} has the {labels}: {consequence}.")
        return found


def prepare(
    source: Path, train: Path, validation: Path, test: Path, settings: PrepareSettings | None = None
) -> Prepared:
    """Read labelled text, check it, and write it as three splits, so that no test data leaks into train.

    Args:
        source: A folder made by `fetch`, any other folder, or a file.
        train: Folder for the split to train on.
        validation: Folder for the split that training watches.
        test: Folder for the split that models are compared on.
        settings: Columns, checks and splits; default: `PrepareSettings()`.

    Raises:
        UserError: The data can't be read, a check with the policy "error" found something, or a split is empty or
            can't be written.
    """
    settings = settings or PrepareSettings()
    try:
        return _prepare(source, (train, validation, test), settings)
    except OSError as error:  # of what is read an error is a sentence by now
        raise UserError(
            f"The splits can't be written ({error.filename or train}: {reason_of(error)}): make room there and in the "
            f"temporary folder {tempfile.gettempdir()}, or give the step a larger disk."
        ) from error


def _prepare(source: Path, targets: tuple[Path, Path, Path], settings: PrepareSettings) -> Prepared:
    near = settings.near_duplicates
    with tempfile.TemporaryDirectory(prefix="prepare-") as name:
        scratch = Path(name)
        rows = read_rows(list_files(Path(source)), settings.columns(), settings, near > 0, scratch / "rows.arrow")
        labels = map_labels(rows.labels, settings.label_names, settings.unknown_label == "keep")
        checked = check_rows(rows, labels, settings)
        split = _split(checked, settings)
        shared = find_leaks(rows, checked.inside, split, near, settings.leak_words)
        leaking = np.zeros(len(rows), bool)
        for leak in shared:
            leaking[leak.rows] |= leak.kind != SHORT
        checked.apply("leakage", leaking, hint="choose another split")
        in_train = _in_train(checked, split)
        counts = np.bincount(rows.label, minlength=len(rows.labels)).tolist()
        notes = remarks(rows.labels, counts, labels, settings.label_names)
        if settings.split_by == "group" and (alone := np.count_nonzero(checked.inside & without_group(rows))):
            notes.append(
                f"{alone:,} rows have no value in split_column {settings.split_column!r}: each of their texts is a "
                "group of its own"
            )
        notes += _texts_of_programs(rows.exact[checked.inside])
        prepared = _describe(checked, split, shared, in_train, notes, settings)
        writers = _write_examples(checked, split, in_train, settings, scratch)
        replace(prepared.profile, fetched=_fetched(Path(source))).write(scratch / "train")
        for name, writer, target in zip(SPLITS, writers, targets, strict=True):
            writer.finish(name, prepared.labels, prepared.fingerprints[name])
            publish_folder(scratch / name, Path(target), last=[HEADER])
    return prepared


def _fetched(source: Path) -> FetchedFiles | None:
    """What is known of the files that were read; None where no fetch wrote the folder."""
    if not ((source / "manifest.json").is_file() and (source / "files").is_dir()):
        return None
    manifest = read_manifest(str(source / "manifest.json"), Access())
    return FetchedFiles(
        manifest.fingerprint,
        list(manifest.sources),
        len(manifest.objects),
        sum(one.size for one in manifest.objects),
        [(one.source, one.generation, one.size) for one in manifest.objects[:_MOST_OBJECTS]],
    )


def _split(checked: CheckedRows, settings: PrepareSettings) -> np.ndarray:
    """Compare the rows with each other and assign them to splits, in the order that the way of splitting needs."""
    if settings.split_by == "text":  # all copies of a text go to the same split
        check_repeats(checked, np.zeros(len(checked.rows), np.uint8))
    split = assign(checked.rows, checked.inside, checked.code, settings)
    if settings.split_by != "text":
        check_repeats(checked, split)
    return split


def _texts_of_programs(hashes: np.ndarray) -> list[str]:
    """A remark for each of _NO_TEXTS that some of the texts with these hashes are."""
    counts = [int(np.count_nonzero(hashes == one)) for one in hash_texts(strings(_NO_TEXTS))]
    return [
        f"the text {text!r}, which programs write where there is none, is one like any other ({counted(count, 'rows')})"
        for text, count in zip(_NO_TEXTS, counts, strict=True)
        if count
    ]


def _in_train(checked: CheckedRows, split: np.ndarray) -> np.ndarray:
    """Whether train has the text of each row of the other splits, apart from case and punctuation, bool [rows]."""
    keys, found = checked.rows.normal, np.zeros(len(split), bool)
    trained, asking = (checked.inside & rows for rows in (split == TRAIN, split != TRAIN))
    found[asking] = to_numpy(pc.is_in(to_arrow(keys[asking]), value_set=to_arrow(keys[trained])))
    return found


def _describe(
    checked: CheckedRows,
    split: np.ndarray,
    shared: list[Leak],
    in_train: np.ndarray,
    notes: list[str],
    settings: PrepareSettings,
) -> Prepared:
    """What came of it.

    Raises:
        UserError: Fewer than two classes have rows to train on.
    """
    rows, names = checked.rows, checked.names
    masks = {name: checked.inside & (split == number) for number, name in enumerate(SPLITS)}
    class_rows = {name: np.bincount(checked.code[mask], minlength=len(names)) for name, mask in masks.items()}
    results = list(checked.results.values())
    for result in results:
        result.by_split = dict(zip(SPLITS, np.bincount(split[result.rows], minlength=3).tolist(), strict=True))
    trained = np.count_nonzero(class_rows["train"])
    if trained < 2:
        raise UserError(
            f"Train is left with {trained} of {len(names)} labels, and a classifier needs two or more: "
            f"{_what_took(results, int(np.count_nonzero(split == TRAIN)))}."
        )
    used = np.flatnonzero(checked.class_rows())
    labels = [names[index] for index in used]
    code = np.searchsorted(used, checked.code)
    fingerprints = {name: fingerprint_of(rows.exact[mask], code[mask], labels) for name, mask in masks.items()}
    found = [example for result in results for example in result.examples if example.index >= 0]
    leaked = [example for leak in shared for pair in leak.examples for example in pair]
    sample = _sample(rows, np.flatnonzero(masks["train"]))
    texts = rows.read_texts(np.union1d(sample, [example.index for example in found + leaked]).astype(np.int64))
    if settings.keep_texts == "ids":
        for example in (one for result in results for one in result.examples):
            example.excerpt = ""
    for example, length in [*((one, 100) for one in found), *((one, 140) for one in leaked)]:
        example.excerpt = shorten(texts[example.index], length) if settings.keep_texts == "all" else ""
    label_rows = dict(zip(labels, class_rows["train"][used].tolist(), strict=True))
    sampled = [texts[index] for index in sample.tolist()]
    profile = make_profile(rows.length[masks["train"]], label_rows, sampled, settings.keep_texts)
    return Prepared(
        rows={name: int(mask.sum()) for name, mask in masks.items()},
        read=sum(rows.read),
        blank=rows.blank,
        dropped={check: result.dropped for check, result in checked.results.items()},
        labels=labels,
        fingerprints=fingerprints,
        files=rows.files,
        file_rows=rows.read,
        remarks=notes,
        results=results,
        leaks=[leak for leak in shared if leak.kind != SHORT],
        recurring=[leak for leak in shared if leak.kind == SHORT],
        in_train={name: int(in_train[masks[name]].sum()) for name in ("validation", "test")},
        classes=names,
        class_rows={name: counts.tolist() for name, counts in class_rows.items()},
        word_counts={name: rows.words[mask] for name, mask in masks.items()},
        profile=replace(profile, fingerprint=fingerprints["train"]),
    )


def _what_took(results: list[CheckResult], rows: int) -> str:
    """Which checks dropped how many of the rows of train, and what to do."""
    taking = [result for result in results if result.dropped and result.by_split["train"]]
    if not taking:
        return "change the way of splitting"
    said = ", ".join(f"{result.check} dropped {result.by_split['train']:,}" for result in taking)
    most = max(taking, key=lambda result: result.by_split["train"]).check
    keep = "" if most == "missing_label" else f", or set {most} to 'keep'"
    return f"of its {rows:,} rows, {said}; change the way of splitting{keep}"


def _sample(rows: Rows, train: np.ndarray) -> np.ndarray:
    """Some rows of train, by hash, so that the same are taken whatever their order."""
    if len(train) <= SAMPLE:
        return train
    return np.sort(train[np.argpartition(spread(rows.exact[train], 3), SAMPLE)[:SAMPLE]])


def _write_examples(
    checked: CheckedRows, split: np.ndarray, in_train: np.ndarray, settings: PrepareSettings, folder: Path
) -> list[SplitWriter]:
    """Write the rows that are still in into one folder a split, as yet without their headers.

    Validation and test say of each row whether its text is in train.
    """
    rows, place = checked.rows, np.where(checked.inside, split, len(SPLITS))
    labels, sources = strings(checked.names), strings([facts.name for facts in rows.files])
    texts = [TEXT, PAIR] if settings.pair_column else [TEXT]
    metadata = [METADATA + name for name in settings.metadata_columns]
    schema = pa.schema([(name, pa.string()) for name in ("id", *texts, "label", "source", *settings.metadata_columns)])
    schema = schema.insert(len(texts) + 3, pa.field("source_row", pa.int64()))
    knowing = schema.append(pa.field("in_train", pa.bool_()))
    schemas = {name: schema if name == "train" else knowing for name in SPLITS}
    writers = [SplitWriter(folder / name, own) for name, own in schemas.items()]
    for start, batch in rows.store.batches(*texts, *metadata):
        for number, writer in enumerate(writers):
            here = np.flatnonzero(place[start : start + batch.num_rows] == number)
            if len(here):
                kept, index = batch.take(to_arrow(here)), start + here
                label, source = labels.take(to_arrow(checked.code[index])), sources.take(to_arrow(rows.file[index]))
                columns = [ids_of(rows.exact[index]), *(kept[name] for name in texts), label, source]
                columns.append(to_arrow(rows.row[index].astype(np.int64)))
                columns += [kept[name] for name in metadata]
                if number != TRAIN:
                    columns.append(to_arrow(in_train[index]))
                writer.write(pa.record_batch(columns, schema=writer.schema))
    return writers
