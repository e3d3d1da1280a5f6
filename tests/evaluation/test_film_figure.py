"""scripts/film_figure.py: the figures of a raw file, counted without the package."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kfp_bert_components.evaluation import write_evaluation
from kfp_bert_components.evaluation.measure import measure

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "film_figure.py"
# Text, label, what the model says.
ROWS = [
    *[("CUT TO:", "0", "0")] * 6,
    *[("NIGHT", "6", "6")] * 3,
    ("What?", "3", "3"),
    ("MARA", "2", "0"),
    ("Go", "3", "3"),
]


def figure(folder: Path, scored: list[tuple[str, str, str]]) -> tuple[int, dict]:
    """Exit code and figures for the film of ROWS, where only some rows were scored."""
    labels = ["0", "2", "3", "6"]
    said = np.eye(4, dtype=np.float32)[[labels.index(answer) for _, _, answer in scored]]
    texts, given, _ = zip(*scored, strict=True)
    table = pa.table({"id": texts, "text": texts, "label": given})
    write_evaluation(measure(table, said, labels, slices={}, test_fingerprint="film"), folder / "evaluation")
    with (folder / "film.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("", "0"), *(row[:2] for row in ROWS)])
    command = [sys.executable, str(SCRIPT), str(folder / "evaluation"), str(folder / "film.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def test_the_page_of_a_test_split_with_all_rows_has_the_films_figures(tmp_path: Path):
    code, found = figure(tmp_path, ROWS)
    assert code == 0 and (found["rows"], found["without_answer"]) == (12, 0)
    assert found["accuracy"] == found["page_accuracy"] == pytest.approx(11 / 12, abs=1e-4)
    assert found["macro_f1"] == found["page_macro_f1"] == pytest.approx((12 / 13 + 0 + 1 + 1) / 4, abs=1e-4)


def test_a_page_of_other_rows_than_the_films_is_told(tmp_path: Path):
    code, found = figure(tmp_path, list(dict.fromkeys(ROWS)))  # each text once
    assert code == 1 and found["accuracy"] == pytest.approx(11 / 12, abs=1e-4) and found["page_accuracy"] == 0.8
    code, found = figure(tmp_path, ROWS[:-1])
    assert (code, found["without_answer"]) == (1, 1) and found["accuracy"] == pytest.approx(10 / 12, abs=1e-4)
