"""The component that turns files of labelled text into three clean splits."""

from typing import Dict, List

from kfp.dsl import HTML, Dataset, Input, Output

from kfp_bert_components.components._images import slim_component


@slim_component
def prepare_text_data(
    data: Input[Dataset],
    train: Output[Dataset],
    validation: Output[Dataset],
    test: Output[Dataset],
    report: Output[HTML],
    text_column: str = "text",
    label_column: str = "label",
    pair_column: str = "",
    metadata_columns: List[str] = [],
    label_names: Dict[str, str] = {},
    file_format: str = "auto",
    encoding: str = "auto",
    delimiter: str = "auto",
    skip_rows: int = 0,
    header: str = "auto",
    quoting: str = "auto",
    split_by: str = "text",
    split_column: str = "",
    test_values: List[str] = [],
    validation_values: List[str] = [],
    test_fraction: float = 0.1,
    validation_fraction: float = 0.1,
    stratify: bool = False,
    unreadable: str = "error",
    empty_text: str = "drop",
    missing_label: str = "drop",
    unknown_label: str = "error",
    duplicates: str = "keep",
    conflicting_labels: str = "keep",
    small_classes: str = "error",
    min_class_rows: int = 3,
    outlier_length: str = "keep",
    mojibake: str = "keep",
    constant_text: str = "error",
    leakage: str = "drop",
    leak_words: int = 5,
    near_duplicates: float = 0.8,
    max_dropped: float = 0.1,
    max_length: int = 128,
    reference: str = "",
    keep_texts: str = "all",
    settings: Dict = {},
):
    """Read CSV, TSV, JSONL or Parquet, check every row, and split it so that nothing of test leaks into train.

    Args:
        data: A folder made by fetch_gcs_data, or any folder of tables.
        text_column: Name of the column with the text, or its position such as "#1". Default: "text".
        label_column: Name or position of the column with the label. Default: "label".
        pair_column: Name or position of a second text, for tasks on pairs. Default: none.
        metadata_columns: Names of more columns that each split shall keep, for slices of an evaluation.
            Default: none; the column "source", the name of a row's file, is always there.
        label_names: Names for the labels in the data, such as {"0": "other"}. A label that it leaves out is an error,
            but for unknown_label="keep", which leaves it as it is. Default: all as they are.
        file_format: auto, csv, tsv, jsonl or parquet. Default: found out file by file.
        encoding: auto, or a codec such as "cp1252". Default: found out file by file.
        delimiter: auto, or one character; "\\t" is a tab. Default: found out file by file.
        skip_rows: Lines at the start of each CSV file that are no part of the table. Default: 0; lines above
            the one that names the columns are found out.
        header: auto, yes or no: whether the first row of a CSV file names the columns.
        quoting: auto, double, strict (double, and a cell may hold lines that look like rows of the file),
            backslash, single (in '), single-backslash or none. Default: found out file by file.
        split_by: text (a hash of it, so that a row keeps its split when the data grows), file, column or
            group.
        split_column: With split_by column or group, the column that says where a row goes.
        test_values: With split_by file, patterns of the names of the test files; with column or group,
            values.
        validation_values: The same for validation. Default: a share of the rows that are left.
        test_fraction: Share of the texts or groups that go to test, 0 to 1. Default: 0.1.
        validation_fraction: Share that goes to validation, 0 to 1. Default: 0.1.
        stratify: With split_by text, the same label shares in each split; a label with few texts goes to
            train first, then to test, then to validation. Default: False.
        unreadable: error or drop rows that don't fit the table or its encoding; keep mends and counts them, and
            drops those that can't be mended.
        empty_text: error, drop or keep rows without text.
        missing_label: error or drop rows without a label.
        unknown_label: error, drop or keep labels that label_names does not know.
        duplicates: error, drop or keep rows whose text and label came before. Default: keep.
        conflicting_labels: error, drop or keep texts that occur with different labels; where one label
            has three quarters of the rows of a text, only the others. Default: keep.
        small_classes: error, drop or keep labels with fewer than min_class_rows rows.
        min_class_rows: Least number of rows a label. Default: 3.
        outlier_length: error, drop or keep texts far longer than the rest.
        mojibake: error, drop or keep texts that were decoded with the wrong encoding.
        constant_text: error, drop or keep one text that makes up half of all rows.
        leakage: error, drop or keep rows of train whose text is in test or validation too and is long enough
            not to be there by chance. Default: drop.
        leak_words: Words from which on a text in two splits is a leak; 0: every text. Texts that are nearly
            the same need five words in any case. Default: 5.
        near_duplicates: Share of common words, 0.5 to 1, from which two texts count as the same in the
            leakage check; 0 turns the search for them off. Default: 0.8.
        max_dropped: Largest share of rows that may be dropped as faulty, 0 to 1. Default: 0.1.
        max_length: Tokens that the model will read, for the report. Default: 128.
        reference: Split folder, data_profile.json or registry (its champion), local, gs:// or s3://, whose training
            data the new data is compared with. Default: none.
        keep_texts: all, or ids: the report shows file and row of its examples, and not their texts; the splits
            have the texts in either case. Default: all.
        settings: Any of the parameters above by name, such as {"delimiter": ";", "stratify": true}; what it names
            wins over them. With it a pipeline reaches those that it has no parameter for. Default: none.

    Returns:
        train: The split to train on: split.json and examples.parquet.
        validation: The split that training watches.
        test: The split that models are compared on.
        report: What was read, what was dropped and why, and what the splits look like.
    """
    from pathlib import Path

    from kfp_bert_components.components._task import remember_stores
    from kfp_bert_components.data.settings import PrepareSettings
    from kfp_bert_components.steps.artifact_metadata import of_split
    from kfp_bert_components.steps.prepare_text_data import prepare_text_data
    from kfp_bert_components.validation import with_further

    remember_stores(data)
    values = with_further(
        settings,
        text_column=text_column,
        label_column=label_column,
        pair_column=pair_column,
        metadata_columns=metadata_columns,
        label_names=label_names,
        file_format=file_format,
        encoding=encoding,
        delimiter=delimiter,
        skip_rows=skip_rows,
        header=header,
        quoting=quoting,
        split_by=split_by,
        split_column=split_column,
        test_values=test_values,
        validation_values=validation_values,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        stratify=stratify,
        unreadable=unreadable,
        empty_text=empty_text,
        missing_label=missing_label,
        unknown_label=unknown_label,
        duplicates=duplicates,
        conflicting_labels=conflicting_labels,
        small_classes=small_classes,
        min_class_rows=min_class_rows,
        outlier_length=outlier_length,
        mojibake=mojibake,
        constant_text=constant_text,
        leakage=leakage,
        leak_words=leak_words,
        near_duplicates=near_duplicates,
        max_dropped=max_dropped,
        max_length=max_length,
        reference=reference,
        keep_texts=keep_texts,
    )
    prepared = prepare_text_data(
        Path(data.path),
        Path(train.path),
        Path(validation.path),
        Path(test.path),
        Path(report.path),
        PrepareSettings(**values),
    )
    for name, artifact in (("train", train), ("validation", validation), ("test", test)):
        artifact.metadata.update(of_split(prepared, name))
