"""Charts as static SVG that can stand in a page: no script, no address, ids that don't collide."""

import re
import warnings
from collections.abc import Sequence
from hashlib import sha256
from io import StringIO
from typing import TYPE_CHECKING, Any

from kfp_bert_components.quiet import quietly

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours of the pages (templates/base.html has the same), distinguishable without colour vision.
INK, MUTED, GRID = "#1f2933", "#616e7c", "#d9dee3"
BLUE, ORANGE, GREEN, RED, GREY = "#2563a8", "#b04e0a", "#1a7f4b", "#b42318", "#9aa5b1"

_STYLE: Any = {
    # A label may hold a "$": it is text, not a formula.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "kfp-bert-components",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    # Numbers are written whole, not as multiples of one that stands at the end of the axis.
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-7, 12),
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def new_figure(width: float = 5.0, height: float = 3.0, columns: int = 1) -> "tuple[Figure, Any]":
    """An empty figure in the look of the reports, without pyplot and its global state.

    Args:
        width: Inches; 5 fills half a page on a desktop and stays readable on a phone.
        height: Inches.
        columns: Number of charts side by side.

    Returns:
        The figure, and its axes (an array of them when there is more than one column).
    """
    with quietly():
        from matplotlib import rc_context
        from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(1, columns)


def svg(figure: "Figure", description: str = "") -> "Markup":
    """Turn a matplotlib figure into an `<svg>` element for a template.

    Args:
        figure: The figure; it need not come from `new_figure`, but then keeps its own look.
        description: What the chart shows, in a sentence, for a reader who cannot see it.

    Returns:
        Markup that scales to the width of its place and prints sharp.
    """
    from markupsafe import Markup, escape
    from matplotlib import rc_context
    from matplotlib.text import Text

    buffer = StringIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        # The browser has the letters of other scripts even if matplotlib's font has not.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing.*")
        for text in figure.findobj(Text):
            text.set_parse_math(False)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    body = buffer.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body)
    body = _unique_ids(body)
    width = float(re.search(r'width="([\d.]+)pt"', body).group(1)) / 0.75  # type: ignore[union-attr]
    body = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        lambda found: (
            f'<svg viewBox="{found.group(1)}" role="img" style="max-width:{width:.0f}px" '
            f'aria-label="{escape(description)}">'
        ),
        body,
        count=1,
    )
    # matplotlib made it, and escapes the texts in it
    return Markup(body)


def logarithmic(axis: Any) -> None:
    """Make an axis logarithmic, with plain numbers: matplotlib's own powers of ten are formulas."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter("")


def shorten(text: object, length: int = 24) -> str:
    """A label on one line, cut in its middle to `length` characters, control characters shown as a middle dot."""
    line = "".join(c if c.isprintable() else "·" for c in str(text))
    end = length // 3
    return line if len(line) <= length else line[: length - end - 1] + "…" + line[-end:]


def short_names(labels: Sequence[str], length: int = 24) -> list[str]:
    """Labels as `shorten` makes them; of those that would look alike, the beginning that they share is left out."""
    groups: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        groups.setdefault(shorten(label, length), []).append(label)
    found: dict[str, str] = {}
    for short, group in groups.items():
        if len(group) == 1:
            found[group[0]] = short
            continue
        letters = enumerate(zip(*group, strict=False))
        differ = next((place for place, some in letters if len(set(some)) > 1), min(map(len, group)) - 1)
        found |= {label: shorten("…" + label[differ:], length) for label in group}
    return [found[label] for label in labels]


def line_at(axes: "Axes", value: float, label: str = "", colour: str = MUTED) -> None:
    """A dashed vertical line with its meaning written above the chart."""
    axes.axvline(value, color=colour, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if label:
        axes.annotate(
            label,
            (value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=colour,
        )


def _unique_ids(body: str) -> str:
    """Ids that nothing refers to are dropped; the others get a prefix that is this chart's own."""
    prefix = "c" + sha256(body.encode()).hexdigest()[:10]
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))

    def rename(found: "re.Match[str]") -> str:
        return f' id="{prefix}-{found.group(1)}"' if found.group(1) in used else ""

    body = re.sub(r' id="([^"]*)"', rename, body)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", body)
