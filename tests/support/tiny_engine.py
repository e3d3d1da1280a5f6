"""A model for the server's own tests: it knows shouting, needs no library, and is as slow as it is told to be."""

import time
from pathlib import Path

import numpy as np

from kfp_bert_components.serving.engines import Answers
from kfp_bert_components.serving.versions import ModelVersion


class TinyEngine:
    """Calls a text in capitals a "shout".

    Args:
        seconds: How long a call takes, for each token.
        number: The version's number.
        pair: Whether it takes two texts.

    Attributes:
        calls: The first texts of each call.
    """

    name = "tiny"
    labels = ("calm", "shout")
    max_length = 256

    def __init__(self, seconds: float = 0.0, number: int = 1, pair: bool = False) -> None:
        self.version = ModelVersion(Path("tiny"), number, f"print {number}")
        self.inputs = ("text", "text_pair") if pair else ("text",)
        self.seconds = seconds
        self.calls: list[list[str]] = []

    def answer(self, instances):
        texts = [instance["text"] for instance in instances]
        self.calls.append(texts)
        if "fail" in texts:
            raise ValueError("this text fails")
        time.sleep(self.seconds * sum(2 + len(text) // 4 for text in texts))
        high = np.array([0.75 if text.isupper() else 0.25 for text in texts], np.float32)
        return Answers([self.labels[int(score > 0.5)] for score in high], np.stack([1 - high, high], axis=1))


def load_graph(version: ModelVersion, threads: int) -> TinyEngine:
    """In the place of `load_engine`: a version whose graph is b"bad" can't be loaded."""
    if (version.folder / "saved_model.pb").read_bytes() == b"bad":
        raise ValueError("its graph is bad")
    engine = TinyEngine(number=version.number)
    engine.version = version
    return engine
