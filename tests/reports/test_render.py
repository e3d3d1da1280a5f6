"""The common look: pages stand alone, values are escaped, charts can share a page."""

import re
from html import unescape

import numpy as np
import pytest
from jinja2 import UndefinedError

from kfp_bert_components.evaluation.details import PartMetric
from kfp_bert_components.reports import charts, environment, gate_charts, render
from kfp_bert_components.reports.training import render_training


def page(**context):
    return (
        environment()
        .from_string(
            '{% extends "base.html" %}{% block title %}{{ name }}{% endblock %}'
            "{% block content %}<p>{{ name }}</p>{% for chart in charts %}{{ chart }}{% endfor %}{% endblock %}"
        )
        .render(**context)
    )


def bars(labels):
    figure, axes = charts.new_figure()
    axes.bar(range(len(labels)), [1] * len(labels))
    axes.set_xticks(range(len(labels)), labels)
    return charts.svg(figure, "bars")


def test_values_are_escaped():
    html = page(name="<script>alert(1)</script>", charts=[bars(["<b>&"])])
    assert "<script" not in html and "&lt;script&gt;" in html and "<b>&" not in html


def test_a_page_names_no_address_outside_itself():
    html = page(name="x", charts=[bars(["a", "b"])])
    assert not re.search(r"https?://|//\w|src=|@import", html)


def test_two_charts_have_no_id_in_common_and_every_reference_resolves():
    html = page(name="x", charts=[bars(["a"]), bars(["b"])])
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= set(ids)


def test_a_chart_is_the_same_bytes_each_time():
    assert bars(["a", "b"]) == bars(["a", "b"])


def texts_of(chart):
    """What a reader sees written in a chart."""
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", chart)]


@pytest.mark.parametrize("label", ["$\\frac{", "$5 and $6", "日本語", "a\nb", "\x1b[0m", "𝔘", "<b>&"])
def test_labels_may_hold_anything(label):
    assert {charts.shorten(label), "x"} <= set(texts_of(bars([charts.shorten(label), "x"])))


PARTS = [
    PartMetric("spam", 1200, 0.5, 0.25, 0.75),
    PartMetric("a very long name of a class, longer than fits", 7, -0.5, -0.9, -0.1),
]


@pytest.mark.parametrize("draw", [gate_charts.intervals_chart, gate_charts.metric_chart])
def test_each_line_of_a_chart_has_its_name_and_its_rows(draw):
    texts = texts_of(draw(PARTS, "what is shown"))
    assert "spam (1,200)" in texts and "what is shown" in texts
    assert any(text.startswith("a very long") and text.endswith(" (7)") for text in texts)


def test_a_confusion_matrix_names_its_classes_on_both_sides_and_writes_its_counts():
    (chart,) = gate_charts.confusion_charts({"candidate": np.array([[1200, 3], [4, 50]])}, ["ham", "spam"])
    texts = texts_of(chart)
    assert texts.count("ham") == texts.count("spam") == 2
    assert {"1,200", "3", "4", "50", "true", "predicted", "candidate"} <= set(texts)
    assert gate_charts.confusion_charts({"candidate": np.eye(26, dtype=int)}, list("abcdefghijklmnopqrstuvwxyz")) == []


def test_the_change_and_what_it_must_exceed_are_written_on_their_chart():
    difference = {"value": 0.0312, "delta": 0.01, "low": 0.02, "high": 0.04, "low_95": 0.018, "high_95": 0.045}
    texts = texts_of(gate_charts.difference_chart(difference))
    assert {"+0.031", "must exceed +0.010"} <= set(texts)
    assert any("positive is better" in text for text in texts)


def test_curves_of_two_models_are_named():
    bins = [{"confidence": 0.6, "accuracy": 0.5, "rows": 10}, {"confidence": 0.9, "accuracy": 0.8, "rows": 30}]
    texts = texts_of(gate_charts.reliability_chart({"candidate": bins, "champion": bins}))
    assert {"candidate", "champion", "how sure the model is of its answer"} <= set(texts)


def test_the_page_of_a_training_run_names_axes_and_curves():
    curve = np.array([[0, step, 0.7 - step / 100, 1e-4, 1.0] for step in range(1, 9)])
    evaluations = [
        {
            "trial": 0,
            "step": step,
            "metrics": dict.fromkeys(("loss", "accuracy", "macro_f1", "weighted_f1", "mcc"), 0.5),
        }
        for step in (4, 8)
    ]
    html = render_training(
        curve=curve,
        evaluations=evaluations,
        outcomes=["finished"],
        best=(0, 8),
        steps_per_epoch=4,
        first_seed=0,
        metric="macro_f1",
        lengths=(np.array([5, 9, 20]), np.array([4])),
        settings={"base_model": "", "max_length": 16, "truncation": "head"},
        note="",
        metrics=dict.fromkeys(("validation_accuracy", "validation_macro_f1", "validation_loss"), 0.5)
        | {"train_loss": 0.6, "steps": 8, "examples_per_second": 100.0},
        labels=[("ham", 2, 1, 1.0)],
        longest=[],
        hardest=[],
        label_check=None,
        suspects=[],
    )
    wanted = {"epoch", "cross entropy", "training", "validation", "macro F1", "kept", "learning rate", "gradient norm"}
    assert wanted | {"tokens", "training rows", "max_length"} <= set(texts_of(html))


def test_a_missing_value_is_an_error_and_not_an_empty_place():
    with pytest.raises(UndefinedError):
        page(charts=[])
    with pytest.raises(Exception, match="no_such"):
        render("no_such.html")
