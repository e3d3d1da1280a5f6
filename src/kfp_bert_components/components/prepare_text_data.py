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
    """Read CSV, TSV, JSONL or Parquet, check every row, and split the rows so that no test data leaks into train.

    Args:
        data: A folder made by fetch_gcs_data, or any folder of tables.
        text_column: Name of the column with the text, or its position such as "#1". Default: "text".
        label_column: Name or position of the column with the label. Default: "label".
        pair_column: Name or position of a second text, for tasks on pairs. Default: none.
        metadata_columns: Names of further columns to keep in each split, for slices of an evaluation. Default: none;
            the column "source", the name of a row's file, is always there.
        label_names: Names for the labels in the data, such as {"0": "other"}. unknown_label says what happens to a
            label without a name here. Default: all labels stay as they are.
        file_format: auto, csv, tsv, jsonl or parquet. Default: auto, detected for each file.
        encoding: auto, or a codec such as "cp1252". Default: auto, detected for each file.
        delimiter: auto, or one character; "\\t" is a tab. Default: auto, detected for each file.
        skip_rows: Number of lines at the start of each CSV file that do not belong to the table. Default: 0; lines
            above the column names are detected.
        header: auto, yes or no: whether the first row of a CSV file names the columns.
        quoting: auto, double, strict (like double, but a cell may hold lines that look like rows of the file),
            backslash, single (quoted with '), single-backslash or none. Default: auto, detected for each file.
        split_by: What decides the split of a row: text (a hash of it, so that a row keeps its split when the data
            grows), file, column or group.
        split_column: With split_by column or group: the column that decides the split of a row.
        test_values: With split_by file: patterns of the names of the test files. With column or group: values of
            split_column that go to test.
        validation_values: The same for the validation split. Default: a share of the remaining rows.
        test_fraction: Share of the texts or groups that go to test, 0 to 1. Default: 0.1.
        validation_fraction: Share that goes to validation, 0 to 1. Default: 0.1.
        stratify: With split_by text: whether each label has the same share in each split. A label with few texts goes
            to train first, then to test, then to validation. Default: False.
        unreadable: Rows that don't fit the table or its encoding: error, drop or keep. keep repairs and counts them,
            and drops rows that it can't repair.
        empty_text: Rows without text: error, drop or keep.
        missing_label: Rows without a label: error or drop.
        unknown_label: Labels that label_names does not know: error, drop or keep.
        duplicates: Rows whose text and label came before: error, drop or keep. Default: keep.
        conflicting_labels: Texts that occur with different labels: error, drop or keep. If one label has three quarters
            of the rows of a text, only the other rows are meant. Default: keep.
        small_classes: Labels with fewer than min_class_rows rows: error, drop or keep.
        min_class_rows: Smallest number of rows for each label. Default: 3.
        outlier_length: Texts far longer than the rest: error, drop or keep.
        mojibake: Texts that were decoded with the wrong encoding: error, drop or keep.
        constant_text: One text that makes up half of all rows: error, drop or keep.
        leakage: Rows of train whose text is also in test or validation, and is long enough not to be there by chance:
            error, drop or keep. Default: drop.
        leak_words: A text in two splits is a leak if it has at least this number of words; 0: every text. Texts that
            are nearly the same need five words in any case. Default: 5.
        near_duplicates: Two texts count as the same in the leakage check if at least this share of their words is
            common, 0.5 to 1; 0 turns off this search. Default: 0.8.
        max_dropped: Largest share of rows that may be dropped as faulty, 0 to 1. Default: 0.1.
        max_length: Number of tokens of a text that the model will read, for the report. Default: 128.
        reference: Earlier training data to compare the new data with: a split folder, a data_profile.json or a registry
            (its champion), local, gs:// or s3://. Default: none.
        keep_texts: all, or ids, with which the report shows file and row of its examples instead of their texts. The
            splits have the texts in both cases. Default: all.
        settings: Values for the parameters above by name, such as {"delimiter": ";", "stratify": true}; they win over
            the parameters. So a pipeline can set parameters of this step that the pipeline itself does not have.
            Default: none.

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
