"""Reads weights from the files of a Hugging Face checkpoint into the network, and writes them."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kfp_bert_components.bert.checkpoint_files import TensorFiles, read_object
from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.tokenizer import load_tokenizer
from kfp_bert_components.bert.tokenizer_files import tokenizer_notes
from kfp_bert_components.errors import UserError

if TYPE_CHECKING:
    from kfp_bert_components.bert.encoder import BertClassifier

KERNEL, BIAS = "classifier.weight", "classifier.bias"  # of the classification head


def read_config(folder: Path) -> BertConfig:
    """The config of a checkpoint folder.

    Raises:
        UserError: There is no readable config.json, or it is not one of a BERT that this library knows.
    """
    path = folder / "config.json"
    if not path.exists():
        raise UserError(f"{folder} holds no config.json: give the folder of a Hugging Face checkpoint")
    values = read_object(path, "the config of a BERT checkpoint")
    try:
        return BertConfig.from_dict(values)
    except UserError as error:
        raise UserError(f"{path} can't be used: {error}") from error


def read_checkpoint(
    folder: Path, labels: Sequence[str], texts: Sequence[str] = ()
) -> tuple[BertConfig, Any, list[str]]:
    """Read all of a checkpoint folder but the values of its weights, and check that a classifier can be made of it.

    Args:
        folder: From `source.checkpoint_folder`.
        labels: The classes of the network to be made, in the order of the logits.
        texts: Texts that it will be used for; see `bert.tokenizer.load_tokenizer`.

    Returns:
        Its config, its transformers tokenizer, and sentences on what a user might not expect.

    Raises:
        UserError: A file is missing or damaged, or the checkpoint is not one of a BERT that this library knows.
    """
    config = read_config(folder)
    tokenizer = load_tokenizer(folder, config, texts)
    return config, tokenizer, [*check_weights(folder, config, labels), *tokenizer_notes(tokenizer, config)]


def check_weights(folder: Path, saved: BertConfig, labels: Sequence[str]) -> list[str]:
    """Check that a checkpoint folder holds all weights of the encoder, in the shapes of its config.

    Only the headers of the files are read: no memory is taken for a network that can't be filled.

    Args:
        folder: Holds model.safetensors, or its shards and their index.
        saved: The checkpoint's own config.
        labels: The classes of the network to be made, in the order of the logits.

    Returns:
        Sentences on what becomes of the weights that the encoder does not need.

    Raises:
        UserError: No safetensors file, or a weight is missing or has another shape.
    """
    tensors = TensorFiles(folder)
    for path, names, shape in _layout(saved):
        if not _fresh_pooler(path, names, tensors):
            for name in names:
                tensors.check(name, shape)
    _, head = head_rows(tensors, saved, labels)
    layers = {name.split(".")[2] for name in tensors if name.startswith("encoder.layer.")}
    if len(layers) == saved.num_hidden_layers:
        return [head]
    return [head, f"of {len(layers)} layers config.json asks for the first {saved.num_hidden_layers}"]


def load_weights(model: "BertClassifier", folder: Path, saved: BertConfig) -> bool:
    """Fill a network from the safetensors files of a checkpoint folder that `check_weights` accepts.

    The pooler may be missing (a masked language model has none); it keeps its fresh weights then. The head is taken
    as `head_rows` says.

    Args:
        model: The network, with fresh weights.
        folder: Holds model.safetensors, or its shards and their index.
        saved: The checkpoint's own config.

    Returns:
        Whether the head was taken from the checkpoint.

    Raises:
        UserError: No safetensors file, or a weight is missing.
    """
    tensors = TensorFiles(folder)
    ours = {weight.path.split("/", 1)[1]: weight for weight in model.trainable_variables}
    for path, names, _ in _layout(model.config):
        if not _fresh_pooler(path, names, tensors):
            parts = [tensors.read(name) for name in names]
            ours[path].assign(np.concatenate([part.T for part in parts] if path.endswith("kernel") else parts, axis=-1))
    rows, _ = head_rows(tensors, saved, model.config.labels)
    if rows is not None:
        ours["head/kernel"].assign(tensors.read(KERNEL)[rows].T)
        ours["head/bias"].assign(tensors.read(BIAS)[rows])
    return rows is not None


def head_rows(tensors: TensorFiles, saved: BertConfig, labels: Sequence[str]) -> tuple[list[int] | None, str]:
    """Which rows of a checkpoint's classification head belong to the labels, in their order.

    The head is kept where its labels are the same set. It is also kept where its labels are only numbered (LABEL_0,
    LABEL_1, ..., which transformers writes for labels without names) and there are as many: they are taken in order.

    Args:
        tensors: The checkpoint's weights.
        saved: Its config.
        labels: The classes, in the order of the logits.

    Returns:
        The rows, or None where the head starts fresh; and a sentence that says which, and why.
    """
    if KERNEL not in tensors or BIAS not in tensors:
        return None, "the classification head starts fresh: the checkpoint has none"
    (rows,) = tensors.shape(BIAS)[:1] or (0,)
    names = list(saved.labels) or [f"LABEL_{i}" for i in range(rows)]
    if (tensors.shape(KERNEL), tensors.shape(BIAS)) != ((len(names), saved.hidden_size), (len(names),)):
        return None, "the classification head starts fresh: that of the checkpoint does not fit its config.json"
    if sorted(names) == sorted(labels):
        return [names.index(label) for label in labels], "the classification head is kept: its labels are the same"
    if names == [f"LABEL_{i}" for i in range(len(labels))]:
        pairs = ", ".join(f"{name} is {label!r}" for name, label in zip(names, labels, strict=True))
        return list(range(rows)), f"the classification head is kept, its labels taken in order: {pairs}"
    return None, f"the classification head starts fresh: that of the checkpoint is for the {rows} labels {names}"


def save_weights(model: "BertClassifier", folder: Path) -> None:
    """Write config.json and model.safetensors (float32) in the form of transformers' BertForSequenceClassification."""
    from safetensors.numpy import save_file

    ours = {weight.path.split("/", 1)[1]: weight for weight in model.trainable_variables}
    tensors = {}
    for path, names in [*((path, names) for path, names, _ in _layout(model.config)), *_HEAD]:
        value = np.asarray(ours[path]).astype(np.float32)
        for name, part in zip(names, np.split(value, len(names), axis=-1), strict=True):
            full = name if name.startswith("classifier") else f"bert.{name}"
            tensors[full] = np.ascontiguousarray(part.T if path.endswith("kernel") else part)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.dumps(dataclasses.replace(model.config).to_dict(), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


_HEAD = [("head/kernel", [KERNEL]), ("head/bias", [BIAS])]


def _layout(config: BertConfig) -> Iterator[tuple[str, list[str], tuple[int, ...]]]:
    """For each weight of the encoder its path in our network, the names of the checkpoint's tensors that make it, and
    the shape of each of these.

    Where there are several (query, key, value), our weight is all of them side by side.
    """
    width, inner = config.hidden_size, config.intermediate_size
    yield "encoder/embeddings/word", ["embeddings.word_embeddings.weight"], (config.vocab_size, width)
    yield (
        "encoder/embeddings/position",
        ["embeddings.position_embeddings.weight"],
        (config.max_position_embeddings, width),
    )
    yield "encoder/embeddings/token_type", ["embeddings.token_type_embeddings.weight"], (config.type_vocab_size, width)
    yield from _norm("encoder/embeddings/norm", "embeddings.LayerNorm", width)
    for i in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layer_{i}", f"encoder.layer.{i}"
        parts = [f"{theirs}.attention.self.{name}" for name in ("query", "key", "value")]
        yield from _dense(f"{ours}/attention/qkv", parts, (width, width))
        yield from _dense(f"{ours}/attention_output", [f"{theirs}.attention.output.dense"], (width, width))
        yield from _norm(f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm", width)
        yield from _dense(f"{ours}/intermediate", [f"{theirs}.intermediate.dense"], (inner, width))
        yield from _dense(f"{ours}/output", [f"{theirs}.output.dense"], (width, inner))
        yield from _norm(f"{ours}/output_norm", f"{theirs}.output.LayerNorm", width)
    yield from _dense("encoder/pooler", ["pooler.dense"], (width, width))


def _dense(ours: str, theirs: list[str], shape: tuple[int, int]) -> Iterator[tuple[str, list[str], tuple[int, ...]]]:
    yield f"{ours}/kernel", [f"{name}.weight" for name in theirs], shape
    yield f"{ours}/bias", [f"{name}.bias" for name in theirs], shape[:1]


def _norm(ours: str, theirs: str, width: int) -> Iterator[tuple[str, list[str], tuple[int, ...]]]:
    yield f"{ours}/gamma", [f"{theirs}.weight"], (width,)
    yield f"{ours}/beta", [f"{theirs}.bias"], (width,)


def _fresh_pooler(path: str, names: list[str], tensors: TensorFiles) -> bool:
    """Whether this weight is one of a pooler that the checkpoint does not have."""
    return path.startswith("encoder/pooler") and not all(name in tensors for name in names)
