"""What `prepare` can be told, checked before any data is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from kfp_bert_components.data.rows import LABEL, METADATA, PAIR, PLACE, TEXT
from kfp_bert_components.errors import UserError
from kfp_bert_components.tables import Column, TableSettings

POLICIES = ("error", "drop", "keep")
CHECKS = (
    "unreadable",
    "empty_text",
    "missing_label",
    "unknown_label",
    "duplicates",
    "conflicting_labels",
    "small_classes",
    "outlier_length",
    "mojibake",
    "constant_text",
    "leakage",
)
CHOICES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CHECKS, POLICIES),
    # A row without a label can't be trained on or scored, so it can't be kept.
    "missing_label": ("error", "drop"),
    "file_format": ("auto", "csv", "tsv", "jsonl", "parquet"),
    "header": ("auto", "yes", "no"),
    "quoting": ("auto", "double", "strict", "backslash", "none"),
    "split_by": ("text", "column", "file", "group"),
}
# Columns that every split has.
OWN_COLUMNS = ("id", "text", "text_pair", "label", "source")


@dataclass(frozen=True)
class SplitSettings:
    """How rows are split.

    Attributes:
        split_by: text (a hash of the text), column, file or group.
        split_column: With split_by column or group: the column (name or position) that says where a row goes.
        test_values: With split_by file: patterns of the file names that are the test set, such as "230_*"; with
            column or group: values of the split column.
        validation_values: The same for the validation set.
        test_fraction: Share of the texts (or groups) that go to test when no `test_values` are given, 0 to 1.
        validation_fraction: The same for validation; with `test_values` it is a share of what is left.
        stratify: With split_by text: the same label shares in every split; rows may then move as data grows.
    """

    split_by: str = "text"
    split_column: str = ""
    test_values: Sequence[str] = ()
    validation_values: Sequence[str] = ()
    test_fraction: float = 0.1
    validation_fraction: float = 0.1
    stratify: bool = False

    def check(self) -> None:
        """Raise a UserError when the settings contradict each other."""
        if self.test_fraction + self.validation_fraction >= 1:
            raise UserError(
                f"test_fraction {self.test_fraction:g} and validation_fraction {self.validation_fraction:g} leave "
                "nothing to train on: their sum must be below 1."
            )
        if self.split_by in ("column", "group") and not self.split_column:
            raise UserError(f"split_by is {self.split_by!r}: name the column in split_column.")
        if self.split_by in ("text", "file") and self.split_column:
            raise UserError(f"split_column is given, but split_by is {self.split_by!r}: set it to 'column' or 'group'.")
        if self.split_by == "file" and not self.test_values:
            raise UserError("split_by is 'file': give the names or patterns of the test files in test_values.")
        if self.split_by == "text" and (self.test_values or self.validation_values):
            raise UserError("test_values and validation_values need split_by 'file', 'column' or 'group'.")
        if self.stratify and self.split_by != "text":
            raise UserError(
                f"stratify works with split_by 'text' only, not with {self.split_by!r}: turn one of them off."
            )
        if isinstance(self.test_values, str) or isinstance(self.validation_values, str):
            raise UserError("test_values and validation_values are lists of strings: put even a single one in a list.")


@dataclass(frozen=True)
class PrepareSettings(SplitSettings):
    """How tables are read, checked and split. "" and "auto" mean: find out.

    Attributes:
        text_column: Name of the column with the text, or its position as "#1".
        label_column: Name of the column with the label, or its position as "#2".
        pair_column: Name or position of a second text; "" for single texts.
        metadata_columns: Names of more columns that each split shall keep, for slices of an evaluation.
        label_names: Names for the labels in the data, such as {"0": "other"}; empty to take them as they are.
        file_format: auto, csv, tsv, jsonl or parquet.
        encoding: "auto", or a codec of Python such as "cp1252".
        delimiter: "auto", or one character; "\\t" for a tab.
        header: auto, yes or no: whether the first row of each CSV file names the columns.
        quoting: auto, double ("" inside quotes), strict (double, and a cell may hold lines that look like rows),
            backslash (\\" inside quotes) or none.
        unreadable: Policy (error, drop, keep) for rows that don't fit the table or its encoding.
        empty_text: Policy for rows without text.
        missing_label: error or drop, for rows without a label.
        unknown_label: Policy for labels that `label_names` does not know; keep makes each a class of its own.
        duplicates: Policy for rows whose text and label have been seen before.
        conflicting_labels: Policy for texts that occur with different labels; drop takes their rows out, or where
            one label has three quarters of them, only the others.
        small_classes: Policy for labels with fewer than `min_class_rows` rows.
        min_class_rows: Least number of rows a label.
        outlier_length: Policy for texts far longer than the rest.
        mojibake: Policy for texts that were decoded with the wrong encoding, such as "cafÃ©".
        constant_text: Policy for one text that makes up half of all rows or more.
        leakage: Policy for rows of train that are in test or validation too; drop takes them out of train.
        near_duplicates: Least share of common words (Jaccard) at which two texts of five or more words count as
            the same in the leakage check, 0.5 to 1; 0 turns the search off.
        max_dropped: Largest share of rows that may be dropped as unreadable, empty or without a known label.
        max_length: Tokens that the model will read, to show in the report which texts would be cut.
        reference: Where the training data of the champion is described: a split folder, a data_profile.json or a
            registry (then its champion is asked), local or gs://; "" for no comparison.
    """

    text_column: str = "text"
    label_column: str = "label"
    pair_column: str = ""
    metadata_columns: Sequence[str] = ()
    label_names: Mapping[str, str] = field(default_factory=dict)
    file_format: str = "auto"
    encoding: str = "auto"
    delimiter: str = "auto"
    header: str = "auto"
    quoting: str = "auto"
    unreadable: str = "error"
    empty_text: str = "drop"
    missing_label: str = "drop"
    unknown_label: str = "error"
    duplicates: str = "drop"
    conflicting_labels: str = "drop"
    small_classes: str = "error"
    min_class_rows: int = 3
    outlier_length: str = "keep"
    mojibake: str = "keep"
    constant_text: str = "error"
    leakage: str = "drop"
    near_duplicates: float = 0.8
    max_dropped: float = 0.1
    max_length: int = 128
    reference: str = ""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                either = f"{', '.join(choices[:-1])} or {choices[-1]}"
                raise UserError(f"{name} is {getattr(self, name)!r}: it must be {either}.")
        for name in ("test_fraction", "validation_fraction", "max_dropped"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be between 0 and 1.")
        if self.near_duplicates != 0 and not 0.5 <= self.near_duplicates <= 1:
            raise UserError(f"near_duplicates is {self.near_duplicates:g}: it must be 0 (off) or between 0.5 and 1.")
        if isinstance(self.metadata_columns, str):
            raise UserError("metadata_columns is a list of strings: put even a single one in a list.")
        taken = [name for name in self.metadata_columns if name in OWN_COLUMNS]
        if taken:
            raise UserError(
                f"metadata_columns names {taken[0]!r}, which every split has with a meaning of its own: rename it in "
                "the data."
            )
        if len(set(self.metadata_columns)) < len(self.metadata_columns):
            raise UserError("metadata_columns names a column twice: name each once.")
        self.check()

    @property
    def policies(self) -> dict[str, str]:
        """The policy of each check."""
        return {check: getattr(self, check) for check in CHECKS}

    @property
    def tables(self) -> TableSettings:
        """How the files are read."""
        columns = [Column(TEXT, self.text_column, "text_column"), Column(LABEL, self.label_column, "label_column")]
        if self.pair_column:
            columns.append(Column(PAIR, self.pair_column, "pair_column"))
        if self.split_column:
            columns.append(Column(PLACE, self.split_column, "split_column"))
        columns += [Column(METADATA + name, name, "metadata_columns") for name in self.metadata_columns]
        same = {name: getattr(self, name) for name in ("file_format", "encoding", "delimiter", "header", "quoting")}
        keep = self.unreadable == "keep"
        return TableSettings(columns, LABEL, **same, empty_files=self.unreadable != "error", keep_damaged=keep)

    def given(self) -> dict[str, object]:
        """The settings that differ from the defaults; an empty list is no other setting than an empty tuple."""
        default = PrepareSettings()
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if value != getattr(default, name) and (value or getattr(default, name))
        }
