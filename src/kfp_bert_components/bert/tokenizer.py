"""Hugging Face's BERT tokenizer: loaded, learned from text, and applied with truncation."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_bert_components.bert.checkpoint_files import reason
from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.tokenizer_files import check_loaded, plain_backend, read_tokenizer_files
from kfp_bert_components.errors import UserError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TRUNCATIONS = ("head", "head_tail")


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, without padding.

    Attributes:
        input_ids: One list of ids for each text, special tokens included.
        token_type_ids: Lists of the same lengths: 1 for the second text of a pair and the separator after it, else 0.
        lengths: Number of tokens of each text before truncation, special tokens included.
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    lengths: list[int]


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
    """Token ids of texts or pairs of texts. Text such as "[SEP]" is tokenized as text, not as a special token.

    Args:
        tokenizer: A transformers tokenizer.
        texts: The (first) texts.
        pairs: The second texts, or None.
        max_length: Most tokens in a sequence, special tokens included; of a pair the longer text is cut first.
        truncation: Which part of a long text stays: "head", the first tokens, or "head_tail", a quarter from
            its head and the rest from its tail (Sun et al. 2019, arXiv:1905.05583).

    Returns:
        The ids; with "head" those that transformers gives with `truncation=True, split_special_tokens=True`.

    Raises:
        UserError: `truncation` is neither.
    """
    if truncation not in TRUNCATIONS:
        raise UserError(f"truncation is {truncation!r}: choose one of {', '.join(TRUNCATIONS)}")
    backend = plain_backend(tokenizer.backend_tokenizer)

    def encode(batch: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in backend.encode_batch(list(batch), add_special_tokens=False)]

    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    if pairs is None:
        ids = [(first, keep(first, max_length - 2, truncation)) for first in encode(texts)]
        return Tokens(
            [[cls, *kept, sep] for _, kept in ids],
            [[0] * (len(kept) + 2) for _, kept in ids],
            [len(whole) + 2 for whole, _ in ids],
        )
    tokens = Tokens([], [], [])
    for first, second in zip(encode(texts), encode(pairs), strict=True):
        room = share(len(first), len(second), max_length - 3)
        a, b = keep(first, room[0], truncation), keep(second, room[1], truncation)
        tokens.input_ids.append([cls, *a, sep, *b, sep])
        tokens.token_type_ids.append([0] * (len(a) + 2) + [1] * (len(b) + 1))
        tokens.lengths.append(len(first) + len(second) + 3)
    return tokens


def keep(ids: list[int], room: int, truncation: str) -> list[int]:
    """The ids of one text that stay where there is room for `room` of them; see `tokenize` for `truncation`."""
    if len(ids) <= room:
        return ids
    head = room // 4 if truncation == "head_tail" else room
    return ids[:head] + ids[len(ids) - (room - head) :]


def share(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens each text of a pair keeps where there is room for `room` tokens: the longer one is cut first.

    The same as transformers' `longest_first`.

    Args:
        first: Tokens of the first text.
        second: Tokens of the second text.
        room: Tokens for both together.
    """
    if first + second <= room:
        return first, second
    short = min(first, second)
    if short * 2 > room:
        half, rest = room // 2, room - room // 2
        return (half, rest) if first <= second else (rest, half)
    return (short, room - short) if first <= second else (room - short, short)
