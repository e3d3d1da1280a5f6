"""Sources to an artifact: listed, pinned, transferred, checked."""

from importlib import import_module

_HOME = {"Fetched": "fetching", "fetch": "fetching"}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
