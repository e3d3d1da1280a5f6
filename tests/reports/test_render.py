"""The common look: pages stand alone, values are escaped, charts can share a page."""

import re

import pytest
from jinja2 import UndefinedError

from kfp_bert_components.reports import charts, render


def page(**context):
    from kfp_bert_components.reports import _environment

    return (
        _environment()
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


@pytest.mark.parametrize("label", ["$\\frac{", "$5 and $6", "日本語", "a\nb", "\x1b[0m", "𝔘"])
def test_labels_may_hold_anything(label):
    assert charts.shorten("x") in bars([charts.shorten(label), "x"])


def test_a_missing_value_is_an_error_and_not_an_empty_place():
    with pytest.raises(UndefinedError):
        page(charts=[])
    with pytest.raises(Exception, match="no_such"):
        render("no_such.html")
