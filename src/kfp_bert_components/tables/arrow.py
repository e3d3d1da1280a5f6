"""Between Arrow and NumPy, over the same memory.

pyarrow's own ways (`pyarrow.array`, `Array.to_numpy`, Python values given to its functions) import pandas wherever that
is installed, which takes longer than many a table.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def to_arrow(values: np.ndarray) -> pa.Array:
    """Numbers or booleans as an Arrow array, [n]."""
    if values.dtype == bool:
        return to_arrow(values.view(np.uint8)).cast(pa.bool_())
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def to_numpy(values: pa.Array) -> np.ndarray:
    """Numbers or booleans without nulls as a NumPy array, [n]."""
    if pa.types.is_boolean(values.type):
        return to_numpy(values.cast(pa.uint8())).view(bool)
    return _view(values.buffers()[1], values.type.to_pandas_dtype())[values.offset :][: len(values)]


def strings(values: Sequence[str]) -> pa.Array:
    """Strings as an Arrow array, [n]."""
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def string_bytes(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of strings, uint8, and where each string starts in them, and the end of the last, int32 [n + 1]."""
    _, offsets, data = values.buffers()
    starts = _view(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    return _view(data, np.uint8), starts if len(values) else np.zeros(1, np.int32)


def _view(data: pa.Buffer | None, kind: type) -> np.ndarray:
    found: np.ndarray = np.frombuffer(data or b"", kind)
    found.flags.writeable = False  # always, so that loops are compiled for one kind of array only
    return found
