"""What `prepare` can be told, checked before any data is read."""

from dataclasses import field, fields, replace
from typing import Annotated

from pydantic import Field

from kfp_bert_components.data.labels import spelled, trimmed
from kfp_bert_components.errors import UserError
from kfp_bert_components.tables import Column, TableSettings
from kfp_bert_components.validation import checked_dataclass, one_of

# Names of columns in batches. That of a metadata column begins with METADATA.
TEXT, PAIR, LABEL, PLACE, METADATA = "text", "text_pair", "label", "place", "metadata:"
# Columns that splits have.
OWN_COLUMNS = ("id", "text", "text_pair", "label", "source", "source_row", "in_train")

Policy = Annotated[str, one_of("error", "drop", "keep")]
Share = Annotated[float, Field(ge=0, le=1)]
Value = Annotated[str, Field(coerce_numbers_to_str=True)]  # in YAML and JSON labels and values may be numbers


@checked_dataclass
class SplitSettings:
    """How rows are split.

    Attributes:
        split_by: text (a hash of the text), column, file or group.
        split_column: With split_by column or group: the column (name or position) that says where a row goes.
        test_values: With split_by file: names of the files that are the test set, or patterns such as "230_*"; with
            column or group: values of the split column, as they stand there.
        validation_values: The same for the validation set.
        test_fraction: Share of the texts (or groups) that go to test when no `test_values` are given, 0 to 1.
        validation_fraction: The same for validation; with `test_values` it is a share of what is left.
        stratify: With split_by text: the same label shares in every split; rows may then move as data grows. A
            label with few texts goes to train first, then to test, then to validation.
    """

    split_by: Annotated[str, one_of("text", "column", "file", "group")] = "text"
    split_column: str = ""
    test_values: list[Value] = field(default_factory=list)
    validation_values: list[Value] = field(default_factory=list)
    test_fraction: Share = 0.1
    validation_fraction: Share = 0.1
    stratify: bool = False

    def __post_init__(self) -> None:
        if self.test_fraction + self.validation_fraction >= 1:
            raise UserError(
                f"test_fraction {self.test_fraction:g} and validation_fraction {self.validation_fraction:g} leave "
                "nothing to train on: their sum must be below 1."
            )
        by, values = self.split_by, self.test_values or self.validation_values
        if by in ("column", "group") and not self.split_column:
            raise UserError(f"split_by is {by!r}: name the column in split_column.")
        if by in ("text", "file") and self.split_column:
            raise UserError(f"split_column is given, but split_by is {by!r}: set it to 'column' or 'group'.")
        if by == "file" and not self.test_values:
            raise UserError("split_by is 'file': give the names or patterns of the test files in test_values.")
        if by == "text" and values:
            raise UserError("test_values and validation_values need split_by 'file', 'column' or 'group'.")
        if by == "column" and self.validation_values and not self.test_values:
            raise UserError("validation_values is given, but not test_values: with split_by 'column' name both.")
        if self.stratify and by != "text":
            raise UserError(f"stratify works with split_by 'text' only, not with {by!r}: turn one of them off.")


@checked_dataclass
class CheckSettings(TableSettings):
    """How tables are read, and what becomes of rows that a check finds: error, drop or keep.

    Attributes:
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
        leakage: Policy for rows of train whose text is in test or validation too (and of validation, in test), and
            is long enough not to be there by chance; drop takes them out of train (and validation).
        leak_words: Words from which on a text in two splits is a leak; shorter ones recur by chance and stay. Texts
            that are nearly the same need five words in any case. 0 makes every text in two splits a leak.
        max_dropped: Largest share of rows that may be dropped as unreadable, empty or without a known label.
    """

    empty_text: Policy = "drop"
    missing_label: Annotated[str, one_of("error", "drop")] = "drop"  # such a row can't be trained on or scored
    unknown_label: Policy = "error"
    duplicates: Policy = "keep"
    conflicting_labels: Policy = "keep"
    small_classes: Policy = "error"
    min_class_rows: Annotated[int, Field(ge=1)] = 3
    outlier_length: Policy = "keep"
    mojibake: Policy = "keep"
    constant_text: Policy = "error"
    leakage: Policy = "drop"
    leak_words: Annotated[int, Field(ge=0)] = 5
    max_dropped: Share = 0.1


