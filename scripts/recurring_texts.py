"""How many of the texts of test rows train has too, by their number of words: what `leak_words` is chosen by.

    python scripts/recurring_texts.py

Each film is tested on the texts of the other two (IMSDB_FOLDER), and a random quarter of the bundled sample on the
rest. Texts count as equal, and words are counted, as `prepare_text_data` does. Prints a table for each.
"""

import csv
import random
from collections import Counter

import numpy as np
import pyarrow as pa
from films import CONAN, ROOT, SWORDFISH, TERMINATOR, read_film

from kfp_bert_components.data.words import hash_words

SAMPLE = ROOT / "src" / "kfp_bert_components" / "local" / "sample" / "screenplay.csv"
FILMS = (CONAN, SWORDFISH, TERMINATOR)
Rows = list[tuple[str, str]]


def main() -> None:
    """Print the tables."""
    films = {name: read_film(name) for name in FILMS}
    for name, test in films.items():
        show(name, [row for other in FILMS if other != name for row in films[other]], test)
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        rows = [(text, label) for text, label in csv.reader(file)][1:]
    random.Random(0).shuffle(rows)
    show(SAMPLE.name, rows[len(rows) // 4 :], rows[: len(rows) // 4])


def show(name: str, train: Rows, test: Rows) -> None:
    """Texts of test that train has, of all, by words (the last line: six or more), and the labels of their rows."""
    print(f"{name}: {len(test):,} test rows, {len(train):,} training rows")
    known = set(keys(train)[0].tolist())
    found, words = keys(test)
    for least in range(7):
        chosen = [i for i, count in enumerate(words.tolist()) if min(count, 6) == least]
        shared = [i for i in chosen if int(found[i]) in known]
        texts, common = len(set(found[chosen].tolist())), len(set(found[shared].tolist()))
        labels = Counter(test[i][1] for i in shared).most_common()
        print(f"  {least} words: {common:,} of {texts:,} texts, {len(shared):,} of {len(chosen):,} rows {dict(labels)}")


def keys(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Of each row a hash of its text without case and punctuation, and its number of words."""
    texts = pa.array([text for text, _ in rows])
    words, sequences = hash_words(texts)
    return sequences, words.counts


if __name__ == "__main__":
    main()
