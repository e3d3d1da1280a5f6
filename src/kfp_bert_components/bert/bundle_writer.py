"""Writes a model bundle, after checks that what is served answers as what was trained."""

import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components.bert.bundle import FORMAT
from kfp_bert_components.errors import UserError

if TYPE_CHECKING:
    from kfp_bert_components.bert.classifier import Classifier

PRECISIONS = ("float32", "bfloat16")
BFLOAT16_MOST = 0.02  # most that a probability may move by serving in bfloat16


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
    """Write a model bundle, after a check that its tokenizer gives the ids the model was trained on.

    Args:
        folder: Where to write; may be a mount of Cloud Storage.
        classifier: The trained classifier.
        max_length: Most tokens a text (or pair), special tokens included.
        base_model: What it was fine-tuned from; "" for a model from nothing.
        parameters: What it was trained with, for the record: plain JSON values.
        data_fingerprint: Of the training data.
        pair: Whether the model takes two texts.
        check_texts: Texts that the tokenizer in the graph is checked on, beside a few hard ones: the training
            and validation texts; of a model of pairs, tuples of two.
        truncation: "head" or "head_tail"; see `bert.tokenizer.tokenize`.
        precision: Of the served graph: "float32", or "bfloat16", which halves it and is faster on processors
            with bfloat16 arithmetic; huggingface/ stays in float32.
        data_profile: File that describes the training data, kept in the bundle so that later data can be compared
            with it; left out where it does not exist.

    Raises:
        UserError: The tokenizer in the graph gives other ids than transformers' for one of the texts,
            `max_length` is more than the network's positions, or bfloat16 moves a probability by more than
            BFLOAT16_MOST.
    """
    from kfp_bert_components.bert import checkpoint, export
    from kfp_bert_components.bert.wordpiece import WordPiece
    from kfp_bert_components.storage import publish_folder

    _check_lengths(classifier, max_length, pair)
    if precision not in PRECISIONS:
        raise UserError(f"precision is {precision!r}: choose one of {', '.join(PRECISIONS)}")
    wordpiece = WordPiece(classifier.tokenizer, max_length, truncation)
    _check_tokenizer(classifier, wordpiece, check_texts, pair)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        huggingface = scratch / "huggingface"
        huggingface.mkdir()
        checkpoint.save_weights(classifier.model, huggingface)
        classifier.tokenizer.save_pretrained(str(huggingface))
        model = classifier.model
        if precision == "bfloat16":
            model = export.in_bfloat16(model)
            _check_bfloat16(classifier, model, check_texts, pair, max_length, truncation)
        export.save(scratch / "saved_model", model, wordpiece, pair=pair)
        if data_profile is not None and data_profile.exists():
            shutil.copyfile(data_profile, scratch / data_profile.name)
        settings = {
            "labels": classifier.labels,
            "max_length": max_length,
            "pair": pair,
            "truncation": truncation,
            "precision": precision,
        }
        metadata = {
            "format": FORMAT,
            **settings,
            "base_model": base_model,
            "parameters": parameters,
            "versions": _versions(),
            "data_fingerprint": data_fingerprint,
            "fingerprint": _fingerprint(huggingface, settings),
        }
        text = json.dumps(metadata, indent=2, ensure_ascii=False)
        (scratch / "bundle.json").write_text(text + "\n", encoding="utf-8")
        publish_folder(scratch, Path(folder), last=["bundle.json"])


# Checked at every export, whatever the data: what tokenizers most often get wrong.
_HARD_TEXTS = (
    "",
    " ",
    "[CLS] [SEP] [MASK] ##ing",
    "Café naïve ÅNGSTRÖM İstanbul ß ẞ",
    "한국어 텍스트",
    "日本語と中文。",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽",
    "a\u200bb\u00adc\x00d\x07e\tf\r\ng\u2028h\u3000i",
    "don't--stop...$5.00",
    "x" * 100,
    "x" * 101,
    "e\u0301\u0323 q\u0307\u0323",
    "\ufffd \ufeff \U0001d165 \U000e0001",
    "word " * 600,
)


def _check_tokenizer(classifier: "Classifier", wordpiece: Any, texts: Sequence[Any], pair: bool) -> None:
    from kfp_bert_components.bert.wordpiece import differences

    hard = list(zip(_HARD_TEXTS, reversed(_HARD_TEXTS), strict=True)) if pair else list(_HARD_TEXTS)
    checked = hard + list(texts)
    first = [text[0] for text in checked] if pair else checked
    second = [text[1] for text in checked] if pair else None
    different = differences(classifier.tokenizer, wordpiece, first, second)
    if different:
        raise UserError(
            f"the tokenizer in the graph differs from transformers' on {len(different)} of {len(checked)} "
            f"texts, the first being {checked[different[0]]!r}: use a base model with a plain BERT tokenizer"
        )


def _check_bfloat16(
    classifier: "Classifier", half: Any, texts: Sequence[Any], pair: bool, max_length: int, truncation: str
) -> None:
    """Compares both precisions on up to 256 texts, spread over all that were given."""
    import numpy as np
    import tensorflow as tf

    sample = list(texts)[:: max(1, len(texts) // 256)][:256] or [("a", "b") if pair else "a"]
    first = [text[0] for text in sample] if pair else sample
    second = [text[1] for text in sample] if pair else None
    tokens = classifier.tokenize(first, second, max_length=max_length, truncation=truncation)
    moved = 0.0
    for start in range(0, len(sample), 32):
        ids = tf.ragged.constant(tokens.input_ids[start : start + 32], dtype=tf.int32)
        types = tf.ragged.constant(tokens.token_type_ids[start : start + 32], dtype=tf.int32)
        inputs = {
            "input_ids": ids.to_tensor(),
            "token_type_ids": types.to_tensor(),
            "attention_mask": tf.ones_like(ids).to_tensor(),
        }
        whole, rounded = (tf.nn.softmax(model(inputs, training=False)) for model in (classifier.model, half))
        moved = max(moved, float(np.abs(whole - rounded).max()))
    print(f"in bfloat16 the probabilities of {len(sample)} texts move by at most {moved:.4f}")
    if not moved <= BFLOAT16_MOST:
        raise UserError(f"in bfloat16 a probability moves by {moved:.3f}, more than {BFLOAT16_MOST}: export in float32")


def _check_lengths(classifier: "Classifier", max_length: int, pair: bool) -> None:
    most, least = classifier.config.max_position_embeddings, 5 if pair else 3
    if not least <= max_length <= most:
        raise UserError(f"max_length is {max_length} and the model takes {least} to {most} tokens: choose one of those")
    if pair and classifier.config.type_vocab_size < 2:
        raise UserError("the base model knows one token type and pairs of texts need two: choose another base model")


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
