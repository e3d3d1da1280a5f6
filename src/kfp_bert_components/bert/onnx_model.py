"""The model.onnx of a bundle or of a served version, answered by ONNX Runtime and `tokenizers`: no TensorFlow."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.bert.bundle import BUNDLE_JSON, MODEL, OWN_WEIGHTS, TOKENIZER, WEIGHTS
from kfp_bert_components.bert.cores import usable_cores
from kfp_bert_components.bert.tokens import Tokens, encode, plain_backend, without_panics
from kfp_bert_components.errors import DamagedError, NotFoundError, UserError
from kfp_bert_components.extras import named_extra
from kfp_bert_components.records import load_record, require

if TYPE_CHECKING:
    import numpy as np

# Of a bundle, and of a version in a serving directory.
METADATA = (BUNDLE_JSON, "assets.extra/bundle.json")
_FIELDS = {"labels": list, "pair": bool, "max_length": int, "truncation": str, "precision": str}
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def has_onnx(folder: Path) -> bool:
    """Whether a folder, of a bundle or of a served version, holds a model for ONNX Runtime."""
    return (folder / MODEL).is_file()


class OnnxModel:
    """A text classifier that is answered by ONNX Runtime. Several threads may ask it at the same time.

    Attributes:
        labels: The classes, in the order of the probabilities.
        pair: Whether it takes two texts.
        max_length: Most tokens of a text (or pair), special tokens included.
        precision: Of the weights: "float32" or "int8".
        metadata: What the bundle.json in the folder says.

    Args:
        folder: A bundle, or a version in a serving directory: `has_onnx` says whether it is one.
        threads: Threads that work on one call; 0: one for each core that this process may use.
        spinning: Whether threads that wait for work use the processor meanwhile. It makes an answer faster on a machine
            of one's own. Turn it off where the processor's time is limited, as by a pod's CPU limit.

    Raises:
        NotFoundError: A file of the model is missing.
        UserError: A file is damaged, or a package is not installed.
    """

    def __init__(self, folder: Path, *, threads: int = 0, spinning: bool = True) -> None:
        self.metadata = _read_metadata(folder)
        self.labels = list(self.metadata["labels"])
        self.pair = bool(self.metadata["pair"])
        self.max_length = int(self.metadata["max_length"])
        self.precision = str(self.metadata["precision"])
        self._truncation = str(self.metadata["truncation"])
        self._tokenizer, self._marks = read_tokenizer(folder / TOKENIZER)
        self._session = open_session(folder / MODEL, threads=threads, spinning=spinning)
        classes = self._session.get_outputs()[0].shape[-1]
        if classes != len(self.labels):
            raise DamagedError(
                f"{folder / MODEL} answers for {classes} classes, and there are {len(self.labels)} labels: "
                "write the model again"
            )

    def tokenize(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tokens:
        """Token ids of texts (or pairs), cut to `max_length`.

        Raises:
            UserError: The model takes pairs and got none, or the other way round.
        """
        if self.pair != (pairs is not None):
            wanted = "pairs of texts" if self.pair else "single texts"
            raise UserError(f"the model takes {wanted}: give it the same kind of data")
        return encode(
            self._tokenizer, self._marks, texts, pairs, max_length=self.max_length, truncation=self._truncation
        )

    def logits(self, tokens: Tokens) -> np.ndarray:
        """Logits of the classes, in one call of the engine: float32 [texts, classes]."""
        return self._session.run(["logits"], padded(tokens))[0]

    def probabilities(self, tokens: Tokens) -> np.ndarray:
        """Probabilities of the classes, in one call of the engine: float32 [texts, classes], in the order of `labels`.

        Args:
            tokens: From `tokenize`, of one text or more. Padding costs little, but texts of similar length belong
                together: attention is computed for the longest.
        """
        import numpy as np

        logits = self.logits(tokens)
        power = np.exp(logits - logits.max(axis=1, keepdims=True))
        return power / power.sum(axis=1, keepdims=True)

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None, batch_size: int = 32) -> np.ndarray:
        """Probabilities of the classes: float32 [texts, classes], in the order of `labels`.

        Args:
            texts: The (first) texts.
            pairs: The second texts, for a model of pairs.
            batch_size: Most texts in one call of the engine; texts of similar length share a call.

        Raises:
            UserError: The model takes pairs and got none, or the other way round.
        """
        import numpy as np

        tokens = self.tokenize(texts, pairs)
        result = np.zeros((len(texts), len(self.labels)), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(tokens.input_ids[i]))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            result[batch] = self.probabilities(select(tokens, batch))
        return result


def select(tokens: Tokens, rows: Sequence[int]) -> Tokens:
    """The tokens of some of the texts, in this order."""
    return Tokens(
        [tokens.input_ids[i] for i in rows],
        [tokens.token_type_ids[i] for i in rows],
        [tokens.lengths[i] for i in rows],
    )


def padded(tokens: Tokens) -> dict[str, np.ndarray]:
    """The inputs of the graph for ragged token ids: int64 [texts, longest] each."""
    import numpy as np

    lengths = [len(ids) for ids in tokens.input_ids]
    ids, mask, types = np.zeros((3, len(lengths), max(lengths)), np.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = tokens.input_ids[row]
        types[row, :length] = tokens.token_type_ids[row]
        mask[row, :length] = 1
    return dict(zip(INPUTS, (ids, mask, types), strict=True))


def open_session(path: Path, *, threads: int = 0, spinning: bool = True) -> Any:
    """An ONNX Runtime session on the processor; see `OnnxModel`.

    Raises:
        NotFoundError: There is no such file.
        UserError: ONNX Runtime is not installed, or a file can't be read or loaded.
    """
    with named_extra():
        import onnxruntime

    if not path.is_file():
        raise NotFoundError(f"{path} is missing: give a bundle, or a version in a serving directory, that holds one")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.log_severity_level = 3  # errors; they are raised, too
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    # The session maps the weights, so whoever writes to their file changes its answers, or ends the process. It gets
    # a file that nobody else knows, and that the system removes with the session.
    with _own_copy(path.parent) as folder:
        try:
            return onnxruntime.InferenceSession(f"{folder}/{MODEL}", options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class
            reason = str(error).strip().splitlines()[0].replace(str(folder), str(path.parent))
            raise DamagedError(f"{path} can't be loaded by ONNX Runtime {onnxruntime.__version__}: {reason}") from error


@contextmanager
def _own_copy(folder: Path) -> Iterator[Path]:
    """The folder of a copy of the model; the model's own where there is no temporary folder.

    So it is in a container whose root file system is read-only and which has no /tmp.
    """
    with ExitStack() as stack:
        try:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kfp-bert-model-")))
        except FileNotFoundError:
            yield folder
            return
        _copy_model(folder, scratch)
        yield scratch


def _copy_model(folder: Path, target: Path) -> None:
    weights = OWN_WEIGHTS if (folder / OWN_WEIGHTS).is_file() else WEIGHTS
    for name in (MODEL, weights):
        if (folder / name).is_file():  # else the engine says what it misses
            _check_readable(folder / name)
            (target / name).parent.mkdir(exist_ok=True)
            try:
                shutil.copyfile(folder / name, target / name)
            except OSError as error:
                raise UserError(
                    f"{folder / name} can't be copied to {target} ({error.strerror}): make room there, or set TMPDIR "
                    "to another folder"
                ) from error


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): check its permissions") from error


def _read_metadata(folder: Path) -> dict[str, Any]:
    """The fields of the folder's bundle.json that the model needs, and all others."""
    path = next((folder / name for name in METADATA if (folder / name).is_file()), None)
    if path is None:
        raise NotFoundError(f"{folder} holds no {METADATA[0]}: give a bundle, or a version in a serving directory")
    _check_readable(path)
    return load_record(path.read_bytes(), str(path), {1: _read, 2: _read}, "write the model again")


def _read(fields: dict[str, Any]) -> dict[str, Any]:
    require(fields, _FIELDS)
    for name, kind in _FIELDS.items():  # by hand, as pydantic may not be installed where models only answer
        if not isinstance(fields[name], kind):
            raise ValueError(f"{name} is {fields[name]!r}")
    return fields


def read_tokenizer(path: Path) -> tuple[Any, tuple[int, int]]:
    """The tokenizer, and the ids of the tokens that begin and end a text."""
    with named_extra():
        from tokenizers import Tokenizer

    if not path.is_file():
        raise NotFoundError(f"{path} is missing: give a bundle, or a version in a serving directory, that is whole")
    _check_readable(path)
    try:
        with without_panics():
            backend = plain_backend(Tokenizer.from_file(str(path)))
            first, last = backend.encode("").ids
    except Exception as error:  # of one class, Exception
        raise DamagedError(f"{path} is damaged ({str(error).splitlines()[0]}): write the model again") from error
    return backend, (first, last)
