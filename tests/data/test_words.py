"""Words, their hashes, and the near duplicates found by them."""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from kfp_bert_components.data.compiled import mix
from kfp_bert_components.data.digests import digest
from kfp_bert_components.data.lookup import Lookup
from kfp_bert_components.data.marks import Marks
from kfp_bert_components.data.near import NearIndex, Piles, Sketches, similarity
from kfp_bert_components.data.words import hash_words
from kfp_bert_components.data.xxh3 import xxh3


def key(text: str) -> int:
    return int(hash_words(pa.array(["before", text, "after"])).sequences[1])


def test_case_punctuation_spaces_and_unicode_forms_do_not_matter():
    assert key("Hello, World!") == key(" hello   world") == key("HELLO-WORLD")
    assert key("ＣＡＦÉ ﬁn") == key("café fin")
    assert key("日本語、テスト") == key("日本語 テスト")


def test_words_their_order_and_their_borders_matter():
    assert len({key(text) for text in ("ab", "a b", "b a", "abc", "x" * 99, "x" * 99 + "y", "é", "e")}) == 8


def test_rows_that_touch_without_a_space_are_split():
    words = hash_words(pa.array(["one two", "two", "", "...", "two"]))
    assert words.counts.tolist() == [2, 1, 0, 0, 1]
    assert words.hashes[1] == words.hashes[2] == words.hashes[3]


def test_a_slice_of_an_array_gives_the_same_as_a_copy_of_it():
    texts = pa.array([f"row {i} of some é" if i % 3 else f"row {i}" for i in range(50)])
    whole = hash_words(texts).sequences
    assert (hash_words(texts.slice(7, 20)).sequences == whole[7:27]).all()