@checked_dataclass
class PrepareSettings(CheckSettings, SplitSettings):
    """How tables are read, checked and split. "" and "auto" mean: find out.

    Attributes:
        text_column: Name of the column with the text, or its position as "#1".
        label_column: Name of the column with the label, or its position as "#2".
        pair_column: Name or position of a second text; "" for single texts.
        metadata_columns: Names of more columns that each split shall keep, for slices of an evaluation.
        label_names: Names for the labels in the data, such as {"0": "other"}; empty to take them as they are. What
            becomes of a label that it leaves out, `unknown_label` says.
        near_duplicates: Least share of common words (Jaccard) at which two texts of five or more words count as
            the same in the leakage check, 0.5 to 1; 0 turns the search off.
        max_length: Tokens that the model will read, to show in the report which texts would be cut.
        reference: Where the training data of the champion is described: a split folder, a data_profile.json or a
            registry (then its champion is asked), local or gs://; "" for no comparison.
        keep_texts: all, or ids: report and errors show file and row of their examples, and not their texts. The splits
            have the texts in either case, as a model is trained on them.
    """

    text_column: str = "text"
    label_column: str = "label"
    pair_column: str = ""
    metadata_columns: list[str] = field(default_factory=list)
    label_names: dict[Value, Value] = field(default_factory=dict)
    near_duplicates: float = 0.8
    max_length: Annotated[int, Field(ge=4)] = 128  # as in training
    reference: str = ""
    keep_texts: Annotated[str, one_of("all", "ids")] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.near_duplicates != 0 and not 0.5 <= self.near_duplicates <= 1:
            raise UserError(f"near_duplicates is {self.near_duplicates:g}: it must be 0 (off) or between 0.5 and 1.")
        taken = [name for name in self.metadata_columns if name in OWN_COLUMNS]
        if taken:
            raise UserError(
                f"metadata_columns names {taken[0]!r}, which splits have with a meaning of its own: rename it in "
                "the data."
            )
        both = next((name for name in ("text_column", "label_column") if getattr(self, name) == self.pair_column), "")
        if both:
            raise UserError(f"pair_column and {both} are both {self.pair_column!r}: give two different columns.")
        names: dict[str, str] = {}
        for label, name in self.label_names.items():
            if not trimmed(name):
                raise UserError(f"label_names gives {label!r} an empty name: give it a name, or leave it out.")
            if names.setdefault(spelled(label), name) != name:
                raise UserError(
                    f"label_names names {label!r} twice, as {names[spelled(label)]!r} and {name!r}: give one."
                )
        if len(set(self.metadata_columns)) < len(self.metadata_columns):
            raise UserError("metadata_columns names a column twice: name each once.")

    def columns(self) -> list[Column]:
        """The columns that are wanted of each file."""
        known = frozenset([*self.label_names, *self.label_names.values()])
        wanted = [
            Column(TEXT, self.text_column, "text_column"),
            Column(LABEL, self.label_column, "label_column", categorical=True, known=known),
            Column(PAIR, self.pair_column, "pair_column"),
            Column(PLACE, self.split_column, "split_column", shared=True),
            *(Column(METADATA + name, name, "metadata_columns", shared=True) for name in self.metadata_columns),
        ]
        quoted = self.keep_texts == "all"
        return [replace(one, quoted=quoted) for one in wanted if one.asked or one.name not in (PAIR, PLACE)]

    def given(self) -> dict[str, object]:
        """The settings that differ from the defaults."""
        default = PrepareSettings()
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value != getattr(default, name)}
