"""A trained model on disk: bundle.json, model.onnx and saved_model/ to serve, huggingface/ for transformers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.quiet import quietly
from kfp_bert_components.records import check_types, load_record, require

if TYPE_CHECKING:
    import numpy as np

FORMAT = 2  # format 1 knows nothing of engines: all of its bundles hold a SavedModel, and no model.onnx
BUNDLE_JSON = "bundle.json"
ONNX, TENSORFLOW = "onnxruntime", "tensorflow"
SAME = 1e-5  # most that a probability may differ between two engines that stand for each other


MODEL, OWN_WEIGHTS = "model.onnx", "model.onnx.data"
WEIGHTS, TOKENIZER = "huggingface/model.safetensors", "huggingface/tokenizer.json"
_SAVED_MODEL = "saved_model/"


@dataclass(frozen=True)
class _Engine:
    """What a bundle says of an engine."""

    precision: str
    largest_change: float = 1.0


_TYPES = {
    **dict.fromkeys(("fingerprint", "truncation", "precision", "base_model", "data_fingerprint"), str),
    "labels": list[str],
    "pair": bool,
    "engines": dict[str, _Engine],
    "max_length": int,
    "parameters": dict[str, Any],
    "versions": dict[str, str],
    "registry_version": int,  # of a served version
}


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

    @property
    def engines(self) -> dict[str, dict[str, Any]]:
        """By engine that the bundle can be served with: its `precision`, and what its export showed of it.

        `largest_change` is the most that a probability differs from the trained network's, in float32, on the texts
        that were looked at.
        """
        return dict(self.metadata["engines"])

    @property
    def engine(self) -> str:
        """The engine that our server takes: ONNX Runtime where the bundle has a model for it, else TensorFlow."""
        return ONNX if ONNX in self.engines else TENSORFLOW

    @property
    def size_bytes(self) -> int:
        """Size of the files that `engine` needs."""
        names = [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()]
        needed = [name for name in served_files(names) if name.startswith(_SAVED_MODEL) == (self.engine == TENSORFLOW)]
        return sum((self.folder / name).stat().st_size for name in needed)

    def differs(self, engine: str, evaluated: str) -> str:
        """Why an engine may not serve what was evaluated with another one, as a sentence; "" where it may.

        Args:
            engine: The engine that is to serve.
            evaluated: The engine that the evaluation was made with.
        """
        if engine == evaluated:
            return ""
        if engine not in self.engines:
            return f"it was exported in {self.metadata['precision']}, and holds nothing for the engine {engine}"
        for name in (engine, evaluated):
            change = self.engines.get(name, {}).get("largest_change", 1.0)
            if not change <= SAME:
                return (
                    f"it was evaluated with the engine {evaluated}, and {engine} was not shown to give the same "
                    f"probabilities: at its export those of {name} moved by {change:.1e}, more than {SAME:.0e}"
                )
        return ""

    def predict(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, batch_size: int = 32, engine: str = ""
    ) -> "np.ndarray":
        """Probabilities of the classes, by model.onnx or by the SavedModel's serving signature.

        Args:
            texts: The (first) texts.
            pairs: The second texts, for a model of pairs.
            batch_size: Texts in one call; texts of similar length share a call.
            engine: "onnxruntime" or "tensorflow"; by default the one that our server takes.

        Returns:
            float32 [texts, classes], in the order of `labels`.

        Raises:
            UserError: The model takes pairs and got none, or the other way round; an answer has another shape; or the
                bundle can't be served with the engine.
        """
        if self.metadata["pair"] != (pairs is not None):
            wanted = "pairs of texts" if self.metadata["pair"] else "single texts"
            raise UserError(f"the model in {self.folder} was trained on {wanted}: give it the same kind of data")
        engine = engine or self.engine
        if engine not in self.engines:
            known = " or ".join(self.engines)
            raise UserError(f"the model in {self.folder} has nothing for the engine {engine!r}: choose {known}")
        if engine == ONNX:
            return self._onnx_model.predict(texts, pairs, batch_size)
        return self._predict_saved_model(texts, pairs, batch_size)

    def _predict_saved_model(self, texts: Sequence[str], pairs: Sequence[str] | None, batch_size: int) -> "np.ndarray":
        import numpy as np

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
    def _onnx_model(self) -> Any:
        from kfp_bert_components.bert.onnx_model import OnnxModel

        return OnnxModel(self.folder, spinning=False)  # a pod may have a CPU limit

    @cached_property
    def _saved_model(self) -> Any:
        from kfp_bert_components.bert.saved_model import load_saved_model

        with quietly():
            return load_saved_model(self.folder / "saved_model")

    def _serve(self, inputs: dict[str, list[str]]) -> "np.ndarray":
        serve = self._saved_model.signatures["serving_default"]
        import tensorflow as tf

        return serve(**{name: tf.constant(texts) for name, texts in inputs.items()})["probabilities"].numpy()


def served_files(names: Iterable[str]) -> dict[str, str]:
    """What a served version holds of a bundle: all that its engines need, once.

    Args:
        names: The files of a bundle, by their paths in it.

    Returns:
        For each file that is needed its path in the folder of a version, which is a SavedModel's folder.
    """
    known = set(names)
    needed = {name: name.removeprefix(_SAVED_MODEL) for name in sorted(known) if name.startswith(_SAVED_MODEL)}
    if MODEL in known:
        weights = OWN_WEIGHTS if OWN_WEIGHTS in known else WEIGHTS
        needed |= {name: name for name in (MODEL, weights, TOKENIZER) if name in known}
    return needed


def read_bundle(folder: Path) -> Bundle:
    """Read a model bundle; the model is loaded at the first prediction.

    Raises:
        NotFoundError: There is no bundle.json.
        UserError: It is no JSON object, lacks labels or fingerprint, or is of a format that this version does not know.
    """
    from kfp_bert_components.storage import is_there

    path = Path(folder) / BUNDLE_JSON
    if not is_there(path):
        raise NotFoundError(f"{folder} holds no {BUNDLE_JSON}: give the folder of a model bundle")
    metadata = load_record(path.read_bytes(), str(path), {1: _read_1, 2: _read_2}, "give the folder of a model bundle")
    return Bundle(Path(folder), metadata)


def _read_1(fields: dict[str, Any]) -> dict[str, Any]:
    saved_model = {"precision": fields.get("precision", "float32"), "largest_change": 0.0}
    return _read_2({**fields, "engines": {TENSORFLOW: saved_model}})


def _read_2(fields: dict[str, Any]) -> dict[str, Any]:
    require(fields, ["labels", "pair", "fingerprint", "engines"])
    check_types(fields, _TYPES)
    return fields
