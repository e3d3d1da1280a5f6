"""Reads weights from the files of a Hugging Face checkpoint into the network, and writes them."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.encoder import BertClassifier
from kfp_bert_components.errors import UserError

_PICKLED = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.pt",
    "tf_model.h5",
    "model.ckpt.index",
    "bert_model.ckpt.index",
    "flax_model.msgpack",
)


def read_config(folder: Path) -> BertConfig:
    """The config of a checkpoint folder.

    Raises:
        UserError: There is no readable config.json, or it is not one of a BERT that this library knows.
    """
    path = folder / "config.json"
    if not path.exists():
        raise UserError(f"{folder} holds no config.json: give the folder of a Hugging Face checkpoint")
    try:
        return BertConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is not the config of a BERT checkpoint ({error}): download it again") from error


def load_weights(model: BertClassifier, folder: Path, saved: BertConfig) -> bool:
    """Fill a network from the safetensors files of a checkpoint folder.

    All weights of the encoder must be there. The pooler may be missing (a masked language model has none); it keeps its
    fresh weights then. The head is taken where the checkpoint's labels are the same set as the network's.

    Args:
        model: The network, with fresh weights.
        folder: Holds model.safetensors, or its shards and their index.
        saved: The checkpoint's own config.

    Returns:
        Whether the head was taken from the checkpoint.

    Raises:
        UserError: No safetensors file, or a weight is missing or has another shape.
    """
    tensors = _Tensors(folder)
    ours = {weight.path.split("/", 1)[1]: weight for weight in model.trainable_variables}
    for path, names in _layout(model.config):
        if path.startswith("encoder/pooler") and not all(name in tensors for name in names):
            continue
        _assign(ours[path], [tensors.read(name) for name in names], folder)
    return _load_head(ours, tensors, saved.labels, model.config.labels)


def save_weights(model: BertClassifier, folder: Path) -> None:
    """Write config.json and model.safetensors (float32) in the form of transformers' BertForSequenceClassification."""
    from safetensors.numpy import save_file

    ours = {weight.path.split("/", 1)[1]: weight for weight in model.trainable_variables}
    tensors = {}
    for path, names in [*_layout(model.config), *_HEAD]:
        value = np.asarray(ours[path]).astype(np.float32)
        for name, part in zip(names, np.split(value, len(names), axis=-1), strict=True):
            full = name if name.startswith("classifier") else f"bert.{name}"
            tensors[full] = np.ascontiguousarray(part.T if path.endswith("kernel") else part)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.dumps(dataclasses.replace(model.config).to_dict(), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


_HEAD = [("head/kernel", ["classifier.weight"]), ("head/bias", ["classifier.bias"])]


def _layout(config: BertConfig) -> Iterator[tuple[str, list[str]]]:
    """For each weight of the encoder its path in our network, and the names of the checkpoint's tensors that make it.

    Where there are several (query, key, value), our weight is all of them side by side.
    """
    yield "encoder/embeddings/word", ["embeddings.word_embeddings.weight"]
    yield "encoder/embeddings/position", ["embeddings.position_embeddings.weight"]
    yield "encoder/embeddings/token_type", ["embeddings.token_type_embeddings.weight"]
    yield from _norm("encoder/embeddings/norm", "embeddings.LayerNorm")
    for i in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layer_{i}", f"encoder.layer.{i}"
        yield from _dense(f"{ours}/attention/qkv", *(f"{theirs}.attention.self.{n}" for n in ("query", "key", "value")))
        yield from _dense(f"{ours}/attention_output", f"{theirs}.attention.output.dense")
        yield from _norm(f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm")
        yield from _dense(f"{ours}/intermediate", f"{theirs}.intermediate.dense")
        yield from _dense(f"{ours}/output", f"{theirs}.output.dense")
        yield from _norm(f"{ours}/output_norm", f"{theirs}.output.LayerNorm")
    yield from _dense("encoder/pooler", "pooler.dense")


def _dense(ours: str, *theirs: str) -> Iterator[tuple[str, list[str]]]:
    yield f"{ours}/kernel", [f"{name}.weight" for name in theirs]
    yield f"{ours}/bias", [f"{name}.bias" for name in theirs]


def _norm(ours: str, theirs: str) -> Iterator[tuple[str, list[str]]]:
    yield f"{ours}/gamma", [f"{theirs}.weight"]
    yield f"{ours}/beta", [f"{theirs}.bias"]


def _assign(weight: Any, parts: list[np.ndarray], folder: Path) -> None:
    if weight.path.endswith("kernel"):
        parts = [part.T for part in parts]
    value = np.concatenate(parts, axis=-1)
    if value.shape != tuple(weight.shape):
        raise UserError(
            f"{folder}: the weight {weight.path} has shape {value.shape} in the file and {tuple(weight.shape)} "
            "by config.json: the two do not belong together, download the checkpoint again"
        )
    weight.assign(value)


def _load_head(ours: dict[str, Any], tensors: "_Tensors", saved: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    (_, (kernel,)), (_, (bias,)) = _HEAD
    if sorted(saved) != sorted(labels) or kernel not in tensors or bias not in tensors:
        return False
    weight = tensors.read(kernel)
    if weight.shape != (len(labels), ours["head/kernel"].shape[0]):
        return False
    order = [saved.index(label) for label in labels]
    ours["head/kernel"].assign(weight[order].T)
    ours["head/bias"].assign(tensors.read(bias)[order])
    return True


class _Tensors:
    """The tensors of a checkpoint folder, by names without the prefix `bert.` and the old `gamma` and `beta`."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self._folder = folder
        self._where: dict[str, tuple[Any, str]] = {}
        for path in _weight_files(folder):
            try:
                file = safe_open(path, framework="numpy")
            except Exception as error:
                raise UserError(f"{path} can't be read as safetensors ({error}): download it again") from error
            for name in file.keys():  # noqa: SIM118  (safe_open is no dict)
                self._where[_plain(name)] = (file, name)

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def read(self, name: str) -> np.ndarray:
        if name not in self._where:
            raise UserError(
                f"{self._folder} has no weight {name!r}, which a BERT with this config.json needs: "
                "give a complete BERT checkpoint"
            )
        file, stored = self._where[name]
        return np.asarray(file.get_tensor(stored)).astype(np.float32)


def _plain(name: str) -> str:
    name = name.removeprefix("bert.")
    return re.sub(r"LayerNorm\.(gamma|beta)$", lambda m: "LayerNorm." + {"gamma": "weight", "beta": "bias"}[m[1]], name)


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if index.exists():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        for name in names:
            if not (folder / name).exists():
                raise UserError(f"{folder} lacks {name}, which {index.name} names: download the checkpoint again")
        return [folder / name for name in names]
    pickled = [name for name in _PICKLED if (folder / name).exists()]
    if pickled:
        raise UserError(
            f"{folder} holds its weights only as {pickled[0]}, which is not read because such a file can run "
            "code: convert it once where you trust it, with transformers and torch: "
            "AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)"
        )
    raise UserError(f"{folder} holds no model.safetensors: give the folder of a Hugging Face checkpoint")
