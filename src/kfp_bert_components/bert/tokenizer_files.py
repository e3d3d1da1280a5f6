"""Checks that the tokenizer files of a checkpoint are those of BERT's tokenizer.

transformers' `BertTokenizer` makes a WordPiece tokenizer out of any vocabulary and passes over what else the files say.
A network that is trained with such a tokenizer sees little but unknown tokens.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kfp_bert_components.bert.checkpoint_files import read_object, reason
from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.tokens import plain_backend, without_panics
from kfp_bert_components.errors import UserError

CHECKED_TEXTS = 1_000
MOST_UNKNOWN = 0.5  # share of the tokens of a text that may be unknown

# What tokenizers most often get wrong.
HARD_TEXTS = (
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

# Classes of transformers that do what `BertTokenizer` does, or what tokenizer.json says; some end with "Fast".
_CLASSES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "PreTrainedTokenizer", "TokenizersBackend")
_JAPANESE = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece"}  # and the values that BERT has
# Settings in tokenizer_config.json, and their names in the normalizer of tokenizer.json.
_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_REMEDY = "give a checkpoint with a plain BERT tokenizer"


def read_tokenizer_files(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Read what a checkpoint folder says about its tokenizer.

    Returns:
        tokenizer.json as the `tokenizers` package reads it, or None where there is only vocab.txt; and those settings
        of `BertTokenizer` that only tokenizer.json has.

    Raises:
        UserError: There are no tokenizer files, they are damaged, or they are not those of a BERT tokenizer.
    """
    reference = _read_tokenizer_json(folder)
    return reference, _read_settings(folder, reference)


def check_loaded(
    tokenizer: Any, reference: Any, folder: Path, config: BertConfig | None = None, texts: Sequence[str] = ()
) -> None:
    """Check a tokenizer that transformers made of the files.

    Where there is a tokenizer.json, its model, vocabulary, normalizer, pre-tokenizer and post-processor must be the
    same, and so must be the ids of HARD_TEXTS and of CHECKED_TEXTS texts: `texts`, and others made of the vocabulary.

    Args:
        tokenizer: The transformers tokenizer.
        reference: From `read_tokenizer_files`.
        folder: Where its files are.
        config: The checkpoint's config, whose network must have a row for each token; None to leave this out.
        texts: Texts that it will be used for, of which no more than MOST_UNKNOWN may be unknown tokens.

    Raises:
        UserError: It is another tokenizer, or of no use for the network or the texts.
    """
    _check_tokens(tokenizer, reference, folder)
    if config is not None:
        _check_size(tokenizer, folder, config)
    if reference is not None:
        pairs, path = config is None or config.type_vocab_size > 1, folder / "tokenizer.json"
        try:
            with without_panics():
                _check_same(tokenizer, reference, path, texts[:CHECKED_TEXTS], pairs)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{path} is damaged ({reason(error)}): download it again") from error
    _check_unknown(tokenizer, folder, texts[:CHECKED_TEXTS])


def tokenizer_notes(tokenizer: Any, config: BertConfig) -> list[str]:
    """Sentences on what a tokenizer does that a user might not expect."""
    own = {tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token, tokenizer.unk_token, tokenizer.mask_token}
    others = [token for token in _added(tokenizer.backend_tokenizer) if token not in own]
    vocabulary = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    found = []
    if others:
        found.append(f"text that spells a special token, such as {others[0]!r}, is read as text")
    if tokenizer.do_lower_case:
        cased = sum(word != word.lower() and word[:1] != "[" for word in vocabulary)
        if cased > len(vocabulary) // 20:
            found.append(
                f"texts are lowercased, though the vocabulary holds {cased:,} entries with capitals: set do_lower_case "
                "in tokenizer_config.json to false if the checkpoint was trained with capitals"
            )
    if len(vocabulary) < 0.9 * config.vocab_size:
        found.append(f"the vocabulary holds {len(vocabulary):,} entries of {config.vocab_size:,} in config.json")
    return found


