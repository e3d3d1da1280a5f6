"""Data on its way to training: fetched whole, checked, and split."""

from importlib import import_module
from typing import Any

_HOME = {
    "prepare": "kfp_bert_components.data.prepare_data",
    "Prepared": "kfp_bert_components.data.prepare_data",
    "PrepareSettings": "kfp_bert_components.data.settings",
    "Split": "kfp_bert_components.data.splits",
    "read_split": "kfp_bert_components.data.splits",
    "write_split": "kfp_bert_components.data.splits",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
