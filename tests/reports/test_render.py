"""The common look: pages stand alone, values are escaped, charts can share a page."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError

from kfp_bert_components.evaluation.details import PartMetric
from kfp_bert_components.reports import charts, environment, gate_charts, render, written
from kfp_bert_components.reports.training import render_training


def page(**context):
    return (
        environment()
        .from_string(
            '{% extends "base.html" %}{% block title %}{{ name }}{% endblock %}'
            "{% block content %}<p>{{ name }}</p>{% for chart in charts %}{{ chart }}{% endfor %}{% endblock %}"
        )
        .render(about=[("model", "version 3")], **context)
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


def training_page(lengths=(5, 9, 20), norm=1.0, rate=1e-4):
    curve = np.array([[0, step, 0.7 - step / 100, rate, norm**step] for step in range(1, 9)])
    evaluations = [
        {
            "trial": 0,
            "step": step,
            "metrics": dict.fromkeys(("loss", "accuracy", "macro_f1", "weighted_f1", "mcc"), 0.5),
        }
        for step in (4, 8)
    ]
    return render_training(
        about=[("model", "abc"), written(Path("runs/7/report.html"))],
        curve=curve,
        evaluations=evaluations,
        outcomes=["finished"],
        best=(0, 8),
        steps_per_epoch=4,
        first_seed=0,
        metric="macro_f1",
        lengths=(np.array(lengths), np.array([4])),
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


def test_the_page_of_a_training_run_names_axes_and_curves():
    wanted = {"epoch", "cross entropy", "training", "validation", "macro F1", "kept", "learning rate", "gradient norm"}
    assert wanted | {"tokens", "training rows", "max_length"} <= set(texts_of(training_page()))


def test_axes_have_plain_numbers():
    texts = texts_of(training_page(lengths=[3] * 2000 + [4] * 30 + [200], norm=3.0, rate=5e-5))
    assert {"1,000", "100", "0.00005"} <= set(texts)
    assert not [text for text in texts if "mathdefault" in text or "1e" in text]


def test_a_page_begins_with_what_it_is_about_and_when_and_where_to_it_was_written():
    lines = " ".join(re.sub(r"<[^>]+>", " ", training_page().partition("<main>")[2]).split())
    pattern = (
        r"Training report model: abc written: \d{4}-\d\d-\d\d \d\d:\d\d UTC, to runs/7/report.html Training report"
    )
    assert re.match(pattern, lines), lines[:200]


def test_every_table_of_a_page_wraps_its_words_and_scrolls_where_it_is_wider_than_the_page():
    for name in ("comparison", "data", "evaluation", "champion", "training"):
        source = environment().loader.get_source(environment(), f"{name}.html")[0]
        assert source.count("<table>") == source.count('<div class="scroll"><table>'), name
    style = page(name="x", charts=[]).partition("</style>")[0]
    assert re.search(r"^td \{[^}]*overflow-wrap: anywhere", style, re.MULTILINE)
    assert re.search(r"^\.scroll \{[^}]*overflow-x: auto", style, re.MULTILINE)


def test_dots_at_0_and_1_are_seen_whole():
    bins = [{"confidence": one, "accuracy": one, "rows": 10} for one in (0.0, 0.5, 1.0)]
    parts = [PartMetric("none", 5, 0.0, 0.0, 0.4), PartMetric("all", 5, 1.0, 0.6, 1.0)]
    for chart in (gate_charts.reliability_chart({"model": bins}), gate_charts.metric_chart(parts, "F1")):
        x, y, width, height = (
            float(re.search(rf'<clipPath[^>]*>\s*<rect[^>]* {name}="([-\d.]+)"', chart)[1])
            for name in ("x", "y", "width", "height")
        )
        outlines = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: #2563a8', chart)
        points = [point for outline in outlines for point in re.findall(r"([-\d.]+) ([-\d.]+) *(?:\n|$)", outline)]
        middles = re.findall(r'<use [^>]*x="([-\d.]+)" y="([-\d.]+)" style="fill: #2563a8', chart)
        found, radius = np.array(points + middles, float), 3 if middles else 0
        assert len(outlines) + len(middles) == chart.count('style="fill: #2563a8') >= 2
        assert x + radius < found[:, 0].min() and found[:, 0].max() < x + width - radius
        assert y + radius < found[:, 1].min() and found[:, 1].max() < y + height - radius


def test_labels_that_differ_in_their_middle_only_have_names_that_differ():
    labels = [f"customer_service.request_about_{what}.needs_an_answer" for what in ("refund", "delivery", "payment")]
    short = charts.short_names([*labels, "spam", labels[0]])
    assert len(set(short)) == 4 and short[3] == "spam" and short[0] == short[4]
    assert all(what in one for what, one in zip(("refund", "delivery", "payment"), short, strict=False))
    assert max(map(len, short)) <= 24
    texts = texts_of(gate_charts.metric_chart([PartMetric(label, 7, 0.5, 0.4, 0.6) for label in labels], "F1"))
    assert len([text for text in texts if text.endswith(" (7)")]) == len({t for t in texts if t.endswith(" (7)")}) == 3


def test_the_name_of_an_axis_stays_in_the_chart_where_long_names_leave_little_room():
    parts = [PartMetric("a name of a slice that is", 1, 0.1, 0.0, 0.2, "3,766 rows, 3,165 texts")]
    chart = gate_charts.intervals_chart(parts, "change of accuracy, with 95 % interval")
    style = re.search(r'<text style="([^"]*)"[^>]*>change of accuracy', chart)[1]
    assert "text-anchor: end" in style


def test_a_missing_value_is_an_error_and_not_an_empty_place():
    with pytest.raises(UndefinedError):
        page(charts=[])
    with pytest.raises(Exception, match="no_such"):
        render("no_such.html", about=[])
