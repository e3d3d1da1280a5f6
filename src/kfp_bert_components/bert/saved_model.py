"""Loading a SavedModel, whatever the name of its folder."""

import tempfile
from pathlib import Path
from typing import Any

# TensorFlow takes the path of a model's variables as a pattern: with one of these in it, it finds none.
_IN_PATTERNS = frozenset("[\\")


def load_saved_model(folder: Path) -> Any:
    """Load a SavedModel from a local folder.

    Raises:
        OSError: It can't be read.
        ValueError: It is damaged.
    """
    import tensorflow as tf

    if _IN_PATTERNS.isdisjoint(str(folder)):
        return tf.saved_model.load(str(folder))
    with tempfile.TemporaryDirectory() as scratch:
        link = Path(scratch) / "model"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        return tf.saved_model.load(str(link))
