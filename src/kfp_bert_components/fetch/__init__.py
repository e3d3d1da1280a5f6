"""Sources to an artifact: listed, pinned, transferred, checked."""

from importlib import import_module

from kfp_bert_components.extras import named_extra

_HOME = {"Fetched": "fetching", "fetch": "fetching"}


def __getattr__(name: str) -> object:
    if name in _HOME:
        with named_extra():
            return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
