"""A metric is added in one file: its function and a line in the table of that file."""

import subprocess
import sys

from tests.conftest import ROOT

# Stands for two lines at the end of count_metrics.py and of row_metrics.py.
ADDED = """
import numpy as np
from kfp_bert_components.evaluation import count_metrics, row_metrics

def balanced_accuracy(counts, present):
    return count_metrics.COUNT_METRICS["macro_recall"].both(counts, present)

def spherical(truth, probabilities):
    rows = probabilities[np.arange(len(truth)), truth] / np.linalg.norm(probabilities, axis=1)
    return float(rows.mean()), rows - rows.mean()

count_metrics.COUNT_METRICS["balanced_accuracy"] = count_metrics.CountMetric(balanced_accuracy, "balanced accuracy")
row_metrics.ROW_METRICS["spherical"] = row_metrics.RowMetric(spherical, "spherical score")
"""
USED = """
import json, sys
from pathlib import Path
from kfp_bert_components.evaluation import read_evaluation
from kfp_bert_components.evaluation.details import details
from kfp_bert_components.gate import Policy
from kfp_bert_components.reports.evaluation import page
from kfp_bert_components.steps.compare_models import compare_models
from tests.support.evaluations import scores, write_numbers

place, rng = Path(sys.argv[1]), np.random.default_rng(0)
truth = rng.integers(0, 3, 300)
new, old = (
    write_numbers(place / name, truth, scores(rng, truth, 3, strength), list("abc"))
    for name, strength in (("new", 3.5), ("old", 1.0))
)
(place / "evaluation.html").write_text(page(read_evaluation(new), details(read_evaluation(new)), []))
for metric in ("balanced_accuracy", "spherical"):
    paths = [place / metric / name for name in ("decision", "report.html", "summary.md")]
    made = compare_models(new, old, *paths, Policy(primary_metric=metric))
    assert (made.outcome, made.difference["metric"]) == ("PROMOTE", metric), made
    assert made.difference["low_95"] > 0
"""


def test_a_metric_that_is_added_in_one_file_is_measured_shown_and_can_be_what_must_improve(tmp_path):
    subprocess.run([sys.executable, "-c", ADDED + USED, str(tmp_path)], check=True, cwd=ROOT)
    record = (tmp_path / "new" / "evaluation.json").read_text()
    for name, title in (("balanced_accuracy", "balanced accuracy"), ("spherical", "spherical score")):
        assert f'"{name}": {{' in record
        assert title in (tmp_path / "evaluation.html").read_text()
        assert title in (tmp_path / name / "report.html").read_text()
        assert title.capitalize() in (tmp_path / name / "summary.md").read_text()
