"""Data on its way to training: fetched whole, checked, and split."""

from importlib import import_module

_HOME = {
    "fetch": "kfp_bert_components.data.fetch_data",
    "Fetched": "kfp_bert_components.data.fetch_data",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
