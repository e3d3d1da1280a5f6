"""Writes a model bundle, after checks that what is served answers as what was trained."""

import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.bert.bundle import BUNDLE_JSON, FORMAT
from kfp_bert_components.errors import UserError
from kfp_bert_components.records import dump_record

if TYPE_CHECKING:
    from kfp_bert_components.bert.classifier import Classifier

PRECISIONS = ("float32", "bfloat16")
BFLOAT16_MOST = 0.02  # most that a probability may change by serving in bfloat16
BFLOAT16_TEXTS = 256  # texts on which this is measured


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
    truncation: str = "head",
    precision: str = "float32",
    data_profile: Path | None = None,
) -> None:
    """Write a model bundle, after a check that its tokenizer gives the ids that the model was trained on.

    Args:
        folder: Where to write; may be a mount of Cloud Storage.
        classifier: The trained classifier.
        max_length: Most tokens of a text (or pair), special tokens included.
        base_model: What it was fine-tuned from; "" for a network that was trained from scratch.
        parameters: What it was trained with, for the record: plain JSON values.
        data_fingerprint: Fingerprint of the training data.
        pair: Whether the model takes two texts.
        check_texts: Texts on which the tokenizer in the graph is compared with transformers', beside a few hard ones:
            the training and validation texts; for a model of pairs, tuples of two.
        truncation: What stays of a longer text: "head" or "head_tail"; see `bert.tokenizer.tokenize`.
        precision: Of the served graph: "float32", or "bfloat16", which makes it half as large, and faster on processors
            with bfloat16 arithmetic. huggingface/ is float32 in either case.
        data_profile: File that describes the training data, kept in the bundle so that later data can be compared
            with it; left out where it does not exist.

    Raises:
        UserError: The tokenizer in the graph gives other ids than transformers' for one of the texts,
            `max_length` is more than the network takes, or bfloat16 changes a probability by more than
            BFLOAT16_MOST.
    """
    from kfp_bert_components.bert import checkpoint, export
    from kfp_bert_components.bert.export_checks import check_servable, columns, greatest_change
    from kfp_bert_components.bert.tokenizer import save_tokenizer
    from kfp_bert_components.storage import publish_folder

    if precision not in PRECISIONS:
        raise UserError(f"precision is {precision!r}: choose one of {', '.join(PRECISIONS)}")
    wordpiece = check_servable(
        classifier.config, classifier.tokenizer, check_texts, max_length=max_length, truncation=truncation, pair=pair
    )
    served = classifier.model
    if precision == "bfloat16":
        served = export.in_bfloat16(classifier.model)
        sample = _spread_sample(check_texts) or [("a", "b") if pair else "a"]
        tokens = classifier.tokenize(*columns(sample, pair), max_length=max_length, truncation=truncation)
        _check_change(greatest_change(classifier.model, served, tokens), len(sample))
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
        export.save(scratch / "saved_model", served, wordpiece, pair=pair)
        if data_profile is not None and data_profile.exists():
            shutil.copyfile(data_profile, scratch / data_profile.name)
        record = {
            **settings,
            "base_model": base_model,
            "parameters": parameters,
            "versions": _versions(),
            "data_fingerprint": data_fingerprint,
            "fingerprint": _fingerprint(huggingface, settings),
        }
        (scratch / BUNDLE_JSON).write_text(dump_record(record, FORMAT), encoding="utf-8")
        publish_folder(scratch, Path(folder), last=[BUNDLE_JSON])


def _spread_sample(texts: Sequence[Any]) -> list[Any]:
    """Up to BFLOAT16_TEXTS of the texts, at equal distances."""
    return list(texts)[:: max(1, len(texts) // BFLOAT16_TEXTS)][:BFLOAT16_TEXTS]


def _check_change(change: float, texts: int) -> None:
    print(f"in bfloat16 the probabilities of {texts} texts move by at most {change:.4f}")
    if not change <= BFLOAT16_MOST:  # also refuses NaN
        raise UserError(
            f"in bfloat16 a probability moves by {change:.3f}, more than {BFLOAT16_MOST}: export in float32"
        )


def _versions() -> dict[str, str]:
    names = (
        "kfp-bert-components",
        "tensorflow",
        "tensorflow-cpu",
        "keras",
        "transformers",
        "tokenizers",
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
