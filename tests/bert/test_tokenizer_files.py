"""A checkpoint's tokenizer is BERT's, read as its files say; all others are refused by name, before any training."""

import json
import shutil

import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers import BertTokenizer

from kfp_bert_components.bert import load_checkpoint
from kfp_bert_components.bert.onnx_model import read_tokenizer
from kfp_bert_components.bert.tokenizer import load_tokenizer, tokenize
from kfp_bert_components.bert.tokens import encode
from kfp_bert_components.errors import UserError
from tests.support.minilm import minilm_or_skip
from tests.support.vocabularies import LINES, SPECIAL, bert, byte_bpe, entries, unigram, words, write_checkpoint

LABELS = ["no", "yes"]
BERT = {"tokenizer_class": "BertTokenizer"}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
TUTORIAL = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])

# Each is a tokenizer, its tokenizer_config.json, and what the refusal names.
OTHERS = {
    "unigram": (unigram, {"tokenizer_class": "XLMRobertaTokenizer"}, "is Unigram and only WordPiece"),
    "unigram_as_bert": (unigram, BERT, "is Unigram and only WordPiece"),
    "bpe": (byte_bpe, {"tokenizer_class": "RobertaTokenizer"}, "is BPE and only WordPiece"),
    "bpe_without_settings": (byte_bpe, None, "is BPE and only WordPiece"),
    "whole_words": (words, FAST, "is WordLevel and only WordPiece"),
    "japanese": (bert, {"tokenizer_class": "BertJapaneseTokenizer"}, "class 'BertJapaneseTokenizer'"),
    "mecab": (bert, {"word_tokenizer_type": "mecab"}, "word_tokenizer_type='mecab'"),
    "characters": (bert, {"subword_tokenizer_type": "character"}, "subword_tokenizer_type='character'"),
    "own_code": (bert, {"auto_map": {"AutoTokenizer": ["code.Tok", None]}}, "splits text in its own way"),
    "normalizer": (lambda: bert(normalizer=TUTORIAL), FAST, r'its normalizer is \{"type": "Sequence"'),
    "kept_control_characters": (
        lambda: bert(normalizer=normalizers.BertNormalizer(clean_text=False)),
        FAST,
        '"clean_text": false.* "clean_text": true',
    ),
    "pre_tokenizer": (
        lambda: bert(pre_tokenizer=pre_tokenizers.Whitespace()),
        FAST,
        "its pre_tokenizer is .*Whitespace",
    ),
    "prefix": (lambda: bert(continuing_subword_prefix="@@"), FAST, "its model is .*@@"),
    "longest_word": (lambda: bert(max_input_chars_per_word=20), FAST, '"max_input_chars_per_word": 20'),
    "no_separators": (lambda: bert(single="$A:0"), FAST, "its post_processor makes"),
    "pairs_as_in_roberta": (lambda: bert(pair="[CLS]:0 $A:0 [SEP]:0 [SEP]:0 $B:0 [SEP]:0"), FAST, "its post_processor"),
    "added": (lambda: bert(added=("[DOSE]", "zzqq")), BERT, r"has 2 added tokens, such as '\[DOSE\]'"),
    "added_and_not_in_settings": (
        lambda: bert(added=("zzqq",)),
        BERT | {"added_tokens_decoder": {"0": {"content": "[PAD]", "special": True}}},
        "has 1 added tokens, such as 'zzqq'",
    ),
    "contradiction": (
        lambda: bert(lowercase=True),
        BERT | {"do_lower_case": False},
        "do_lower_case=False and .*lowercase=True",
    ),
    "special_tokens_of_others": (bert, BERT | {"cls_token": "<s>"}, "lacks the cls_token '<s>'"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_tokenizer_than_berts_is_refused_by_name(tmp_path, name):
    make, settings, words = OTHERS[name]
    folder = write_checkpoint(tmp_path / "checkpoint", make(), settings)
    with pytest.raises(UserError, match=words) as caught:
        load_checkpoint(str(folder), LABELS)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vocabulary", "settings", "says"),
    [
        (entries(unigram()), {}, "Unigram or BPE pieces of SentencePiece"),
        (entries(byte_bpe()), {}, "BPE pieces of bytes"),
        (entries(bert()), {"word_tokenizer_type": "mecab"}, "word_tokenizer_type"),
        (entries(bert()), {"do_basic_tokenize": False}, "do_basic_tokenize"),
        (["a", "b", "##c"], {}, r"\[UNK\]|pad_token"),
    ],
    ids=["unigram", "bpe", "mecab", "whitespace", "no special tokens"],
)
def test_a_vocab_txt_of_another_tokenizer_is_refused(tmp_path, vocabulary, settings, says):
    folder = write_checkpoint(tmp_path / "checkpoint", None, settings, vocabulary=vocabulary)
    with pytest.raises(UserError, match=says):
        load_checkpoint(str(folder), LABELS)


def test_the_class_may_be_named_in_config_json_alone(tmp_path):
    other = {"tokenizer_class": "BertJapaneseTokenizer"}
    folder = write_checkpoint(tmp_path / "checkpoint", None, {}, vocabulary=entries(bert()), other=other)
    with pytest.raises(UserError, match="BertJapaneseTokenizer"):
        load_checkpoint(str(folder), LABELS)


# As transformers 4 wrote it.
V4 = {
    "added_tokens_decoder": {
        str(i): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for i, token in enumerate(SPECIAL)
    },
    "clean_up_tokenization_spaces": True,
    "cls_token": "[CLS]",
    "do_basic_tokenize": True,
    "do_lower_case": False,
    "mask_token": "[MASK]",
    "model_max_length": 512,
    "never_split": None,
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "tokenizer_class": "BertTokenizer",
    "unk_token": "[UNK]",
}
GOOD = {
    "transformers_4": (bert, V4),
    "cased": (lambda: bert(), BERT | {"do_lower_case": False}),
    "uncased": (lambda: bert(lowercase=True), BERT | {"do_lower_case": True}),
    "fast_class": (lambda: bert(lowercase=True), {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True}),
    "cased_without_settings": (lambda: bert(), None),
    "uncased_without_settings": (lambda: bert(lowercase=True), None),
    "settings_in_tokenizer_json_alone": (
        lambda: bert(normalizer=normalizers.BertNormalizer(lowercase=True, strip_accents=False)),
        FAST | {"model_max_length": 64},
    ),
    "accents_as_by_default": (
        lambda: bert(normalizer=normalizers.BertNormalizer(lowercase=False, strip_accents=False)),
        BERT | {"do_lower_case": False, "strip_accents": None},
    ),
    "accents_named_in_settings_alone": (bert, BERT | {"do_lower_case": False, "strip_accents": False}),
    "special_added": (lambda: bert(special=("[E1]",)), BERT | {"do_lower_case": False}),
    "no_chinese": (
        lambda: bert(normalizer=normalizers.BertNormalizer(lowercase=False, handle_chinese_chars=False)),
        BERT | {"do_lower_case": False, "tokenize_chinese_chars": False},
    ),
}


def _without_type(fields):
    del fields["model"]["type"]


def _with_bert_processing(fields):
    fields["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}


def _cutting_and_padding(fields):
    fields["truncation"] = {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}


@pytest.mark.parametrize("change", [_without_type, _with_bert_processing, _cutting_and_padding])
def test_older_forms_of_tokenizer_json_are_read(tmp_path, change):
    one, other = (write_checkpoint(tmp_path / name, None, V4, vocabulary=entries(bert())) for name in ("one", "other"))
    other.joinpath("vocab.txt").write_bytes(one.joinpath("vocab.txt").read_bytes())
    expected = load_checkpoint(str(one), LABELS).tokenizer
    fields = json.loads(expected.backend_tokenizer.to_str())
    change(fields)
    (other / "tokenizer.json").write_text(json.dumps(fields))
    got = load_checkpoint(str(other), LABELS).tokenizer
    assert tokenize(got, LINES, max_length=99) == tokenize(expected, LINES, max_length=99)


def _with_damaged_table(fields):
    fields["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}


def _with_damaged_table_for_words(fields):
    fields["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "["}}]}


def _without_special_tokens(fields):
    fields["post_processor"]["special_tokens"] = {}


@pytest.fixture
def no_backtrace(monkeypatch):
    """Where a backtrace is asked for, Rust makes one of each panic, which takes minutes."""
    monkeypatch.setenv("RUST_BACKTRACE", "0")


@pytest.mark.parametrize("change", [_with_damaged_table, _with_damaged_table_for_words, _without_special_tokens])
def test_a_damaged_tokenizer_json_is_named_also_where_the_library_panics(tmp_path, change, no_backtrace):
    folder = write_checkpoint(tmp_path / "checkpoint", bert(), BERT | {"do_lower_case": False})
    path = folder / "tokenizer.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError, match=f"{path} is (cut or )?damaged .*: download it again"):
        load_checkpoint(str(folder), LABELS)
    with pytest.raises(UserError, match=f"{path} is damaged .*: write the model again"):
        read_tokenizer(path)


def test_a_tokenizer_that_panics_on_a_text_is_an_error_of_that_text(no_backtrace):
    fields = json.loads(bert().to_str())
    _without_special_tokens(fields)
    broken = Tokenizer.from_str(json.dumps(fields))

    class Panics:
        def encode_batch(self, texts, add_special_tokens):
            return broken.encode_batch(texts)

    with pytest.raises(UserError, match="the tokenizer fails on a text .*: its tokenizer.json is damaged"):
        encode(Panics(), (2, 3), ["a"], max_length=9)


@pytest.mark.parametrize("name", GOOD)
def test_berts_tokenizer_gives_the_ids_of_its_tokenizer_json(tmp_path, name):
    make, settings = GOOD[name]
    folder = write_checkpoint(tmp_path / "checkpoint", make(), settings)
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.encode_special_tokens = True
    tokenizer = load_checkpoint(str(folder), LABELS).tokenizer
    texts = [*LINES, "[E1] Dog [/E1]"]
    assert tokenize(tokenizer, texts, max_length=999).input_ids == [e.ids for e in backend.encode_batch(texts)]


@pytest.mark.parametrize("lowercase", [False, True])
def test_vocab_txt_alone_is_read_as_transformers_reads_it(tmp_path, lowercase):
    settings = {"do_lower_case": lowercase}
    folder = write_checkpoint(tmp_path / "one", None, settings, vocabulary=entries(bert(lowercase=lowercase)))
    expected = BertTokenizer.from_pretrained(str(folder))(LINES)["input_ids"]
    assert tokenize(load_checkpoint(str(folder), LABELS).tokenizer, LINES, max_length=999).input_ids == expected


def test_a_vocabulary_with_capitals_that_is_read_without_them_is_said(tmp_path, capsys):
    write_checkpoint(tmp_path / "one", None, vocabulary=entries(bert(size=400)))
    load_checkpoint(str(tmp_path / "one"), LABELS)
    assert "texts are lowercased, though the vocabulary holds" in capsys.readouterr().out


def test_special_tokens_beside_berts_are_said_to_be_read_as_text(tmp_path, capsys):
    write_checkpoint(tmp_path / "one", bert(special=("[E1]",)), BERT | {"do_lower_case": False})
    load_checkpoint(str(tmp_path / "one"), LABELS)
    assert "text that spells a special token, such as '[E1]', is read as text" in capsys.readouterr().out


def test_a_vocab_txt_that_is_cut_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "one", None, vocabulary=[*SPECIAL, *(f"word{i}" for i in range(95))])
    whole = (folder / "vocab.txt").read_bytes()
    (folder / "vocab.txt").write_bytes(whole[:600].rstrip(b"\n"))
    with pytest.raises(UserError, match=r"vocab\.txt seems cut: it holds \d+ entries of 100 .* ends within a line"):
        load_checkpoint(str(folder), LABELS)
    (folder / "vocab.txt").write_bytes(whole[:200].rpartition(b"\n")[0] + b"\n")
    with pytest.raises(UserError, match=r"vocab\.txt seems cut: it holds \d+ entries of 100 in config.json; download"):
        load_checkpoint(str(folder), LABELS)
    (folder / "vocab.txt").write_bytes(whole.rstrip(b"\n"))  # whole, without its last line break
    load_checkpoint(str(folder), LABELS)


def test_texts_of_which_most_tokens_are_unknown_are_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "one", bert(), BERT | {"do_lower_case": False})
    load_checkpoint(str(folder), LABELS, texts=LINES)
    with pytest.raises(UserError, match=r"of the 3 tokens of 2 texts 2 are \[UNK\].*language of the texts"):
        load_checkpoint(str(folder), LABELS, texts=["ไทยภาษา", "the ཨ"])


def test_minilm_is_loaded_and_so_is_its_vocab_txt_alone(tmp_path):
    source = minilm_or_skip()
    shutil.copyfile(source / "vocab.txt", tmp_path / "vocab.txt")
    one, other = (tokenize(load_tokenizer(folder), LINES, max_length=99) for folder in (source, tmp_path))
    assert one == other


def test_a_vocabulary_as_large_as_that_of_multilingual_bert_is_read(tmp_path):
    many = [*entries(bert()), *(f"word{i}" for i in range(120_000))]
    folder = write_checkpoint(tmp_path / "one", None, {"do_lower_case": False}, vocabulary=many)
    tokenizer = load_checkpoint(str(folder), LABELS).tokenizer
    assert tokenize(tokenizer, ["word77777"], max_length=9).input_ids == [[2, many.index("word77777"), 3]]
