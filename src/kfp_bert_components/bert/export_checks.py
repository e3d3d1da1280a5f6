"""Checks before a model is exported: what is served must answer as what was trained."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.onnx_model import OnnxModel, padded, select
from kfp_bert_components.bert.tokenizer_files import HARD_TEXTS
from kfp_bert_components.bert.tokens import Tokens
from kfp_bert_components.bert.wordpiece import WordPiece, differences
from kfp_bert_components.errors import UserError

SAMPLE = 256  # texts on which the answers of engines are compared
SAME_LOGITS = 1e-5  # most that a logit may differ in float32; of larger logits, this part of the largest
MOST_CHANGE = {"bfloat16": 0.02, "int8": 0.1}  # most that a probability may change


def check_servable(
    config: BertConfig, tokenizer: Any, texts: Sequence[Any], *, max_length: int, truncation: str, pair: bool
) -> WordPiece:
    """Make the tokenizer in the graph, and check that a model can be served with it.

    Args:
        config: The shape of the network.
        tokenizer: The transformers tokenizer.
        texts: Texts on which the two are compared, beside HARD_TEXTS; for a model of pairs, tuples of two.
        max_length: Most tokens of a text (or pair), special tokens included.
        truncation: What stays of a longer text: "head" or "head_tail"; see `bert.tokens.encode`.
        pair: Whether the model takes two texts.

    Raises:
        UserError: The network takes no such texts, or the tokenizer in the graph gives other ids.
    """
    check_limits(config, max_length, pair)
    wordpiece = WordPiece(tokenizer, max_length, truncation)
    check_tokenizer(tokenizer, wordpiece, *columns(texts, pair))
    return wordpiece


def columns(texts: Sequence[Any], pair: bool) -> tuple[list[str], list[str] | None]:
    """The first and the second texts of pairs; single texts, and None."""
    return ([first for first, _ in texts], [second for _, second in texts]) if pair else (list(texts), None)


def check_limits(config: BertConfig, max_length: int, pair: bool) -> None:
    """Check that the network takes texts of this length, and pairs if there are any.

    Raises:
        UserError: It does not: says what it takes.
    """
    most, least = config.max_position_embeddings, 5 if pair else 3
    if not least <= max_length <= most:
        raise UserError(f"max_length is {max_length} and the model takes {least} to {most} tokens: choose one of those")
    if pair and config.type_vocab_size < 2:
        raise UserError("the base model knows one token type and pairs of texts need two: choose another base model")


def check_tokenizer(
    tokenizer: Any, wordpiece: WordPiece, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> None:
    """Check that the tokenizer in the graph gives the ids of transformers' for these texts and for HARD_TEXTS.

    Args:
        tokenizer: The transformers tokenizer.
        wordpiece: The tokenizer in the graph.
        texts: The (first) texts.
        pairs: The second texts, for a model of pairs.

    Raises:
        UserError: It gives others: names the first such text.
    """
    first = [*HARD_TEXTS, *texts]
    second = None if pairs is None else [*reversed(HARD_TEXTS), *pairs]
    different = differences(tokenizer, wordpiece, first, second)
    if different:
        example = different[0]
        shown = first[example] if second is None else (first[example], second[example])
        raise UserError(
            f"the tokenizer in the graph differs from transformers' on {len(different)} of {len(first)} "
            f"texts, the first being {shown!r}: use a base model with a plain BERT tokenizer"
        )


def spread_sample(texts: Sequence[Any], pair: bool) -> list[Any]:
    """Up to SAMPLE of the texts, at equal distances; HARD_TEXTS where there are none."""
    hard = list(zip(HARD_TEXTS, reversed(HARD_TEXTS), strict=True)) if pair else list(HARD_TEXTS)
    return list(texts)[:: max(1, len(texts) // SAMPLE)][:SAMPLE] or hard


def network_logits(network: Callable[[dict[str, np.ndarray]], Any], tokens: Tokens, batch_size: int = 32) -> np.ndarray:
    """What a network answers, on the processor also where there is a GPU: float32 [texts, classes].

    A GPU multiplies float32 matrices less exactly (in TF32).

    Args:
        network: From a dict of `input_ids`, `token_type_ids` and `attention_mask`, [batch, length], to logits.
        tokens: The texts.
        batch_size: Texts in one call.
    """
    rows = range(len(tokens.input_ids))
    with tf.device("CPU"):
        parts = [
            np.asarray(network(padded(select(tokens, rows[start : start + batch_size]))), np.float32)
            for start in rows[::batch_size]
        ]
    return np.concatenate(parts)


def check_onnx(
    folder: Path, sample: tuple[list[str], list[str] | None], tokens: Tokens, expected: np.ndarray
) -> dict[str, Any]:
    """Ask the model.onnx of a bundle for the sample, as it will be served, from text on; see `compared`.

    Args:
        folder: The bundle.
        sample: The first texts, and the second ones or None.
        tokens: Their ids by the tokenizer of training.
        expected: What the trained network answers, [texts, classes].

    Raises:
        UserError: It gives other ids, or its answers differ by more than they may.
    """
    model = OnnxModel(folder)
    found = model.tokenize(*sample)
    different = [row for row, ids in enumerate(tokens.input_ids) if ids != found.input_ids[row]]
    if different:
        raise UserError(
            f"the tokenizer of the bundle differs from transformers' on {len(different)} of {len(sample[0])} texts, "
            f"the first being {sample[0][different[0]]!r}: use a base model with a plain BERT tokenizer"
        )
    rows = range(len(found.input_ids))
    batches = [rows[start : start + 32] for start in rows[::32]]
    logits = np.concatenate([model.logits(select(found, batch)) for batch in batches])
    return compared(model.precision, logits, expected)


def compared(precision: str, logits: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """What bundle.json says about an engine: how its answers to some texts differ from those of the trained network.

    Args:
        precision: Of the engine: "float32", "bfloat16" or "int8".
        logits: What it answers, [texts, classes].
        expected: What the trained network answers.

    Raises:
        UserError: In float32 a logit differs by more than SAME_LOGITS, else a probability by more than MOST_CHANGE.
    """
    change = float(np.abs(_softmax(logits) - _softmax(expected)).max())
    agreement = float(np.mean(logits.argmax(axis=1) == expected.argmax(axis=1)))
    if precision == "float32":
        difference, most = float(np.abs(logits - expected).max()), SAME_LOGITS * max(1.0, float(np.abs(expected).max()))
        if not difference <= most:  # also refuses NaN
            raise UserError(
                f"ONNX Runtime's logits differ from TensorFlow's by {difference:.1e}, more than {most:.1e}: report "
                "this with the config.json of the base model, and its hidden_act"
            )
    else:
        print(
            f"in {precision} the probabilities of {len(logits)} texts move by at most {change:.4f}, and "
            f"{agreement:.2%} keep their label",
            flush=True,
        )
        if not change <= MOST_CHANGE[precision]:  # also refuses NaN
            raise UserError(
                f"in {precision} a probability moves by {change:.3f}, more than {MOST_CHANGE[precision]}: "
                "export in float32"
            )
    return {"precision": precision, "texts": len(logits), "largest_change": change, "argmax_agreement": agreement}


def _softmax(logits: np.ndarray) -> np.ndarray:
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)
