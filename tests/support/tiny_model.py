"""A SavedModel with the serving signature of a bundle that is written in a second: it knows shouting."""

from pathlib import Path

LABELS = ["calm", "shout"]


def write_tiny_saved_model(folder: Path, *, shout_score: float = 0.9, pair: bool = False) -> Path:
    """Write a model that calls text in capitals a "shout" with the given score."""
    import tensorflow as tf

    names = ["text", "text_pair"] if pair else ["text"]

    class Tiny(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = tf.Variable(shout_score)

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
