"""Writes a model bundle, after checks that what is served answers as what was trained."""

import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.bert.bundle import BUNDLE_JSON, FORMAT, ONNX, TENSORFLOW
from kfp_bert_components.errors import UserError
from kfp_bert_components.records import dump_record

if TYPE_CHECKING:
    from kfp_bert_components.bert.classifier import Classifier

PRECISIONS = ("float32", "bfloat16", "int8")


def write_bundle(
    folder: Path,
    classifier: "Classifier",
    *,
    max_length: int,
    base_model: str,
    parameters: dict[str, Any],
    data_fingerprint: str,
    pair: bool,
    check_texts: Sequence[Any] = (),
    held_out: Sequence[Any] = (),
    truncation: str = "head",
    precision: str = "float32",
    data_profile: Path | None = None,
) -> None:
    """Write a model bundle, after checks that the served model answers like the trained model.

    On all `check_texts`, the tokenizer in the graph must give the same ids as the tokenizer of transformers. On up to
    256 of the texts `held_out`, each engine must answer like the network: in float32 its logits may differ by 1e-5.
    bundle.json says how much they differ.

    Args:
        folder: Where to write; may be a mount of Cloud Storage.
        classifier: The trained classifier.
        max_length: Largest number of tokens of a text (or pair), special tokens included.
        base_model: Checkpoint from which the model was fine-tuned; "" for a network that was trained from scratch.
        parameters: Parameters of the training, for the record: plain JSON values.
        data_fingerprint: Fingerprint of the training data.
        pair: Whether the model takes two texts.
        check_texts: Texts on which the tokenizer in the graph is compared with the tokenizer of transformers, in
            addition to a few hard texts. Give the training and validation texts; for a model of pairs, tuples of two.
        held_out: Texts on which the answers of the engines are compared with the answers of the network. Give the
            validation texts. Default: `check_texts`, or a few hard texts if there are none.
        truncation: What stays of a longer text: "head" or "head_tail"; see `bert.tokens.encode`.
        precision: Precision of the served model. "float32" is served by ONNX Runtime (model.onnx) and by TensorFlow
            (saved_model/). "bfloat16" is served by TensorFlow: its graph is half as large, and faster on processors
            with bfloat16 arithmetic. "int8" is served by ONNX Runtime on x86-64: the matrices of its layers have 8 bits
            a weight, which makes single texts faster. huggingface/ is float32 in any case.
        data_profile: File that describes the training data, kept in the bundle so that later data can be compared
            with it; left out where it does not exist.

    Raises:
        UserError: The tokenizer in the graph gives other ids than transformers' for one of the texts,
            `max_length` is more than the network takes, or an engine answers differently: in float32 a logit by more
            than 1e-5, in bfloat16 a probability by more than 0.02, in int8 by more than 0.1.
    """
    from kfp_bert_components.bert import checkpoint, export
    from kfp_bert_components.bert.export_checks import (
        check_onnx,
        check_servable,
        columns,
        compared,
        network_logits,
        spread_sample,
    )
    from kfp_bert_components.bert.onnx_graph import write_graph
    from kfp_bert_components.bert.tokenizer import save_tokenizer
    from kfp_bert_components.storage import publish_folder

    if precision not in PRECISIONS:
        raise UserError(f"precision is {precision!r}: choose one of {', '.join(PRECISIONS)}")
    wordpiece = check_servable(
        classifier.config, classifier.tokenizer, check_texts, max_length=max_length, truncation=truncation, pair=pair
    )
    sample = columns(spread_sample(held_out or check_texts, pair), pair)
    tokens = classifier.tokenize(*sample, max_length=max_length, truncation=truncation)
    expected = network_logits(classifier.model, tokens)
    settings = {
        "labels": classifier.labels,
        "max_length": max_length,
        "pair": pair,
        "truncation": truncation,
        "precision": precision,
    }
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        huggingface = scratch / "huggingface"
        huggingface.mkdir()
        checkpoint.save_weights(classifier.model, huggingface)
        save_tokenizer(classifier.tokenizer, huggingface, max_length)
        engines: dict[str, Any] = {}
        if precision != "int8":
            served = classifier.model if precision == "float32" else export.in_bfloat16(classifier.model)
            export.save(scratch / "saved_model", served, wordpiece, pair=pair)
            # the SavedModel is traced from this network, which therefore stands for it
            answers = expected if served is classifier.model else network_logits(served, tokens)
            engines[TENSORFLOW] = compared(precision, answers, expected)
        if data_profile is not None and data_profile.exists():
            shutil.copyfile(data_profile, scratch / data_profile.name)
        record = {
            **settings,
            "engines": engines,
            "base_model": base_model,
            "parameters": parameters,
            "versions": _versions(),
            "data_fingerprint": data_fingerprint,
            "fingerprint": _fingerprint(huggingface, settings),
        }
        _write_record(scratch, record)
        if precision != "bfloat16":
            write_graph(scratch, classifier.config, precision)
            engines[ONNX] = check_onnx(scratch, sample, tokens, expected)
            _write_record(scratch, record)
        publish_folder(scratch, Path(folder), last=[BUNDLE_JSON])


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    (folder / BUNDLE_JSON).write_text(dump_record(record, FORMAT), encoding="utf-8")


def _versions() -> dict[str, str]:
    names = (
        "kfp-bert-components",
        "tensorflow",
        "tensorflow-cpu",
        "keras",
        "transformers",
        "tokenizers",
        "onnx",
        "onnxruntime",
        "numpy",
    )
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _fingerprint(huggingface: Path, settings: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, ensure_ascii=False).encode())
    for path in sorted(huggingface.iterdir()):
        digest.update(f"\n{path.name}\n".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
