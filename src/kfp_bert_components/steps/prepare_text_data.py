"""The use case of `prepare_text_data`: three splits, the comparison with the champion's data, and the page."""

from __future__ import annotations

from pathlib import Path

from kfp_bert_components.data.checking import REPEATS
from kfp_bert_components.data.labels import capped
from kfp_bert_components.data.prepare_data import Prepared
from kfp_bert_components.data.profile import Drift, compare_profiles
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.steps.reference import read_reference


def prepare_text_data(
    source: Path,
    train: Path,
    validation: Path,
    test: Path,
    report: Path | None = None,
    settings: PrepareSettings | None = None,
) -> Prepared:
    """Read labelled text, check it, write it as three splits, and report the result.

    Args:
        source: A folder made by `fetch`, any other folder, or a file.
        train: Folder for the split to train on.
        validation: Folder for the split that training watches.
        test: Folder for the split that models are compared on.
        report: The HTML page to write, or None for none.
        settings: Columns, checks and splits; default: `PrepareSettings()`.

    Raises:
        UserError: The data can't be read, a check with the policy "error" found something, a split is empty, or
            `reference` points to nothing that can be compared.
    """
    from kfp_bert_components.data.prepare_data import prepare

    settings = settings or PrepareSettings()
    reference = read_reference(settings.reference) if settings.reference else None
    if reference and not reference[0]:
        print(f"The training data are compared with no others: {reference[1]}")
    prepared = prepare(source, train, validation, test, settings)
    if report:
        drift = None
        if reference:
            before, place = reference
            drift = (
                compare_profiles(prepared.profile, before, place) if before else Drift(settings.reference, note=place)
            )
        _write_page(Path(report), prepared, drift, settings)
    _print_summary(prepared, settings)
    return prepared


def _write_page(report: Path, prepared: Prepared, drift: Drift | None, settings: PrepareSettings) -> None:
    from kfp_bert_components.reports import written
    from kfp_bert_components.reports.data import data_report

    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(data_report(prepared, drift, settings, written(report)), encoding="utf-8")


def _print_summary(prepared: Prepared, settings: PrepareSettings) -> None:
    for warning in prepared.warnings():
        print(warning)
    counts = ", ".join(f"{rows:,} to {name}" for name, rows in prepared.rows.items())
    print(f"Read {prepared.read:,} rows: {counts}, {sum(prepared.dropped.values()):,} dropped.")
    files = [f"{file.name}: {file.note}" for file in prepared.files if file.note]
    for remark in [*capped(files, "files with a remark, see the report"), *prepared.remarks]:
        print(f"  {remark}")
    for result in prepared.results:
        if result.dropped:
            print(f"  dropped {result.dropped:,}: {result.what}")
        elif result.count:
            taken = result.taken if result.check in REPEATS else "them out"
            print(f"  kept {result.count:,}: {result.what}; {result.check}=drop would take {taken}")
    for leak in prepared.recurring:
        print(
            f"  kept {leak.count:,} of {leak.split}: have a text of {leak.other} that is shorter than "
            f"{settings.leak_words} words (leak_words)"
        )
    for name, rows in prepared.in_train.items():
        if rows:
            print(f"  {rows:,} of {prepared.rows[name]:,} rows of {name} have a text that train has")
