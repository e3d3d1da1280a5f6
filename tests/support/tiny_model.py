"""A SavedModel with the serving signature of a bundle that is written in a second: it knows shouting."""

from pathlib import Path

LABELS = ["calm", "shout"]


def write_tiny_saved_model(folder: Path, *, shout_score: float = 0.9, pair: bool = False, words: int = 0) -> Path:
    """Write a model that calls text in capitals a "shout" with the given score.

    Args:
        folder: Where to write it.
        shout_score: The score.
        pair: Whether it takes two texts; the first one counts.
        words: Size of a vocabulary that it holds, too; 0 for none.
    """
    import tensorflow as tf

    names = ["text", "text_pair"] if pair else ["text"]

    class Tiny(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = tf.Variable(shout_score)
            if words:
                numbers = tf.range(words)
                known = tf.lookup.KeyValueTensorInitializer(tf.strings.as_string(numbers), numbers)
                self.vocabulary = tf.lookup.StaticHashTable(known, -1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in names])
        def serve(self, text, text_pair=None):
            shouts = tf.equal(tf.strings.upper(text), text)
            high = tf.where(shouts, self.score, 1.0 - self.score)
            probabilities = tf.stack([1.0 - high, high], axis=1)
            best = tf.argmax(probabilities, axis=1)
            return {
                "label": tf.gather(tf.constant(LABELS), best),
                "score": tf.reduce_max(probabilities, axis=1),
                "probabilities": probabilities,
            }

    module = Tiny()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def write_keyword_model(folder: Path, keywords: dict[str, str], *, pair: bool = False) -> Path:
    """Write a SavedModel that counts words: each one in a text speaks for the class whose keyword it is.

    Args:
        folder: Where to write it.
        keywords: The keyword of each label. A text without any is of the first class.
        pair: Whether it takes two texts; the words of both count.
    """
    import tensorflow as tf

    names = ["text", "text_pair"] if pair else ["text"]

    class Keywords(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in names])
        def serve(self, text, text_pair=None):
            whole = text if text_pair is None else tf.strings.join([text, text_pair], " ")
            words = tf.strings.split(whole).to_tensor("")
            found = tf.cast(words[:, :, None] == tf.constant(list(keywords.values())), tf.float32)
            first = tf.one_hot(0, len(keywords))
            probabilities = tf.nn.softmax(2.0 * tf.reduce_sum(found, axis=1) + first)
            labels = tf.gather(tf.constant(list(keywords)), tf.argmax(probabilities, axis=1))
            return {"label": labels, "score": tf.reduce_max(probabilities, axis=1), "probabilities": probabilities}

    module = Keywords()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder
