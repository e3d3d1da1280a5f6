"""A model's accuracy and macro F1 on a film as it is, counted from the raw CSV, beside what its evaluation says.

    python scripts/film_figure.py EVALUATION FILM.csv

EVALUATION is the folder that `evaluate_model` wrote, which has the model's answer to each text of the test split; the
CSV (text and label in its first two columns) is read here with Python's csv module, row by row as often as they occur.
A row whose text has no answer there, because preparing the data dropped it, counts as wrong. Prints a line of JSON;
exits 1 where one of the two figures differs from the evaluation's by more than 0.01.
"""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
from films import read_film

MOST = 0.01


def main() -> int:
    """Print the figures and compare them."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    found = film_figure(Path(sys.argv[1]), Path(sys.argv[2]).resolve())
    print(json.dumps(found))
    return int(differs(found))


def film_figure(evaluation: Path, film: Path) -> dict[str, float]:
    """Rows of the film, how many of them have no answer, and both figures of the film and of the page."""
    page = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))
    table = pq.read_table(evaluation / "predictions.parquet", columns=["text", "probabilities"]).to_pydict()
    answers = {
        text: page["labels"][max(range(len(row)), key=row.__getitem__)]
        for text, row in zip(table["text"], table["probabilities"], strict=True)
    }
    rows = read_film(film)
    given, said = [label for _, label in rows], [answers.get(text, "") for text, _ in rows]
    return {
        "rows": len(rows),
        "without_answer": said.count(""),
        **scores(given, said),
        "page_accuracy": round(page["metrics"]["accuracy"]["value"], 4),
        "page_macro_f1": round(page["metrics"]["macro_f1"]["value"], 4),
    }


def scores(given: list[str], said: list[str]) -> dict[str, float]:
    """Accuracy, and F1 averaged over the labels that occur among the given ones."""
    pairs = list(zip(given, said, strict=True))
    labels = set(given)
    f1 = {one: 2 * pairs.count((one, one)) / (given.count(one) + said.count(one)) for one in labels}
    right = sum(one == other for one, other in pairs)
    return {"accuracy": round(right / len(pairs), 4), "macro_f1": round(sum(f1.values()) / len(labels), 4)}


def differs(found: dict[str, float]) -> bool:
    """Whether the page's figures are not the film's."""
    return any(abs(found[name] - found[f"page_{name}"]) > MOST for name in ("accuracy", "macro_f1"))


if __name__ == "__main__":
    raise SystemExit(main())
