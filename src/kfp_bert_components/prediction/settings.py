"""What `predict_table` can be told, checked before any data is read."""

from typing import Annotated

from pydantic import Field

from kfp_bert_components.errors import UserError
from kfp_bert_components.tables import Column, TableSettings
from kfp_bert_components.validation import checked_dataclass, one_of

# Names of the columns with texts in batches.
TEXT, PAIR = "text", "text_pair"


@checked_dataclass
class PredictionSettings(TableSettings):
    """How a table is read, and what is written.

    Attributes:
        text_column: Name of the column with the text, or its position as "#1".
        pair_column: The same of the second text, for a model of pairs.
        unreadable: Policy for rows that don't fit the table or its encoding: keep mends those that it can and answers
            them, and writes the others without an answer; error stops; drop leaves both out and counts them.
        output_format: parquet or csv.
        prefix: What the names of the columns with predictions begin with, where the table has columns of these names.
        part_rows: Most rows of one part. A run that was killed starts again after its last part.
        num_shards: In how many shards the table is predicted.
        shard_index: Which of them this is, from 0 on.
    """

    text_column: str = "text"
    pair_column: str = ""
    unreadable: Annotated[str, one_of("error", "drop", "keep")] = "keep"
    output_format: Annotated[str, one_of("parquet", "csv")] = "parquet"
    prefix: str = ""
    part_rows: Annotated[int, Field(ge=1)] = 100_000
    num_shards: Annotated[int, Field(ge=1, le=10_000)] = 1
    shard_index: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.shard_index >= self.num_shards:
            raise UserError(
                f"shard_index is {self.shard_index}, but there are {self.num_shards} shards (num_shards): give one "
                f"from 0 to {self.num_shards - 1}."
            )
        if not self.text_column:
            raise UserError("text_column is empty: name the column with the text.")
        if self.pair_column == self.text_column:
            raise UserError(f"pair_column and text_column are both {self.text_column!r}: give two different columns.")

    def columns(self) -> list[Column]:
        """The columns that the model is asked about."""
        wanted = [Column(TEXT, self.text_column, "text_column"), Column(PAIR, self.pair_column, "pair_column")]
        return wanted if self.pair_column else wanted[:1]