def test_nearly_all_pairs_that_share_four_fifths_of_their_words_are_found():
    rng = np.random.default_rng(0)
    vocabulary = [f"w{i}" for i in range(20_000)]
    chances = 1 / np.arange(1, 20_001)
    base = [rng.choice(vocabulary, n, p=chances / chances.sum()).tolist() for n in rng.integers(6, 60, 1_000)]
    changed = [list(words) for words in base]
    for words in changed:
        for place in rng.choice(len(words), rng.integers(0, len(words) // 9 + 1), replace=False):
            words[place] = f"new{rng.integers(10**6)}"
    texts = [pa.array([" ".join(words) for words in rows]) for rows in (base, changed)]
    piles = Piles(0.8)
    kept, others = (digest(rows, piles) for rows in texts)
    counts, bitmaps = np.concatenate([kept.counts, others.counts]), np.concatenate([kept.bitmaps, others.bitmaps])
    wanted = Marks(len(others.keys))
    wanted.add(others.keys)
    index = NearIndex(piles, Sketches(np.repeat([1, 0], 1_000), counts, bitmaps), np.arange(1_000))
    words = hash_words(texts[0])
    index.add(words, *piles.neighbour_keys(words, wanted))
    index.close()
    found = index.find(texts[1], others.keys, others.key_starts, 1_000)
    near = [i for i in range(1_000) if share(base[i], changed[i]) >= 0.8]
    assert len(near) > 900
    assert np.isin(near, found[:, 0] - 1_000).sum() >= 0.97 * len(near)
    assert all(share(base[twin], changed[row - 1_000]) >= 0.8 for row, twin in found.tolist())


@settings(deadline=None)  # compiles at its first call
@given(st.lists(st.lists(st.sampled_from(["a", "b", "cd", "É", "1", ".", "x y z"]), max_size=40)))
def test_a_digest_holds_what_the_words_say(rows):
    texts, piles = pa.array([" ".join(words) for words in rows], pa.string()), Piles(0.8)
    found, words = digest(texts, piles), hash_words(texts)
    keys, starts = piles.keys(words)
    assert found.counts.tolist() == words.counts.tolist()
    assert found.sequences.tolist() == words.sequences.tolist()
    assert found.keys.tolist() == keys.tolist() and found.key_starts.tolist() == starts.tolist()
    for row, (low, high) in enumerate(found.bitmaps.tolist()):
        hashes = words.hashes[words.starts[row] : words.starts[row + 1]].tolist()
        assert {bit for bit in range(128) if (high << 64 | low) >> bit & 1} == {value % 128 for value in hashes}


def share(one: list[str], other: list[str]) -> float:
    """Multiset Jaccard similarity by its definition."""
    a, b = Counter(one), Counter(other)
    return (a & b).total() / (a | b).total()


@settings(deadline=None)  # compiles at its first call
@given(*[st.lists(st.sampled_from("abcde"), min_size=1)] * 2)
def test_similarity_is_that_of_multisets(one, other):
    hashes = [hash_words(pa.array([" ".join(words)])).hashes for words in (one, other)]
    assert similarity(*hashes) == share(one, other)


def fnv_1a(word: bytes) -> int:
    """RFC 9923, the 64-bit variant."""
    found = 0xCBF29CE484222325
    for byte in word:
        found = (found ^ byte) * 0x100000001B3 % 2**64
    return found


@settings(deadline=None)  # compiles at its first call
@given(st.lists(st.text(st.characters(max_codepoint=126)), min_size=1, max_size=5))
def test_ascii_words_are_runs_of_letters_and_digits_hashed_by_fnv_1a(texts):
    words = hash_words(pa.array(texts))
    wanted = [re.findall("[a-z0-9]+", text.lower()) for text in texts]
    assert words.counts.tolist() == [len(row) for row in wanted]
    assert words.hashes.tolist() == [mix(np.uint64(fnv_1a(word.encode()))) for row in wanted for word in row]


@settings(deadline=None)  # compiles at its first call
@given(st.lists(st.integers(0, 20)), st.lists(st.integers(0, 20)))
def test_a_lookup_finds_the_first_owner_of_a_key(keys, wanted):
    spread = np.uint64(0x9E3779B97F4A7C15)
    lookup = Lookup(np.array(keys, np.uint64) * spread, np.arange(len(keys)))
    found = lookup.first(np.array(wanted, np.uint64) * spread)
    assert found.tolist() == [keys.index(key) if key in keys else -1 for key in wanted]


@settings(deadline=None)  # compiles at its first call
@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.integers(0, 2**64 - 1)))
def test_marks_have_every_key_that_was_added_and_none_at_first(added, others):
    marks = Marks(len(added))
    had = marks.add(np.array(added, np.uint64))
    assert all(had[index] for index, key in enumerate(added) if key in added[:index])
    assert marks.has(np.array(added, np.uint64)).all()
    assert not Marks(10).has(np.array(others, np.uint64)).any()


def test_marks_take_the_keys_of_some_rows_only():
    keys, marks = np.arange(6, dtype=np.uint64) << np.uint64(61), Marks(6)
    marks.add_of(keys, np.array([0, 2, 3, 6], np.int32), np.array([True, False, True]))
    assert marks.has(keys).tolist() == [True, True, False, True, True, True]


def test_marks_rarely_have_a_key_that_was_not_added():
    keys = np.random.default_rng(0).integers(2**64, size=20_000, dtype=np.uint64)
    marks = Marks(10_000)
    assert marks.add(keys[:10_000]).mean() < 1 / 8 and marks.has(keys[10_000:]).mean() < 1 / 8


@settings(deadline=None)  # compiles at its first call
@given(st.lists(st.binary(max_size=300)))
def test_xxh3_is_that_of_the_xxhash_package(texts):
    check_xxh3(texts)


def test_xxh3_is_that_of_the_xxhash_package_at_every_length():
    data = np.random.default_rng(0).bytes(5_000)
    check_xxh3([data[:size] for size in range(2_200)] + [data])


def check_xxh3(texts: list[bytes]) -> None:
    starts = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    found = xxh3(np.frombuffer(b"".join(texts), np.uint8), starts)
    assert found.tolist() == [xxh3_64_intdigest(text) for text in texts]
