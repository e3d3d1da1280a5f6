"""The tokenizer in the graph gives exactly the ids of transformers."""

import csv
import itertools
import os
import random
from types import SimpleNamespace
from unicodedata import category, combining

import pytest

from kfp_bert_components.bert.onnx_model import read_tokenizer
from kfp_bert_components.bert.tokenizer import learn_tokenizer, load_tokenizer, save_tokenizer, tokenize
from kfp_bert_components.bert.wordpiece import WordPiece, differences
from kfp_bert_components.errors import UserError
from tests.support.minilm import minilm_or_skip

# 100,000 and more: KFP_BERT_RANDOM_TEXTS=100000 make test
RANDOM_TEXTS = int(os.environ.get("KFP_BERT_RANDOM_TEXTS", "2000"))

HARD = [
    "",
    " ",
    "\t\n\r",
    "[CLS] [SEP] [MASK] [PAD] [UNK]",
    "##ing # ## [",
    "don't--stop...$5.00 `x` ^~|+=<>",
    "Café naïve Ångström İstanbul DŽ ß ẞ ﬁ Σίσυφος ΣΑΣ",
    "e\u0301\u0323 o\u0308\u0304 q\u0307\u0323",
    "l'été où",
    "한국어 텍스트를 토큰으로 나눈다",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "日本語と中文。漢字かな交じり文、カタカナ",
    "\U00020000\U0002f800 㐀",
    "مرحبا بالعالم، السَّلامُ عليكم",
    "नमस्ते दुनिया, हिन्दी में",
    "ไทยภาษา",
    "עִבְרִית",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ☺️ 1️⃣",
    "a\u200bb\u00adc\x00d\x07e\x1bf\x7fg\u0085h\u2028i\u2029j\u3000k\u00a0l\u180em\ufeffn\u202eo",
    "\ufffd",
    "\ue000\U000f0000",
    "x" * 100,
    "x" * 101,
    "é" * 100 + " " + "é" * 101,
    "a" * 5000,
    "un" * 49 + "ab",
    "supercalifragilisticexpialidocious" * 2,
    "word " * 700,
    "antidisestablishmentarianism " * 80,
    "\U0001d165\u302e\U00016ff0 \u302e\U0001d165",
    "ﷺ ㍿ ｆｕｌｌ ½ Ⅷ №",
]
WORDS = [
    "the",
    "Running",
    "café",
    "étude",
    "한국",
    "中",
    "don't",
    "unaffable",
    "XYZ",
    "naïve",
    "e\u0301",
    "ß",
    "Σ",
    "[SEP]",
]


def random_text(source: random.Random) -> str:
    """Characters of all planes, common scripts more often, and words of a vocabulary between them."""
    ranges = [
        (32, 127),
        (0, 0x250),
        (0x300, 0x370),
        (0x370, 0x600),
        (0x900, 0xE80),
        (0x1100, 0x1200),
        (0x2000, 0x2C00),
        (0x3000, 0xA000),
        (0xAC00, 0xD7A4),
        (0xF900, 0xFFFF),
        (0x10000, 0x20000),
        (0x20000, 0x110000),
    ]
    parts = []
    for _ in range(source.randrange(12)):
        kind = source.randrange(4)
        if kind == 0:
            parts.append(source.choice(WORDS))
        elif kind == 1:
            parts.append(source.choice(" \t,.-'"))
        else:
            low, high = source.choice(ranges)
            codes = [source.randrange(low, high) for _ in range(source.randrange(1, 6))]
            parts.extend(chr(code) for code in codes if not 0xD800 <= code < 0xE000)
    return "".join(parts)


def texts_at_random(number: int, seed: int) -> list[str]:
    source = random.Random(seed)
    return [random_text(source) for _ in range(number)]


@pytest.fixture(scope="module")
def vocabulary() -> dict[str, int]:
    """Learned from hard and random text, so that pieces of every script are known, in both cases."""
    texts = [*HARD, *texts_at_random(3000, 7), *WORDS * 3]
    learned = set()
    for lowercase in (False, True):
        learned |= set(learn_tokenizer(texts, vocabulary_size=6000, lowercase=lowercase).get_vocab())
    # Stripping accents makes neighbouring marks of these kinds change places: see the test that refuses them.
    pieces = [p for p in learned if not any(combining(c) and category(c) != "Mn" for c in p)]
    first = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return {piece: i for i, piece in enumerate(first + sorted(set(pieces) - set(first)))}


def make(vocabulary, **settings):
    from transformers import BertTokenizer

    return BertTokenizer(vocab=vocabulary, **settings)


def expected_by_transformers(tokenizer, texts, pairs, max_length):
    """What transformers itself gives: the reference that `tokenize` is checked against."""
    output = tokenizer(texts, pairs, truncation=True, max_length=max_length, split_special_tokens=True)
    return output["input_ids"], output["token_type_ids"]


