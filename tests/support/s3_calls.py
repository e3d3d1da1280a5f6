"""The calls to a store that the tests of S3 make, each with little patience."""

from __future__ import annotations

from collections.abc import Callable

from kfp_bert_components.registry import Registry
from kfp_bert_components.storage import Access, open_store

CALLS: dict[str, Callable[[str], object]] = {
    "read": lambda place: open_store(place, Access(patience=0.3)).read("x"),
    "stat": lambda place: open_store(place, Access(patience=0.3)).stat("x"),
    "list": lambda place: open_store(place, Access(patience=0.3)).list(),
    "folders": lambda place: open_store(place, Access(patience=0.3)).folders(),
    "write": lambda place: open_store(place, Access(patience=0.3)).write("x", b"1"),
    "create": lambda place: open_store(place, Access(patience=0.3)).write("x", b"1", if_generation=0),
    "delete": lambda place: open_store(place, Access(patience=0.3)).delete("x"),
    "registry": lambda place: Registry(place, Access(patience=0.3)).champion(),
}
