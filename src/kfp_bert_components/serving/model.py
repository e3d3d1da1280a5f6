"""A model that TensorFlow answers: a loaded SavedModel. With `compiled`, the only module that needs TensorFlow."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from kfp_bert_components.bert.saved_model import load_saved_model
from kfp_bert_components.errors import UserError
from kfp_bert_components.quiet import quietly
from kfp_bert_components.serving.compiled import CompiledNetwork
from kfp_bert_components.serving.engines import Answers, Instance, Threads
from kfp_bert_components.serving.versions import ModelVersion

SIGNATURE = "serving_default"


class Model:
    """A SavedModel's serving signature as a function from instances to predictions; see `engines.Engine`.

    Attributes:
        version: The version that is loaded.
        inputs: Names of the texts in an instance: text, and text_pair for a model of pairs.
        labels: The classes in the order of the probabilities, as the version's bundle.json says; () without one.
        max_length: As there; 512 without one.
        compiled: Answers single short texts once `compile` has run; None for a SavedModel that can't be compiled.

    Args:
        version: The SavedModel to load.
        batch_size: Most texts in one call of the signature.
        threads: How many threads one call uses. It holds for the whole process, from its first use of TensorFlow on;
            None leaves that to TensorFlow.

    Raises:
        UserError: The folder cannot be loaded, or has no signature that takes `text` and gives `probabilities` and
            `label`.
    """

    name = "tensorflow"

    def __init__(self, version: ModelVersion, batch_size: int = 64, threads: Threads | None = None) -> None:
        with quietly():
            import tensorflow as tf

            tf.config.list_physical_devices()  # TensorFlow looks for GPUs here

        if threads:
            with suppress(RuntimeError):  # TensorFlow is in use already
                tf.config.threading.set_intra_op_parallelism_threads(threads.count)
        try:
            self._loaded: Any = load_saved_model(version.folder)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"{version.folder} cannot be loaded as a SavedModel: {error}") from error
        weakref.finalize(self, _destroy, _tables(self._loaded)).atexit = False
        if SIGNATURE not in self._loaded.signatures:
            raise UserError(f"{version.folder} has no signature {SIGNATURE!r}: export the model again.")
        self._signature = self._loaded.signatures[SIGNATURE]
        self.inputs: tuple[str, ...] = tuple(sorted(self._signature.structured_input_signature[1]))
        if "text" not in self.inputs:
            raise UserError(f"{version.folder} takes {', '.join(self.inputs)}: expected an input `text`.")
        outputs = self._signature.structured_outputs
        if missing := {"label", "probabilities"} - set(outputs):
            raise UserError(
                f"{version.folder} gives {', '.join(sorted(outputs))}: expected an output `{min(missing)}`, too."
            )
        self.version = version
        known = version.metadata.get("labels")
        self.labels = tuple(map(str, known)) if isinstance(known, list) else ()
        longest = version.metadata.get("max_length")
        self.max_length = longest if isinstance(longest, int) else 512
        self._batch_size = batch_size
        self.compiled = CompiledNetwork(self._loaded) if CompiledNetwork.is_possible(self._loaded) else None
        self.answer([dict.fromkeys(self.inputs, "warm up")])

    def compile(self) -> Iterator[int]:
        """Compile for single short texts, one length after the other; see `CompiledNetwork.compile`.

        It does nothing for a SavedModel that can't be compiled.
        """
        if self.compiled:
            yield from self.compiled.compile()

    def answer(self, instances: Sequence[Instance]) -> Answers:
        """The answers to some instances."""
        import numpy as np

        starts = range(0, len(instances), self._batch_size)
        parts = [self._answer_batch(instances[start : start + self._batch_size]) for start in starts]
        labels = [label for part in parts for label in part.labels]
        return Answers(labels, np.concatenate([part.probabilities for part in parts]))

    def _answer_batch(self, instances: Sequence[Instance]) -> Answers:
        import tensorflow as tf

        feeds = {name: tf.constant([instance[name] for instance in instances]) for name in self.inputs}
        compiled = self.compiled if len(instances) == 1 else None
        tensors = compiled.predict(feeds) if compiled and compiled.ready else self._signature(**feeds)
        labels = [label.decode("utf-8", "replace") for label in tensors["label"].numpy().tolist()]
        return Answers(labels, tensors["probabilities"].numpy())


def _tables(loaded: Any) -> list[Any]:
    """The handles of a SavedModel's lookup tables, such as a vocabulary."""
    import tensorflow as tf

    parts = tf.train.TrackableView(loaded).descendants()
    return [part.resource_handle for part in parts if hasattr(part, "resource_handle")]


def _destroy(tables: list[Any]) -> None:
    """Give the memory of tables back, which TensorFlow keeps when nobody has their model any more."""
    import tensorflow as tf

    for table in tables:
        tf.raw_ops.DestroyResourceOp(resource=table)
