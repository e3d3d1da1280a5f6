"""Files of any format to batches of rows, with their places; knows nothing of labels or splits."""

from kfp_bert_components.tables.batches import Batch, Fault, FileFacts, Table
from kfp_bert_components.tables.files import TableFile, list_files
from kfp_bert_components.tables.read import open_table
from kfp_bert_components.tables.settings import Column, TableSettings

__all__ = ["Batch", "Column", "Fault", "FileFacts", "Table", "TableFile", "TableSettings", "list_files", "open_table"]
