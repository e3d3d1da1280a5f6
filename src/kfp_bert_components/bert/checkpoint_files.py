"""The files of a checkpoint folder. Each one that can't be used is named in one sentence."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from kfp_bert_components.errors import UserError

INDEX = "model.safetensors.index.json"

_POINTER = b"version https://git-lfs.github.com/spec/"
_FLOATS = ("F16", "BF16", "F32", "F64")
_PICKLED = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.pt",
    "tf_model.h5",
    "model.ckpt.index",
    "bert_model.ckpt.index",
    "flax_model.msgpack",
)


def reason(error: Exception) -> str:
    """The first line of an error of another library."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def refuse_pointer(path: Path) -> None:
    """Check that a file is there itself, and not only a Git LFS pointer to it.

    Raises:
        UserError: It is a pointer or no file, or can't be read.
    """
    if not path.is_file():  # a pipe would never be read to its end
        raise UserError(f"{path} is no file: give the folder of a Hugging Face checkpoint")
    try:
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): give a folder with readable files") from error
    if start == _POINTER:
        raise UserError(
            f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` where the folder was cloned"
        )


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: The file.
        what: What it should be, for errors: "the index of the weights".

    Raises:
        UserError: The file can't be read, or holds anything else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): give a folder with readable files") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not {what}: it is cut or damaged ({error}); download it again") from error
    if not isinstance(value, dict):
        raise UserError(
            f"{path} is not {what}: it holds a {type(value).__name__} in place of a JSON object; download it again"
        )
    return value


class TensorFiles:
    """The tensors of a checkpoint folder, by names without the prefix `bert.` and the old `gamma` and `beta`.

    Args:
        folder: Holds model.safetensors, or its shards and their index.

    Raises:
        UserError: There are no safetensors files, or one of them or the index is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self._folder = folder
        self._where: dict[str, tuple[Any, str, Path]] = {}
        for path in _weight_files(folder):
            refuse_pointer(path)
            try:
                file = safe_open(path, framework="numpy")
            except Exception as error:
                raise UserError(
                    f"{path} is cut or damaged: it can't be read as safetensors ({reason(error)}); download it again"
                ) from error
            for name in file.keys():  # noqa: SIM118  (safe_open is no dict)
                self._where[_plain(name)] = (file, name, path)

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def __iter__(self) -> Any:
        return iter(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, of which only the file's header is read."""
        file, stored, _ = self._find(name)
        return tuple(file.get_slice(stored).get_shape())

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Check that a tensor is there and has this shape, of which only the file's header is read.

        Raises:
            UserError: It is not, has another shape, or holds other numbers than floating point.
        """
        file, stored, path = self._find(name)
        kind = file.get_slice(stored).get_dtype()
        if kind not in _FLOATS:
            raise UserError(
                f"{path}: the weight {stored!r} is of type {kind} and only {', '.join(_FLOATS)} are read: give a "
                "checkpoint that is not quantized"
            )
        if self.shape(name) != shape:
            raise UserError(
                f"{path}: the weight {stored!r} has shape {self.shape(name)} in the file and {shape} by config.json: "
                "the two do not belong together, download the checkpoint again"
            )

    def read(self, name: str) -> np.ndarray:
        """The values of a tensor, float32."""
        file, stored, _ = self._find(name)
        return np.asarray(file.get_tensor(stored)).astype(np.float32)

    def _find(self, name: str) -> tuple[Any, str, Path]:
        if name not in self._where:
            raise UserError(
                f"{self._folder} has no weight {name!r}, which a BERT with this config.json needs: "
                "give a complete BERT checkpoint"
            )
        return self._where[name]


def _plain(name: str) -> str:
    name = name.removeprefix("bert.")
    return re.sub(r"LayerNorm\.(gamma|beta)$", lambda m: "LayerNorm." + {"gamma": "weight", "beta": "bias"}[m[1]], name)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if (folder / INDEX).exists():
        return _shards(folder / INDEX)
    pickled = [name for name in _PICKLED if (folder / name).exists()]
    if pickled:
        raise UserError(
            f"{folder} holds its weights only as {pickled[0]}, which is not read because such a file can run "
            "code: convert it once where you trust it, with transformers and torch: "
            "AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)"
        )
    raise UserError(f"{folder} holds no model.safetensors: give the folder of a Hugging Face checkpoint")


def _shards(index: Path) -> list[Path]:
    places = read_object(index, "the index of the weights").get("weight_map")
    names = list(places.values()) if isinstance(places, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise UserError(f"{index} has no weight_map that names the file of each weight: download the checkpoint again")
    for name in sorted(set(names)):
        if not (index.parent / name).is_file():
            raise UserError(f"{index.parent} lacks {name}, which {index.name} names: download the checkpoint again")
    return [index.parent / name for name in sorted(set(names))]
