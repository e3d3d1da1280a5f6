"""A trained model on disk: bundle.json, saved_model/ to serve, huggingface/ for transformers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import NotFoundError, UserError

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1


@dataclass(frozen=True)
class Bundle:
    """A model bundle that was read.

    Attributes:
        folder: Where it lies.
        metadata: The content of bundle.json.
    """

    folder: Path
    metadata: dict[str, Any]
    _loaded: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def labels(self) -> list[str]:
        """The classes in the order of the probabilities."""
        return list(self.metadata["labels"])

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and settings: equal for equal models."""
        return str(self.metadata["fingerprint"])

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None, batch_size: int = 32) -> "np.ndarray":
        """Probabilities of the classes, as the SavedModel's serving signature answers.

        Args:
            texts: The (first) texts.
            pairs: The second texts, for a model of pairs.
            batch_size: Texts a call; texts of like length share one.

        Returns:
            float32 [texts, classes], in the order of `labels`.

        Raises:
            UserError: The model takes pairs and got none, or the other way round.
        """
        import numpy as np

        if self.metadata["pair"] != (pairs is not None):
            wanted = "pairs of texts" if self.metadata["pair"] else "single texts"
            raise UserError(f"the model in {self.folder} was trained on {wanted}: give it the same kind of data")
        signature = self._signature()
        size = (
            [len(text) for text in texts]
            if pairs is None
            else [len(first) + len(second) for first, second in zip(texts, pairs, strict=True)]
        )
        order = sorted(range(len(texts)), key=size.__getitem__)
        result = np.zeros((len(texts), len(self.labels)), np.float32)
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            inputs = {"text": [texts[i] for i in part]}
            if pairs is not None:
                inputs["text_pair"] = [pairs[i] for i in part]
            result[part] = signature(inputs)
        return result

    def _signature(self) -> Any:
        import tensorflow as tf

        if not self._loaded:
            loaded = tf.saved_model.load(str(self.folder / "saved_model"))
            self._loaded.append(loaded)
        serve = self._loaded[0].signatures["serving_default"]
        return lambda inputs: serve(**{name: tf.constant(v) for name, v in inputs.items()})["probabilities"].numpy()


def read_bundle(folder: Path) -> Bundle:
    """Read a model bundle; the SavedModel is loaded at the first prediction.

    Raises:
        NotFoundError: There is no bundle.json.
        UserError: Its format is unknown, or it is no JSON.
    """
    path = Path(folder) / "bundle.json"
    if not path.exists():
        raise NotFoundError(f"{folder} holds no bundle.json: give the folder of a model bundle")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        known = metadata.get("format")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is no JSON object ({error}): give the folder of a model bundle") from error
    if known != FORMAT:
        raise UserError(f"{path} has format {known!r} and this version reads {FORMAT}: update kfp-bert-components")
    return Bundle(Path(folder), metadata)
