"""Files of any format to batches of rows, with their places; knows nothing of labels or splits."""

from kfp_bert_components.tables.batches import Batch, Fault
from kfp_bert_components.tables.files import TableFile, is_table_name, list_files
from kfp_bert_components.tables.read import FileFacts, open_table
from kfp_bert_components.tables.settings import OWN, Column, TableSettings

__all__ = [
    "OWN",
    "Batch",
    "Column",
    "Fault",
    "FileFacts",
    "TableFile",
    "TableSettings",
    "is_table_name",
    "list_files",
    "open_table",
]
