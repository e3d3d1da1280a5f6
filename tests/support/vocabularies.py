"""Tokenizers of many kinds, learned from a few lines, and checkpoint folders of a BERT body that carry them."""

import json
from pathlib import Path
from typing import Any

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

LINES = [
    "The Quick brown fox jumps over the lazy dog, and the Dog sleeps.",
    "Café au lait, naïve Ångström: don't stop!",
    "Il fait beau à Paris; die Straße ist naß.",
    "한국어 텍스트를 토큰으로 나눈다. 日本語と中文。",
    "мир труд май, नमस्ते दुनिया",
] * 4
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCEPIECE = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def bert(
    *,
    lowercase: bool = False,
    normalizer: Any = None,
    pre_tokenizer: Any = None,
    added: tuple[str, ...] = (),
    special: tuple[str, ...] = (),
    pair: str = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
    single: str = "[CLS]:0 $A:0 [SEP]:0",
    size: int = 260,
    **model: Any,
) -> Tokenizer:
    """A WordPiece tokenizer, BERT's own unless something else is given."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", **model))
    tokenizer.normalizer = normalizer or normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.BertPreTokenizer()
    prefix = model.get("continuing_subword_prefix", "##")
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=SPECIAL, show_progress=False, continuing_subword_prefix=prefix
    )
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.decoder = decoders.WordPiece(prefix=prefix)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    tokenizer.add_tokens(list(added))
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def unigram() -> Tokenizer:
    """As XLM-R has it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=SENTENCEPIECE, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def byte_bpe() -> Tokenizer:
    """As RoBERTa has it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SENTENCEPIECE, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def words() -> Tokenizer:
    """Whole words alone."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(LINES, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    return tokenizer


def write_checkpoint(
    folder: Path,
    tokenizer: Tokenizer | None,
    settings: dict[str, Any] | None = None,
    *,
    vocabulary: list[str] | None = None,
    labels: tuple[str, ...] = ("no", "yes"),
    **config: Any,
) -> Path:
    """Write a checkpoint of a tiny BERT with these tokenizer files.

    Args:
        folder: Where to; it is made.
        tokenizer: Goes into tokenizer.json; None writes none.
        settings: Go into tokenizer_config.json; None writes none.
        vocabulary: Goes into vocab.txt; None writes none.
        labels: Of the classification head.
        **config: Other values for `BertConfig`.
    """
    from kfp_bert_components.bert import BertConfig
    from kfp_bert_components.bert.checkpoint import save_weights
    from kfp_bert_components.bert.encoder import BertClassifier

    size = tokenizer.get_vocab_size() if tokenizer else len(vocabulary or [])
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    values = {**shape, "max_position_embeddings": 64, "vocab_size": size, "labels": labels, **config}
    folder.mkdir(parents=True)
    save_weights(BertClassifier(BertConfig(**values), seed=3), folder)
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if vocabulary is not None:
        (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in vocabulary), encoding="utf-8")
    return folder


def entries(tokenizer: Tokenizer) -> list[str]:
    """The vocabulary in the order of its ids."""
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def change_json(path: Path, **values: Any) -> None:
    """Set top-level values of a JSON file; None removes one."""
    fields = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({name: value for name, value in (fields | values).items() if value is not None}))