def _read_tokenizer_json(folder: Path) -> Any:
    """tokenizer.json as the `tokenizers` package reads it, or None where there is only vocab.txt."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.exists():
        if not (folder / "vocab.txt").exists():
            raise UserError(f"{folder} holds neither tokenizer.json nor vocab.txt: give a complete BERT checkpoint")
        return None
    read_object(path, "the tokenizer of a BERT checkpoint")
    try:
        with without_panics():
            reference = Tokenizer.from_file(str(path))
    except Exception as error:
        raise UserError(f"{path} is cut or damaged ({reason(error)}): download it again") from error
    kind = type(reference.model).__name__
    if kind != "WordPiece":
        raise UserError(f"the tokenizer in {path} is {kind} and only WordPiece is supported: {_REMEDY}")
    return reference


def _read_settings(folder: Path, reference: Any) -> dict[str, Any]:
    """The settings of the normalizer that only tokenizer.json has; all other files must go with it."""
    names = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    what = "a settings file of a BERT checkpoint"
    config, given, *_ = (read_object(folder / name, what) if (folder / name).exists() else {} for name in names)
    kind = given.get("tokenizer_class") or config.get("tokenizer_class") or "BertTokenizer"
    if str(kind).removesuffix("Fast") not in _CLASSES or "auto_map" in given:
        raise UserError(f"the tokenizer in {folder} is of class {kind!r}, which splits text in its own way: {_REMEDY}")
    for name, ours in _JAPANESE.items():
        if given.get(name) not in (None, ours):
            raise UserError(
                f"{folder / 'tokenizer_config.json'} has {name}={given[name]!r} and only {ours!r} is supported: "
                f"{_REMEDY}"
            )
    if reference is None:
        _check_vocabulary_file(folder / "vocab.txt", given)
        return {}
    normalizer = _parts(reference)["normalizer"] or {}
    if normalizer.get("type") != "BertNormalizer":
        return {}
    for name, theirs in _NORMALIZER.items():
        # without a value accents are stripped where text is lowercased
        if given.get(name) is not None and given[name] != _stated(normalizer)[theirs]:
            raise UserError(
                f"{folder / 'tokenizer_config.json'} has {name}={given[name]!r} and tokenizer.json has "
                f"{theirs}={normalizer[theirs]!r}: correct the one that the checkpoint was not trained with"
            )
    return {name: normalizer[theirs] for name, theirs in _NORMALIZER.items() if given.get(name) is None}


def _check_vocabulary_file(path: Path, given: dict[str, Any]) -> None:
    """Check what only vocab.txt can have wrong: any text is a vocabulary to `BertTokenizer`."""
    try:
        entries = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: it is no UTF-8 ({error}); download it again") from error
    inner = sum(entry.startswith("##") for entry in entries)
    for mark, kind in (("▁", "Unigram or BPE pieces of SentencePiece"), ("Ġ", "BPE pieces of bytes")):
        if sum(entry.startswith(mark) for entry in entries) > max(inner, len(entries) // 20):
            raise UserError(f"{path} holds {kind} (such as {mark}a) and only WordPiece is supported: {_REMEDY}")
    if given.get("do_basic_tokenize") is False:
        raise UserError(f"{path.parent / 'tokenizer_config.json'} has do_basic_tokenize=false: {_REMEDY}")


def _check_tokens(tokenizer: Any, reference: Any, folder: Path) -> None:
    """Check that the special tokens are in the vocabulary, and that no token is added to it."""
    vocabulary = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    for name in ("pad_token", "unk_token", "cls_token", "sep_token"):
        token = getattr(tokenizer, name)
        if token is None or str(token) not in vocabulary:
            raise UserError(
                f"the vocabulary in {folder} lacks the {name} {token!r}: it is cut or not that of a BERT checkpoint"
            )
    for backend in (tokenizer.backend_tokenizer, *([reference] if reference is not None else [])):
        refuse_added(backend, f"the tokenizer in {folder}")


def refuse_added(backend: Any, place: str) -> None:
    """Check that a `tokenizers.Tokenizer` has no added tokens but special ones.

    Args:
        backend: The tokenizer.
        place: What it is, for errors: "the tokenizer in /some/folder".

    Raises:
        UserError: It has, and looks for them before it splits a text.
    """
    added = [token for token, special in _added(backend).items() if not special]
    if added:
        raise UserError(
            f"{place} has {len(added)} added tokens, such as {added[0]!r}, which the served graph would not "
            "find in a text: use a base model whose vocabulary holds them as words"
        )


def _added(backend: Any) -> dict[str, bool]:
    """The added tokens of a `tokenizers.Tokenizer`, and whether they are special."""
    return {token.content: token.special for token in backend.get_added_tokens_decoder().values()}


def _check_size(tokenizer: Any, folder: Path, config: BertConfig) -> None:
    most = max(tokenizer.get_vocab().values()) + 1
    if most > config.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {most} entries and the network only {config.vocab_size}: "
            "the two do not belong together, download the checkpoint again"
        )
    path = folder / "vocab.txt"
    if most == config.vocab_size or (folder / "tokenizer.json").exists():
        return
    within_a_line = path.read_bytes()[-1:] != b"\n"
    if within_a_line or most < config.vocab_size / 2:
        raise UserError(
            f"{path} seems cut: it holds {most} entries of {config.vocab_size} in config.json"
            + (
                " and ends within a line; download it again, or end it with a line break if it is whole"
                if within_a_line
                else "; download it again"
            )
        )


def _check_same(tokenizer: Any, reference: Any, path: Path, texts: Sequence[str], pairs: bool) -> None:
    backend = tokenizer.backend_tokenizer
    ours, theirs = _parts(backend), _parts(reference)
    for name in ("model", "normalizer", "pre_tokenizer"):
        if ours[name] != theirs[name]:
            raise UserError(
                f"{path}: its {name} is {_short(theirs[name])} and that of a BERT tokenizer with these settings is "
                f"{_short(ours[name])}: {_REMEDY}"
            )
    vocabulary = reference.get_vocab(with_added_tokens=False)
    if backend.get_vocab(with_added_tokens=False) != vocabulary:
        raise UserError(f"{path}: transformers reads another vocabulary from it: download the checkpoint again")
    backends = plain_backend(backend), plain_backend(reference)
    singles = ["a", *HARD_TEXTS, *_texts_of(vocabulary, CHECKED_TEXTS - len(texts)), *texts]
    _check_ids(*backends, path, singles)
    if pairs:
        _check_ids(*backends, path, list(zip(singles[:50], singles[49::-1], strict=True)))


def _check_ids(ours: Any, theirs: Any, path: Path, inputs: list[Any]) -> None:
    for number, (mine, other) in enumerate(zip(ours.encode_batch(inputs), theirs.encode_batch(inputs), strict=True)):
        if (mine.ids, mine.type_ids) == (other.ids, other.type_ids):
            continue
        if number == 0:  # of one letter: it is not its words that differ
            raise UserError(
                f"{path}: its post_processor makes {other.tokens} with the token types {other.type_ids} of "
                f"{_short(inputs[0])}, and that of a BERT tokenizer {mine.tokens} with {mine.type_ids}: {_REMEDY}"
            )
        raise UserError(f"{path}: a BERT tokenizer gives other ids for {_short(inputs[number])}: {_REMEDY}")


def _check_unknown(tokenizer: Any, folder: Path, texts: Sequence[str]) -> None:
    backend = plain_backend(tokenizer.backend_tokenizer)
    ids = [i for encoding in backend.encode_batch(list(texts), add_special_tokens=False) for i in encoding.ids]
    unknown = ids.count(tokenizer.unk_token_id)
    if unknown > MOST_UNKNOWN * len(ids):
        raise UserError(
            f"of the {len(ids):,} tokens of {len(texts):,} texts {unknown:,} are {tokenizer.unk_token}, since the "
            f"vocabulary in {folder} does not know them: choose a base model for the language of the texts"
        )


def _parts(backend: Any) -> dict[str, Any]:
    """The parts of a `tokenizers.Tokenizer`, as plain values without its vocabulary."""
    parts = json.loads(backend.to_str())
    del parts["model"]["vocab"]
    if (parts["normalizer"] or {}).get("type") == "BertNormalizer":
        parts["normalizer"] = _stated(parts["normalizer"])
    return parts


def _stated(normalizer: dict[str, Any]) -> dict[str, Any]:
    """The same BERT normalizer with a value for `strip_accents`; without one, accents go where text is lowercased."""
    strip = normalizer["strip_accents"]
    return normalizer | {"strip_accents": normalizer["lowercase"] if strip is None else strip}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else f"{text[:160]}..."


def _texts_of(vocabulary: dict[str, int], count: int) -> list[str]:
    """So many texts made of the entries of a vocabulary, from all of its parts."""
    entries = sorted(vocabulary, key=vocabulary.__getitem__)
    chosen = [entries[i * len(entries) // (4 * count)] for i in range(4 * count)]
    words = [entry[2:] if entry.startswith("##") else f" {entry}" for entry in chosen]
    return ["".join(words[i : i + 4]) for i in range(0, len(words), 4)]
