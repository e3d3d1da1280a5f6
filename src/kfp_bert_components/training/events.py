"""Event files for TensorBoard, written with TensorFlow alone."""

import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf


class EventLog:
    """Writes the scalars of a run to event files, one folder for each trial.

    They are written in scratch space, and copied to their folder by `flush` and `close`.

    Args:
        folder: Local, gs:// or s3:// folder; "" writes nothing.
    """

    def __init__(self, folder: str) -> None:
        from kfp_bert_components.storage import open_store

        self._store = open_store(folder, parameter="tensorboard_dir") if folder else None
        self._scratch = tempfile.TemporaryDirectory() if folder else None
        self._writers: dict[int, Any] = {}

    def scalars(self, trial: int, step: int, values: dict[str, float]) -> None:
        """Add values of a step, by name; `trial` and `step` are their numbers."""
        if self._scratch is None:
            return
        if trial not in self._writers:
            path = Path(self._scratch.name) / f"seed_{trial}"
            self._writers[trial] = tf.summary.create_file_writer(str(path))
        with self._writers[trial].as_default():
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value, tf.float32), step=step, metadata=_SCALAR)

    def flush(self) -> None:
        """Copy what was added so far to the folder."""
        if self._scratch is None or self._store is None:
            return
        from kfp_bert_components.storage import upload_folder

        for trial, writer in self._writers.items():
            writer.flush()
            upload_folder(Path(self._scratch.name) / f"seed_{trial}", self._store, f"seed_{trial}")

    def close(self) -> None:
        """Copy all and remove the scratch folder."""
        if self._scratch is None:
            return
        self.flush()
        for writer in self._writers.values():
            writer.close()
        self._scratch.cleanup()
        self._scratch = None


# what tf.summary.scalar sets, without the tensorboard package that it needs
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
)
