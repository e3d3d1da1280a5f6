"""A trained model on disk: bundle.json, saved_model/ to serve, huggingface/ for transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.records import load_record

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
BUNDLE_JSON = "bundle.json"


@dataclass(frozen=True)
class Bundle:
    """A model bundle that was read.

    Attributes:
        folder: The folder of the bundle.
        metadata: What bundle.json says, without the number of its format.
    """

    folder: Path
    metadata: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """The classes in the order of the probabilities."""
        return list(self.metadata["labels"])

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and settings: equal for equal models."""
        return str(self.metadata["fingerprint"])

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None, batch_size: int = 32) -> "np.ndarray":
        """Probabilities of the classes, from the SavedModel's serving signature.

        Args:
            texts: The (first) texts.
            pairs: The second texts, for a model of pairs.
            batch_size: Texts in one call; texts of similar length share a call.

        Returns:
            float32 [texts, classes], in the order of `labels`.

        Raises:
            UserError: The model takes pairs and got none, or the other way round; or an answer has another shape.
        """
        import numpy as np

        if self.metadata["pair"] != (pairs is not None):
            wanted = "pairs of texts" if self.metadata["pair"] else "single texts"
            raise UserError(f"the model in {self.folder} was trained on {wanted}: give it the same kind of data")
        columns = {"text": texts} if pairs is None else {"text": texts, "text_pair": pairs}
        sizes = [sum(map(len, row)) for row in zip(*columns.values(), strict=True)]
        order = sorted(range(len(texts)), key=sizes.__getitem__)
        result = np.zeros((len(texts), len(self.labels)), np.float32)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            answer = self._serve({name: [column[i] for i in batch] for name, column in columns.items()})
            if answer.shape != (len(batch), len(self.labels)):
                raise UserError(
                    f"The model in {self.folder} answers {len(batch)} texts with probabilities of the shape "
                    f"{answer.shape}: it must be {(len(batch), len(self.labels))}, a row for each text and in it one "
                    "number for each label; write the model again."
                )
            result[batch] = answer
        return result

    @cached_property
    def _saved_model(self) -> Any:
        from kfp_bert_components.bert.saved_model import load_saved_model

        return load_saved_model(self.folder / "saved_model")

    def _serve(self, inputs: dict[str, list[str]]) -> "np.ndarray":
        import tensorflow as tf

        serve = self._saved_model.signatures["serving_default"]
        return serve(**{name: tf.constant(texts) for name, texts in inputs.items()})["probabilities"].numpy()


def read_bundle(folder: Path) -> Bundle:
    """Read a model bundle; the SavedModel is loaded at the first prediction.

    Raises:
        NotFoundError: There is no bundle.json.
        UserError: It is no JSON object, lacks labels or fingerprint, or is of a format that this version does not know.
    """
    path = Path(folder) / BUNDLE_JSON
    if not path.exists():
        raise NotFoundError(f"{folder} holds no {BUNDLE_JSON}: give the folder of a model bundle")
    metadata = load_record(path.read_bytes(), str(path), {1: _read_1}, "give the folder of a model bundle")
    return Bundle(Path(folder), metadata)


def _read_1(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {name: fields[name] for name in ("labels", "pair", "fingerprint")}  # which must be there
