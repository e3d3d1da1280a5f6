"""The charts of evaluations and comparisons."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kfp_bert_components.formats import signed
from kfp_bert_components.reports import charts

if TYPE_CHECKING:
    from markupsafe import Markup

    from kfp_bert_components.evaluation.details import PartMetric

MOST_CLASSES = 25
_ROOM = 0.03  # beyond 0 and 1, so that points there are seen whole


def difference_chart(difference: dict[str, Any]) -> "Markup":
    """The gain with both intervals against what had to be exceeded."""
    figure, axes = charts.new_figure(5.0, 1.7)
    value, target = difference["value"], difference["delta"]
    low, high, low_95, high_95 = (difference[key] for key in ("low", "high", "low_95", "high_95"))
    colour = charts.GREEN if low is not None and low > target else charts.RED if value < target else charts.ORANGE
    if low_95 is not None and high_95 is not None:
        axes.plot([low_95, high_95], [0, 0], color=colour, linewidth=2)
    if low is not None and high is not None:
        axes.plot([low, high], [0, 0], color=colour, linewidth=10, alpha=0.35, solid_capstyle="butt")
    axes.plot([value], [0], "o", color=colour, markersize=8)
    axes.annotate(
        signed(value), (value, 0), xytext=(0, 9), textcoords="offset points", ha="center", weight="bold", color=colour
    )
    charts.line_at(axes, target, f"must exceed {signed(target)}" if target else "no change", charts.INK)
    shown = [end for end in (low, high, low_95, high_95, value, target, 0.0) if end is not None]
    room = 0.15 * max(max(shown) - min(shown), 1e-3)
    axes.set_xlim(min(shown) - room, max(shown) + room)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=6)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("worse  ←  change, positive is better  →  better")
    return charts.svg(figure, f"Change {value:.4f} with its interval, against {target:g}")


def intervals_chart(parts: "list[PartMetric]", label: str) -> "Markup | None":
    """The change of each class or slice with a 95 % interval, around a line at 0; None where there are none."""
    if not parts:
        return None
    figure, axes = charts.new_figure(5.0, 0.7 + 0.27 * max(len(parts), 2))
    for place, part in enumerate(parts):
        colour = charts.GREEN if part.low > 0 else charts.RED if part.high < 0 else charts.GREY
        axes.plot([part.low, part.high], [place, place], color=colour, linewidth=2.5)
        axes.plot([part.value], [place], "o", color=colour, markersize=5)
    axes.axvline(0, color=charts.INK, linewidth=0.8)
    _name_lines(axes, parts)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x")
    axes.set_xlabel(label, loc="right")  # names on the left may leave the axis shorter than this text
    return charts.svg(figure, label)


def confusion_charts(matrices: Mapping[str, np.ndarray], labels: list[str]) -> "list[Markup]":
    """A chart of each confusion matrix, by title; none where there are more classes than fit."""
    if len(labels) > MOST_CLASSES:
        return []
    return [confusion_chart(counts, labels, title) for title, counts in matrices.items()]


def confusion_chart(counts: np.ndarray, labels: list[str], title: str) -> "Markup":
    """The confusion matrix, coloured by the share of each true class; counts are written where they fit."""
    many = len(labels)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = charts.new_figure(5.0, 1.6 + min(3.6, 0.42 * many + 0.5))
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1.25, edgecolors="white", linewidth=0.5)
    names = charts.short_names(labels, 16)
    axes.set_xticks(np.arange(many) + 0.5, names, rotation=40, ha="right", fontsize=8 if many < 12 else 6)
    axes.set_yticks(np.arange(many) + 0.5, names, fontsize=8 if many < 12 else 6)
    axes.set_ylim(many, 0)
    axes.tick_params(length=0)
    for row, column in np.argwhere(counts) if many <= 12 else ():
        colour = "white" if shares[row, column] > 0.6 else charts.INK
        text, size = f"{counts[row, column]:,}", 8 if many < 8 else 6.5
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=9, loc="left")
    return charts.svg(figure, f"Confusion matrix: {title}")


def reliability_chart(curves: dict[str, list[dict[str, float]]]) -> "Markup":
    """Share right against confidence; on the diagonal a model is as sure as it should be."""
    figure, axes = charts.new_figure(5.0, 3.6)
    axes.plot([0, 1], [0, 1], color=charts.GREY, linewidth=1, linestyle="--")
    for (name, bins), colour, mark in zip(curves.items(), (charts.BLUE, charts.ORANGE), "os", strict=False):
        most = max(one["rows"] for one in bins)
        x, y = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
        axes.plot(x, y, color=colour, linewidth=1.2, label=name)
        axes.scatter(x, y, [10 + 60 * one["rows"] / most for one in bins], color=colour, marker=mark, alpha=0.8)
    axes.set_xlim(-_ROOM, 1 + _ROOM)
    axes.set_ylim(-_ROOM, 1 + _ROOM)
    axes.set_xlabel("how sure the model is of its answer")
    axes.set_ylabel("share of these answers that are right")
    axes.grid()
    if len(curves) > 1:
        axes.legend(loc="upper left")
    return charts.svg(figure, "Reliability diagram")


def metric_chart(parts: "list[PartMetric]", label: str) -> "Markup":
    """Values with their intervals, one line each, from 0 to 1."""
    figure, axes = charts.new_figure(5.0, 0.7 + 0.27 * max(len(parts), 2))
    for place, part in enumerate(parts):
        axes.plot([part.low, part.high], [place, place], color=charts.BLUE, linewidth=2.5)
        axes.plot([part.value], [place], "o", color=charts.BLUE, markersize=5)
    _name_lines(axes, parts)
    axes.set_xlim(-_ROOM, 1 + _ROOM)
    axes.grid(axis="x")
    axes.set_xlabel(label, loc="right")  # names on the left may leave the axis shorter than this text
    return charts.svg(figure, label)


def _name_lines(axes: Any, parts: "list[PartMetric]") -> None:
    """Name the lines of a chart, the first one on top, with the number of rows in brackets."""
    # Without the rows that have no group: the table has room for them.
    sizes = [(part.size or f"{part.rows:,}").partition(" (")[0].removesuffix(" rows") for part in parts]
    short = charts.short_names([part.name for part in parts])
    names = [f"{name} ({size})" for name, size in zip(short, sizes, strict=True)]
    axes.set_yticks(range(len(parts)), names)
    axes.set_ylim(len(parts) - 0.5, -0.5)
