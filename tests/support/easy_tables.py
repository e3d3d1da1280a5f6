"""Tables that a tiny network learns in seconds: one word of a text says its label."""

import csv
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

WORDS = {
    "animal": ["cat", "dog", "horse", "bird"],
    "colour": ["red", "green", "blue", "white"],
    "number": ["one", "two", "three", "four"],
}
FILL = [f"{first}{last}" for first in ("ba", "de", "fi", "go", "lu", "me", "no", "pa") for last in "bdfgklmnprst"]
# Parameters of finetune_bert that learn them.
TINY = {
    "epochs": 3,
    "learning_rate": 0.005,
    "batch_size": 8,
    "max_length": 24,
    "layers": 1,
    "width": 32,
    "heads": 2,
    "vocabulary_size": 400,
}


def text(rng: random.Random, word: str, fill: Sequence[str] = FILL) -> str:
    """Four words in any order, one of them the given one."""
    words = [word, *(rng.choice(fill) for _ in range(3))]
    rng.shuffle(words)
    return " ".join(words)


def write_easy_lines(
    path: Path,
    rows: int = 600,
    words: Mapping[str, Sequence[str]] = WORDS,
    fill: Sequence[str] = FILL,
    columns: Sequence[str] = ("text", "label"),
    delimiter: str = ",",
) -> Path:
    """Write a table of texts and labels, as many rows of each label."""
    rng = random.Random(len(path.name))
    labels = [list(words)[row % len(words)] for row in range(rows)]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter=delimiter)
        table.writerow(columns)
        table.writerows((text(rng, rng.choice(words[label]), fill), label) for label in labels)
    return path
