"""Words and their hashes, the ids of texts, and the near duplicates found by them."""

import csv
import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from kfp_bert_components.data.ids import hash_texts, ids_of, spread
from kfp_bert_components.data.near_duplicates import NearIndex, similarity
from kfp_bert_components.data.words import hash_words, mix

SAMPLE = Path(__file__).parents[2] / "src/kfp_bert_components/local/sample/screenplay.csv"


def key(text: str) -> int:
    return int(hash_words(pa.array(["before", text, "after"]))[1][1])


def test_case_punctuation_spaces_and_unicode_forms_do_not_matter():
    assert key("Hello, World!") == key(" hello   world") == key("HELLO-WORLD")
    assert key("ＣＡＦÉ ﬁn") == key("café fin")
    assert key("日本語、テスト") == key("日本語 テスト")


# A soft hyphen, joiners, a mark of direction, a variation selector; of kanji, too; a Hangul filler.
UNSEEN = "\u00ad\u034f\u200c\u200d\u200e\u2060\ufe0f\ufeff\U000e0100\u3164"


def test_case_does_not_matter_where_a_letter_becomes_two_or_depends_on_its_place():
    assert key("Die Straße") == key("DIE STRASSE") == key("die STRAẞE")
    assert key("ΣΑΣ") == key("σας") == key("σασ") and key("ΑΪ́Σ") == key("αΐς")
    assert key("İSTANBUL") == key("istanbul") == key("i\u0307stanbul")
    every = [chr(code) for code in range(128, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    cased = [char for char in every if len({char, char.upper(), char.lower(), char.casefold()}) > 1 and char != "ı"]
    assert len(cased) > 2_500
    for change in (str.upper, str.lower, str.casefold):
        for form in ("NFC", "NFD"):
            one, other = ([f"a{make(char)}b" for char in cased] for make in (str, change))
            other = [unicodedata.normalize(form, text) for text in other]
            same = hash_words(pa.array(one))[1] == hash_words(pa.array(other))[1]
            assert same.all(), (change, form, [cased[place] for place in np.flatnonzero(~same)])


def test_what_shows_nothing_inside_of_a_word_does_not_matter():
    assert {key(f"Un co{mark}op ici") for mark in UNSEEN} == {key("un coop ici")}
    assert key("cafe\u200d\u0301") == key("café") and key("葛\U000e0100城") == key("葛城")
    assert key("one\u200btwo") == key("one two")  # a zero-width space is a space
    assert hash_words(pa.array(["é a\u00adb c\u200bd"]))[0].counts.tolist() == [4]


def test_joined_emoji_and_words_that_look_alike_are_not_one():
    family = [
        "👨\u200d👩\u200d👧",
        "👨👩👧",
        "👍🏻",
        "👍🏿",
        "❤",
        "1\ufe0f\u20e3",
        "1",
        "ı",
        "i",
        "각",
        "가ㄱ",
        "हिन्दी",
        "हिनदी",
    ]
    assert len({key(text) for text in family}) == len(family)


def test_hashes_of_other_texts_stay_so_that_rows_keep_their_split():
    texts = ["Hello, World!", "한국어 문장입니다.", "Xin chào 日本語", "!? 👍"]
    assert [hex(key(text)) for text in texts] == [
        "0x9c6ed2546927e83d",
        "0xf3d7ea624f805c05",
        "0xa4eac9adde0e0f00",
        "0x5b68ca90d125a7eb",
    ]


def test_words_their_order_and_their_borders_matter():
    assert len({key(text) for text in ("ab", "a b", "b a", "abc", "x" * 99, "x" * 99 + "y", "é", "e")}) == 8


def test_rows_that_touch_without_a_space_are_split():
    words, _ = hash_words(pa.array(["one two", "two", "", "...", "two"]))
    assert words.counts.tolist() == [2, 1, 0, 0, 1]
    assert words.hashes[1] == words.hashes[2] == words.hashes[3]


def test_a_slice_of_an_array_gives_the_same_as_a_copy_of_it():
    texts = pa.array([f"row {i} of some é" if i % 3 else f"row {i}" for i in range(50)])
    _, whole = hash_words(texts)
    _, part = hash_words(texts.slice(7, 20))
    assert (part == whole[7:27]).all()


def edited(words: list[str], vocabulary: list[str], rng: np.random.Generator) -> list[str] | None:
    """The words with some replaced, added and left out, as many as leave four fifths in common; None for none."""
    last, made = None, list(words)
    for _ in range(int(rng.integers(1, max(2, len(words) // 5 + 1)))):
        place, new = int(rng.integers(len(made))), vocabulary[int(rng.integers(len(vocabulary)))]
        change = rng.integers(3)
        if change == 0:
            made[place] = new
        elif change == 1:
            made.insert(place, new)
        elif len(made) > 5:
            del made[place]
        if made != words and share(words, made) >= 0.8:
            last = list(made)
    return last


def recall(lines: list[list[str]], seed: int = 0) -> float:
    """The share of edited lines for which a near one is found among the lines."""
    rng = np.random.default_rng(seed)
    vocabulary = [word for words in lines for word in words]
    pairs = [(words, edited(words, vocabulary, rng)) for words in lines]
    pairs = [(words, changed) for words, changed in pairs if changed]
    kept, asking = (pa.array([" ".join(words) for words in side]) for side in zip(*pairs, strict=True))
    parts = [hash_words(kept.slice(start, 300))[0] for start in range(0, len(kept), 300)]
    index = NearIndex(parts, np.ones(len(kept), np.int8), 0.8)
    found, near = index.find(hash_words(asking)[0], np.zeros(len(asking), np.int8))
    assert all(share(pairs[one][1], pairs[other][0]) >= 0.8 for one, other in zip(found, near, strict=True))
    return len(found) / len(pairs)


def words_of(texts: list[str]) -> list[list[str]]:
    """The words of each different text of five or more."""
    found = [re.findall(r"[a-z0-9]+", text.lower()) for text in dict.fromkeys(texts) if text.isascii()]
    return [words for words in found if len(words) >= 5]


def test_nearly_all_lines_of_a_screenplay_that_share_four_fifths_are_found():
    lines = words_of(pa_csv.read_csv(SAMPLE)[0].to_pylist())
    assert len(lines) > 500 and recall(lines) >= 0.99


def test_nearly_all_lines_of_the_films_that_share_four_fifths_are_found(films: Path):
    texts = []
    for path in sorted(films.glob("*.csv")):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            texts += [row[0] for row in csv.reader(file) if row]
    assert recall(words_of(texts)) >= 0.99


def test_nearly_all_long_texts_that_share_four_fifths_are_found():
    rng = np.random.default_rng(0)
    vocabulary = [f"w{i}" for i in range(20_000)]
    chances = 1 / np.arange(1, 20_001)
    lines = [rng.choice(vocabulary, n, p=chances / chances.sum()).tolist() for n in rng.integers(6, 200, 1_000)]
    assert recall(lines) >= 0.99


@pytest.mark.parametrize("rows", [50, 64, 65, 500, 5_000])
def test_all_texts_of_a_template_are_found_however_many_there_are(rows: int):
    kept, asking = (
        pa.array([f"thank you for your order {start + i} it is on its way to you" for i in range(rows)])
        for start in (0, 10_000)
    )
    # Of a mixture of ranks too: the first texts of a key may all be of the wrong one.
    ranks = np.repeat(np.array([1, 2], np.int8), [rows // 2, rows - rows // 2])
    index = NearIndex([hash_words(kept)[0]], ranks, 0.8)
    for rank in (0, 1):
        found, near = index.find(hash_words(asking)[0], np.full(rows, rank, np.int8))
        assert found.tolist() == list(range(rows)) and (ranks[near] > rank).all()


def test_a_text_is_compared_with_those_of_a_higher_rank_only():
    texts = hash_words(pa.array(["one two three four five six", "one two three four five seven"]))[0]
    index = NearIndex([texts], np.array([1, 2], np.int8), 0.5)
    assert index.find(texts, np.array([0, 1], np.int8))[1].tolist() == [0, 1]
    assert index.find(texts, np.array([2, 2], np.int8))[0].tolist() == []


def share(one: list[str], other: list[str]) -> float:
    """Multiset Jaccard similarity by its definition."""
    a, b = Counter(one), Counter(other)
    return (a & b).total() / (a | b).total()


@given(*[st.lists(st.sampled_from("abcde"), min_size=1)] * 2)
def test_similarity_is_that_of_multisets(one, other):
    hashes = [hash_words(pa.array([" ".join(words)]))[0].hashes for words in (one, other)]
    assert similarity(np.sort(hashes[0]), np.sort(hashes[1])) == share(one, other)


def fnv_1a(word: bytes) -> int:
    """RFC 9923, the 64-bit variant."""
    found = 0xCBF29CE484222325
    for byte in word:
        found = (found ^ byte) * 0x100000001B3 % 2**64
    return found


@given(st.lists(st.text(st.characters(max_codepoint=126)), min_size=1, max_size=5))
def test_ascii_words_are_runs_of_letters_and_digits_hashed_by_fnv_1a(texts):
    words, _ = hash_words(pa.array(texts))
    wanted = [re.findall("[a-z0-9]+", text.lower()) for text in texts]
    assert words.counts.tolist() == [len(row) for row in wanted]
    mixed = [mix(np.uint64(fnv_1a(word.encode()))) for row in wanted for word in row]
    assert words.hashes.tolist() == [value >> 32 for value in mixed]


@given(st.lists(st.text()))
def test_the_id_of_a_text_is_its_xxh3_in_hexadecimal_digits(texts):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    hashes = hash_texts(pa.array(texts, pa.string()))
    assert ids_of(hashes).to_pylist() == [f"{xxh3_64_intdigest(text.encode()):016x}" for text in texts]


def splitmix64(state: int, steps: int) -> int:
    """The number after so many steps from this state (Steele, Lea and Flood 2014)."""
    found = (state + steps * 0x9E3779B97F4A7C15) % 2**64
    found = (found ^ found >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    found = (found ^ found >> 27) * 0x94D049BB133111EB % 2**64
    return found ^ found >> 31


@given(st.lists(st.integers(0, 2**64 - 1)), st.integers(0, 5))
def test_hashes_are_spread_evenly_by_splitmix64(hashes, salt):
    wanted = [(splitmix64(one, salt + 1) >> 11) / 2**53 for one in hashes]
    assert spread(np.array(hashes, np.uint64), salt).tolist() == wanted


def test_compiled_loops_that_an_image_brings_are_used_where_it_is_read_only(tmp_path):
    """The image is a folder that is copied from, so that it may be read-only; what is missing in it is compiled."""
    code = "from kfp_bert_components.data.words import mix; import numpy as np; print(mix(np.uint64(1)))"

    def run(**where):
        environment = {**os.environ, "NUMBA_DEBUG_CACHE": "1", **{name: str(path) for name, path in where.items()}}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
        )
        return done.stdout

    assert "data saved" in run(NUMBA_CACHE_DIR=tmp_path / "image")
    with_image = {"KFP_BERT_COMPILED": tmp_path / "image", "NUMBA_CACHE_DIR": tmp_path / "step"}
    for _ in range(2):
        printed = run(**with_image)
        assert "data loaded" in printed and "data saved" not in printed
    assert "data saved" in run(KFP_BERT_COMPILED=tmp_path / "missing", NUMBA_CACHE_DIR=tmp_path / "other")
