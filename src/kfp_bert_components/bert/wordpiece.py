"""The WordPiece tokenizer as a TensorFlow graph, of core operations only.

So the graph of a served model takes plain strings and loads in any TensorFlow. Its steps: each character is replaced
as `character_table` says, the text is split at spaces, and whole words are looked up in the vocabulary. Only words that
are not there go through the greedy search for their longest known pieces.

A batch of texts is one flat list of words (then of pieces), with the places where each text starts in it [batch + 1].
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kfp_bert_components.bert.character_table import BLOCK, NOTHING, SELF, character_table
from kfp_bert_components.bert.tokenizer_files import refuse_added

_NONE = -1  # no id


class WordPiece(tf.Module):
    """Texts to token ids, exactly as transformers gives them with `split_special_tokens=True`.

    Args:
        tokenizer: The transformers tokenizer to reproduce.
        max_length: Most tokens in a sequence, special tokens included.
        truncation: What stays of a longer text: "head" or "head_tail"; see `bert.tokens.encode`.

    Raises:
        UserError: The tokenizer has added tokens that are not special (transformers looks for those before it splits
            a text), or a vocabulary that `character_table` refuses.
    """

    def __init__(self, tokenizer: Any, max_length: int, truncation: str = "head") -> None:
        super().__init__(name="wordpiece")
        refuse_added(tokenizer.backend_tokenizer, "the tokenizer")
        table = character_table(tokenizer)
        self._block_starts = tf.constant(table.index * BLOCK)
        self._blocks, self._rows = tf.constant(table.blocks.reshape(-1)), tf.constant(table.rows)
        model = tokenizer.backend_tokenizer.model
        self._prefix, self._most_characters = model.continuing_subword_prefix, model.max_input_chars_per_word
        vocabulary = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
        sizes = {piece: len(piece.removeprefix(self._prefix)) for piece in vocabulary}
        # Longer words are unknown, whatever the vocabulary holds.
        known = {piece: vocabulary[piece] for piece, size in sizes.items() if size <= self._most_characters}
        self._vocabulary, self._longest = _hash_table(known), max(sizes[piece] for piece in known)
        self._unknown = vocabulary[model.unk_token]
        self._special = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
        self._max_length, self._truncation = max_length, truncation

    def __call__(self, texts: tf.Tensor, pairs: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Token ids of texts, padded to the longest.

        Args:
            texts: Strings [batch].
            pairs: Second texts, strings [batch], or None.

        Returns:
            int32 `input_ids`, `token_type_ids` and `attention_mask`, each [batch, longest].
        """
        if pairs is None:
            room = self._max_length - 2
            pieces, starts = self._pieces(texts, most_words=room)
            count = starts[1:] - starts[:-1]
            return self._layout([(pieces, starts, tf.minimum(count, room))])
        first, first_starts = self._pieces(texts)
        second, second_starts = self._pieces(pairs)
        rooms = _share(
            first_starts[1:] - first_starts[:-1], second_starts[1:] - second_starts[:-1], self._max_length - 3
        )
        return self._layout([(first, first_starts, rooms[0]), (second, second_starts, rooms[1])])

    def _pieces(self, texts: tf.Tensor, most_words: int | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids of the pieces of all texts, and where each text starts among them."""
        words, row, starts = self._words(texts)
        if most_words is not None:
            words, starts = _drop_middle(words, row, starts, *_ends(most_words, self._truncation))
        ids = self._vocabulary.lookup(words)
        unknown = tf.reshape(tf.where(ids == _NONE), [-1])
        unique, which = tf.unique(tf.gather(words, unknown))
        split = tf.gather(self._split(unique), which)  # [unknown, most pieces]
        pieces = tf.pad(ids[:, None], [[0, 0], [0, tf.shape(split)[1] - 1]], constant_values=_NONE)
        pieces = tf.tensor_scatter_nd_update(pieces, unknown[:, None], split)
        place, starts = _places(pieces != _NONE, starts)
        return tf.gather_nd(pieces, place), starts

    def _words(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The words of all texts, the number of the text that each is from, and where each text starts among them."""
        splits, codes = tf.raw_ops.UnicodeDecode(
            input=texts, input_encoding="UTF-8", errors="replace", Tsplits=tf.int32
        )
        block = tf.gather(self._block_starts, tf.bitwise.right_shift(codes, BLOCK.bit_length() - 1))
        row = tf.gather(self._blocks, block + tf.bitwise.bitwise_and(codes, BLOCK - 1))
        new = tf.gather(self._rows, row)  # [characters, most]
        place, splits = _places(new != NOTHING, splits)
        new = tf.gather_nd(new, place)
        new = tf.where(new == SELF, tf.gather(codes, place[:, 0]), new)
        normalized = tf.raw_ops.UnicodeEncode(input_values=new, input_splits=splits, output_encoding="UTF-8")
        where, words, _ = tf.raw_ops.StringSplit(input=normalized, delimiter=" ", skip_empty=True)
        row = where[:, 0]
        return words, row, _first_at(row, tf.range(tf.size(texts) + 1))

    def _split(self, words: tf.Tensor) -> tf.Tensor:
        """Greedy longest pieces of unknown words: ids [words, most pieces], filled up with _NONE."""
        lengths = tf.strings.length(words, unit="UTF8_CHAR")
        too_long = lengths > self._most_characters
        lengths = tf.where(too_long, 0, lengths)
        sizes = tf.range(tf.minimum(self._longest, tf.reduce_max(tf.concat([[1], lengths], 0))), 0, -1)

        def step(at: tf.Tensor, pieces: tf.Tensor, prefix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            # `substr` refuses places past the end of a word, so words that are done ask for their first character
            active = at < lengths
            begin = tf.where(active, at, 0)[:, None]
            candidates = tf.strings.substr(
                words[:, None], begin + tf.zeros_like(sizes), tf.zeros_like(begin) + sizes, unit="UTF8_CHAR"
            )
            found = self._vocabulary.lookup(tf.strings.join([prefix, candidates]))
            # candidates longer than the rest of the word are cut to that rest, which is itself a candidate
            best = tf.argmax(found != _NONE, axis=1, output_type=tf.int32)
            piece = tf.gather(found, best, batch_dims=1)
            piece = tf.where(active, piece, _NONE)
            failed = active & (piece == _NONE)
            pieces = tf.where(failed[:, None], _NONE, pieces)
            piece = tf.where(failed, self._unknown, piece)
            # a word of which some part is unknown becomes one unknown token, at its last place, and is done
            at = tf.where(failed, lengths, at + tf.gather(sizes, best))
            return at, tf.concat([pieces, piece[:, None]], axis=1), tf.constant(self._prefix)

        _, pieces, _ = tf.while_loop(
            lambda at, *_: tf.reduce_any(at < lengths),
            step,
            (tf.zeros_like(lengths), tf.where(too_long, self._unknown, _NONE)[:, None], tf.constant("")),
            shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None, None]), tf.TensorShape([])),
        )
        return pieces

    def _layout(self, segments: Sequence[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]) -> dict[str, tf.Tensor]:
        """The result: segments between [CLS] and [SEP] tokens, padded.

        Args:
            segments: One, or two for pairs: pieces of all texts, where each text starts, how many it keeps [batch].
        """
        cls, sep, pad = self._special
        total = tf.add_n([kept for *_, kept in segments]) + len(segments) + 1
        column = tf.range(tf.reduce_max(tf.concat([[1], total], 0)))[None, :]
        ids = tf.fill([tf.size(total), tf.size(column)], pad)
        types = tf.zeros_like(ids)
        ids = tf.where(column == 0, cls, ids)
        begin = tf.ones_like(total)
        for number, (pieces, starts, kept) in enumerate(segments):
            here = column - begin[:, None]
            inside = (here >= 0) & (here < kept[:, None])
            source = starts[:-1, None] + here
            if self._truncation != "head":
                count = starts[1:] - starts[:-1]
                head, _ = _ends(kept, self._truncation)
                source += tf.where(here < head[:, None], 0, (count - kept)[:, None])
            source = tf.where(inside, source, 0)
            ids = tf.where(inside, tf.gather(tf.concat([pieces, [pad]], 0), source), ids)
            ids = tf.where(here == kept[:, None], sep, ids)
            if number:
                types = tf.where((here >= 0) & (here <= kept[:, None]), number, types)
            begin += kept + 1
        mask = tf.cast(column < total[:, None], tf.int32)
        return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