# Every value of a setting once with every value of another one; `make test-long` has all three.
PAIRS_OF_SETTINGS = [
    (True, None, True),
    (True, True, False),
    (True, False, True),
    (False, None, False),
    (False, True, True),
    (False, False, False),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "chinese"),
    [
        pytest.param(*one, marks=() if one in PAIRS_OF_SETTINGS else pytest.mark.long)
        for one in itertools.product([True, False], [None, True, False], [True, False])
    ],
)
def test_no_difference_under_any_setting(vocabulary, lowercase, strip_accents, chinese):
    tokenizer = make(vocabulary, do_lower_case=lowercase, strip_accents=strip_accents, tokenize_chinese_chars=chinese)
    texts = HARD + texts_at_random(RANDOM_TEXTS // 4, 11)
    got = tokenize(tokenizer, texts[:300], max_length=64)
    assert (got.input_ids, got.token_type_ids) == expected_by_transformers(tokenizer, texts[:300], None, 64)
    assert differences(tokenizer, WordPiece(tokenizer, 64), texts, None) == []


@pytest.mark.parametrize("max_length", [3, 4, 17, 64])
@pytest.mark.parametrize("truncation", ["head", "head_tail"])
def test_no_difference_at_any_length(vocabulary, max_length, truncation):
    tokenizer = make(vocabulary)
    texts = HARD + texts_at_random(100, 13)
    graph = WordPiece(tokenizer, max_length, truncation)
    assert differences(tokenizer, graph, texts, None) == []
    if max_length > 4:
        pairs = texts[7:] + texts[:7]
        assert differences(tokenizer, graph, texts, pairs) == []


@pytest.mark.parametrize("max_length", [6, 17, 18, 64])
def test_ids_of_the_head_are_those_of_transformers(vocabulary, max_length):
    tokenizer = make(vocabulary)
    texts = HARD + texts_at_random(200, 17)
    for pairs in (None, texts[5:] + texts[:5]):
        got = tokenize(tokenizer, texts, pairs, max_length=max_length)
        assert (got.input_ids, got.token_type_ids) == expected_by_transformers(tokenizer, texts, pairs, max_length)


def test_head_and_tail_of_a_long_text_stay(vocabulary):
    tokenizer = make(vocabulary)
    text = " ".join(str(i % 10) for i in range(30))
    whole = tokenize(tokenizer, [text], max_length=64).input_ids[0]
    got = tokenize(tokenizer, [text], max_length=14, truncation="head_tail")
    assert got.input_ids[0] == [*whole[:4], *whole[-10:]]
    assert got.lengths == [32]


def test_no_difference_on_random_text_and_pairs_with_minilm():
    tokenizer = load_tokenizer(minilm_or_skip())
    graph = WordPiece(tokenizer, 128)
    texts = HARD + texts_at_random(RANDOM_TEXTS, 19)
    assert differences(tokenizer, graph, texts, None) == []
    few = texts[: len(HARD) + 500]
    assert differences(tokenizer, graph, few, few[::-1]) == []


@pytest.mark.slow
def test_no_difference_on_the_films(films):
    tokenizer = load_tokenizer(minilm_or_skip())
    assert differences(tokenizer, WordPiece(tokenizer, 128), film_cells(films), None) == []


def film_cells(films):
    texts = []
    for path in sorted(films.glob("*.csv")):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            texts += [cell for row in csv.reader(file) for cell in row]
    assert len(texts) > 10_000
    return texts


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """MiniLM's tokenizer as the server has it: tokenizer.json, read by the package `tokenizers` and nothing else."""
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(load_tokenizer(minilm_or_skip()), folder, 128)
    as_others_leave_it = Tokenizer.from_file(str(folder / "tokenizer.json"))
    as_others_leave_it.enable_truncation(max_length=20)
    as_others_leave_it.enable_padding(length=30)
    as_others_leave_it.save(str(folder / "tokenizer.json"))
    backend, (first, last) = read_tokenizer(folder / "tokenizer.json")
    return SimpleNamespace(backend_tokenizer=backend, cls_token_id=first, sep_token_id=last)


@pytest.mark.parametrize("truncation", ["head", "head_tail"])
def test_tokenizers_alone_gives_the_ids_of_the_graph_on_random_text_and_pairs(alone, truncation):
    graph = WordPiece(load_tokenizer(minilm_or_skip()), 24, truncation)
    texts = HARD + texts_at_random(RANDOM_TEXTS, 29)
    assert differences(alone, graph, texts, None) == []
    few = texts[: len(HARD) + max(500, RANDOM_TEXTS // 10)]
    assert differences(alone, graph, few, few[::-1]) == []


@pytest.mark.slow
@pytest.mark.parametrize("truncation", ["head", "head_tail"])
def test_tokenizers_alone_gives_the_ids_of_the_graph_on_the_films(alone, films, truncation):
    texts = film_cells(films)
    graph = WordPiece(load_tokenizer(minilm_or_skip()), 24, truncation)
    assert differences(alone, graph, texts, None) == []
    assert differences(alone, graph, texts, texts[::-1]) == []


def test_invalid_utf8_is_read_as_python_reads_it_with_replacement():
    import tensorflow as tf

    tokenizer = load_tokenizer(minilm_or_skip())
    raw = [b"caf\xc3 ok", b"\xff\xfe", b"\xed\xa0\x80 lone", b"\xf0\x9f\x98 cut", b"plain"]
    got = WordPiece(tokenizer, 32)(tf.constant(raw))
    for i, text in enumerate(raw):
        ids = tokenizer(text.decode("utf-8", "replace"), split_special_tokens=True)["input_ids"]
        assert got["input_ids"].numpy()[i, : len(ids)].tolist() == ids


def test_two_marks_that_change_places_are_refused(vocabulary):
    extended = {**vocabulary, "\u302e": len(vocabulary), "##\U0001d165": len(vocabulary) + 1}
    with pytest.raises(UserError, match=r"U\+302E, U\+1D165"):
        WordPiece(make(extended), 16)
    WordPiece(make(extended, strip_accents=False), 16)


def test_the_same_texts_give_the_same_vocabulary():
    texts = texts_at_random(300, 23) + WORDS * 5
    first, second = (learn_tokenizer(iter(texts), vocabulary_size=700).get_vocab() for _ in range(2))
    assert first == second


def test_an_unknown_truncation_is_refused(vocabulary):
    with pytest.raises(UserError, match="head_tail"):
        tokenize(make(vocabulary), ["a"], max_length=8, truncation="middle")
