"""Hugging Face's BERT tokenizer: loaded, learned from text, and applied with truncation."""

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kfp_bert_components.bert.checkpoint_files import reason
from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.tokenizer_files import check_loaded, read_tokenizer_files
from kfp_bert_components.bert.tokens import Tokens, encode, plain_backend, without_panics
from kfp_bert_components.errors import UserError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def load_tokenizer(folder: Path, config: BertConfig | None = None, texts: Sequence[str] = ()) -> Any:
    """The tokenizer of a checkpoint folder, as transformers loads it.

    Settings that are in tokenizer.json and not in tokenizer_config.json are taken from there.

    Args:
        folder: Holds tokenizer.json or vocab.txt.
        config: The checkpoint's config, whose network must have a row for each token; None to leave this out.
        texts: Texts that it will be used for: up to 1,000 of them are part of the check.

    Returns:
        A transformers `BertTokenizer`.

    Raises:
        UserError: There are no tokenizer files, they are damaged, they are not those of a BERT tokenizer
            (`tokenizer_files.check_loaded` says what is compared), or more than half of the tokens in the texts are
            unknown.
    """
    from transformers import BertTokenizer

    reference, settings = read_tokenizer_files(folder)
    try:
        with without_panics():
            tokenizer = BertTokenizer.from_pretrained(str(folder), local_files_only=True, **settings)
            tokenizer("a")
    except Exception as error:
        raise UserError(
            f"the tokenizer files in {folder} can't be used ({reason(error)}): give a complete BERT checkpoint"
        ) from error
    check_loaded(tokenizer, reference, folder, config, texts)
    return tokenizer


def save_tokenizer(tokenizer: Any, folder: Path, max_length: int) -> None:
    """Write the files of a tokenizer, which then cuts to `max_length` tokens where it is asked to cut.

    What else a tokenizer.json may say about cutting and padding is left out: it is that of a base model.
    """
    own = copy.deepcopy(tokenizer)
    own.model_max_length = max_length
    own.backend_tokenizer.no_truncation()
    own.backend_tokenizer.no_padding()
    for name in ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of"):
        own.init_kwargs.pop(name, None)
    own.save_pretrained(str(folder))


def learn_tokenizer(
    texts: Iterable[str], *, vocabulary_size: int = 8_000, max_length: int = 128, lowercase: bool = False
) -> Any:
    """A tokenizer with a WordPiece vocabulary learned from text.

    Args:
        texts: What to learn from; the same texts give the same vocabulary.
        vocabulary_size: Most entries, special tokens included.
        max_length: Longest sequence of the model in tokens.
        lowercase: Whether texts are lowercased and their accents stripped, as by the "uncased" models.

    Returns:
        A transformers tokenizer.
    """
    from collections import Counter

    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizer

    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        normalized = learner.normalizer.normalize_str(text)
        words.update(word for word, _ in learner.pre_tokenizer.pre_tokenize_str(normalized))
    alphabet = _alphabet(words)
    inner = {f"##{c}" for word in words for c in word[1:]} & {f"##{c}" for c in alphabet}
    # The trainer numbers characters inside words in the order of a hash table, and breaks ties by the
    # numbers: given beforehand, in order, the vocabulary depends on the texts alone.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[*SPECIAL_TOKENS, *sorted(inner)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
    )
    learner.train_from_iterator((word for word, count in sorted(words.items()) for _ in range(count)), trainer)
    return BertTokenizer(vocab=learner.get_vocab(), do_lower_case=lowercase, model_max_length=max_length)


def _alphabet(words: dict[str, int], most: int = 1000) -> list[str]:
    """The most frequent characters, in order; rarer ones are left to the unknown token."""
    counts: dict[str, int] = {}
    for word, count in words.items():
        for character in word:
            counts[character] = counts.get(character, 0) + count
    return sorted(sorted(counts, key=lambda c: (-counts[c], c))[:most])


def tokenize(
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    max_length: int,
    truncation: str = "head",
) -> Tokens:
    """`tokens.encode` with the backend and the marks of a transformers tokenizer."""
    backend, marks = plain_backend(tokenizer.backend_tokenizer), (tokenizer.cls_token_id, tokenizer.sep_token_id)
    return encode(backend, marks, texts, pairs, max_length=max_length, truncation=truncation)