def _hash_table(vocabulary: dict[str, int]) -> tf.lookup.StaticHashTable:
    keys = tf.constant(list(vocabulary), tf.string)
    values = tf.constant(list(vocabulary.values()), tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), _NONE)


def _ends(room: Any, truncation: str) -> tuple[Any, Any]:
    """How many tokens stay at the head and at the tail of a long text."""
    if truncation == "head":
        return room, room - room
    return room // 4, room - room // 4


def _places(mask: tf.Tensor, starts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The indices [n, dimensions] at which a mask is true, and where each text starts among them.

    Args:
        mask: Its first dimension counts words (or characters or pieces), [words, ...].
        starts: Where each text starts among the words, [batch + 1].
    """
    place = tf.where(mask)
    return place, _first_at(place[:, 0], starts)


def _first_at(sorted_rows: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    """For each start the index of the first value of `sorted_rows` that is not less."""
    values = tf.cast(starts, tf.int64)
    return tf.raw_ops.LowerBound(sorted_inputs=sorted_rows[None], values=values[None], out_type=tf.int32)[0]


def _drop_middle(
    words: tf.Tensor, row: tf.Tensor, starts: tf.Tensor, head: int, tail: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Drops words that are cut off in any case, since each word gives at least one piece.

    Of a text that loses words one more stays than there is room for, so that the text still counts as too long.
    """
    place = tf.range(tf.size(words)) - tf.gather(starts, row)
    stay = place <= head
    if tail:
        stay |= place >= tf.gather(starts[1:] - starts[:-1], row) - tail
    place, starts = _places(stay, starts)
    return tf.gather_nd(words, place), starts


def _share(first: tf.Tensor, second: tf.Tensor, room: int) -> tuple[tf.Tensor, tf.Tensor]:
    """How many tokens each text of a pair keeps; see `bert.tokens.share`."""
    short = tf.minimum(tf.minimum(first, second), room // 2)
    fits = first + second <= room
    first_is_short = first <= second
    return (
        tf.where(fits, first, tf.where(first_is_short, short, room - short)),
        tf.where(fits, second, tf.where(first_is_short, room - short, short)),
    )


def differences(
    tokenizer: Any, graph: WordPiece, texts: Sequence[str], pairs: Sequence[str] | None, batch_size: int = 256
) -> list[int]:
    """Compare a tokenizer in a graph with the one it was made from.

    Args:
        tokenizer: The transformers tokenizer.
        graph: The tokenizer in the graph.
        texts: The (first) texts to compare on.
        pairs: The second texts, or None.
        batch_size: Texts in one call of the graph.

    Returns:
        The numbers of the texts that get other ids or token types.
    """
    from kfp_bert_components.bert.tokenizer import tokenize

    expected = tokenize(tokenizer, texts, pairs, max_length=graph._max_length, truncation=graph._truncation)
    signature = [tf.TensorSpec([None], tf.string)] * (1 if pairs is None else 2)
    run, different = tf.function(graph.__call__, autograph=False, input_signature=signature), []
    for start in range(0, len(texts), batch_size):
        part = slice(start, start + batch_size)
        inputs = [texts[part]] if pairs is None else [texts[part], pairs[part]]
        got = run(*(tf.constant(list(values)) for values in inputs))
        ids, types, mask = (got[key].numpy() for key in ("input_ids", "token_type_ids", "attention_mask"))
        for i, n in enumerate(mask.sum(axis=1)):
            if (
                ids[i, :n].tolist() != expected.input_ids[start + i]
                or types[i, :n].tolist() != expected.token_type_ids[start + i]
            ):
                different.append(start + i)
    return different
