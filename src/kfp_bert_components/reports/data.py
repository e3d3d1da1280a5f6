"""The page that says what was read, what was dropped and why, and what the splits look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kfp_bert_components.data.checking import REPEATS
from kfp_bert_components.formats import count, counted, percent
from kfp_bert_components.plain import listed
from kfp_bert_components.reports import render
from kfp_bert_components.reports.charts import BLUE, GREEN, GREY, ORANGE, line_at, new_figure, svg

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup

    from kfp_bert_components.data.leakage import Leak
    from kfp_bert_components.data.prepare_data import Prepared
    from kfp_bert_components.data.profile import Drift
    from kfp_bert_components.data.settings import PrepareSettings

COLOURS = {"train": BLUE, "validation": ORANGE, "test": GREEN}


def data_report(prepared: Prepared, drift: Drift | None, settings: PrepareSettings, when: tuple[str, str]) -> str:
    """The report of prepare_text_data as an HTML page.

    Args:
        prepared: What came of it.
        drift: The comparison with the champion's data, where it was asked for.
        settings: What was asked for.
        when: When and where the page is written; see `reports.written`.
    """
    limit = settings.max_length - 2  # [CLS] and [SEP] take two places
    longer = {
        name: float((words > limit).mean()) if len(words) else 0.0 for name, words in prepared.word_counts.items()
    }
    attention = _attention(prepared, drift)
    return render(
        "data.html",
        about=[
            ("data", listed([file.name for file in prepared.files], 3)),
            *((f"{name} split", prepared.fingerprints[name][:12]) for name in COLOURS),
            when,
        ],
        prepared=prepared,
        findings=prepared.results,
        files=list(zip(prepared.files, prepared.file_rows, strict=True)),
        labels=prepared.classes,
        counts=prepared.class_rows,
        leaks=prepared.leaks,
        recurring=[_recurring_row(prepared, leak) for leak in prepared.recurring],
        attention=attention,
        badge=_badge(attention, prepared.remarks),
        repeats=REPEATS,
        drift=drift,
        settings=settings,
        dropped=sum(prepared.dropped.values()),
        longer=longer,
        limit=limit,
        shares=_shares(prepared.class_rows),
        colours=COLOURS,
        lengths_chart=_lengths_chart(prepared.word_counts, limit),
        split_text=_split_text(settings),
        given=settings.given(),
    )


def _recurring_row(prepared: Prepared, leak: Leak) -> list[str]:
    """Split, split that has the texts too, rows, share of the split, and some of the texts."""
    texts = dict.fromkeys(row.excerpt for row, _ in leak.examples)
    share = percent(leak.count / prepared.rows[leak.split])
    return [leak.split, leak.other, count(leak.count), share, " · ".join(list(texts)[:12])]


def _attention(prepared: Prepared, drift: Drift | None) -> list[str]:
    """What a person should look at, in sentences."""
    of_all = f"of {count(prepared.read)} rows"
    faults = sum(prepared.dropped[check] for check in ("unreadable", "empty_text", "missing_label", "unknown_label"))
    natural = ("outlier_length", *REPEATS)
    dropped = sum(prepared.dropped.values())
    found = prepared.warnings()
    if faults > 0.01 * prepared.read:
        found.append(f"{count(faults)} {of_all} were dropped: text or label is missing, unknown or not readable.")
    if dropped > 0.2 * prepared.read:
        found.append(f"{count(dropped)} {of_all} were dropped, more than a fifth.")
    for one in prepared.results:
        if one.count and one.policy == "keep" and one.check not in natural:
            found.append(f"{count(one.count)} {of_all} {one.what}, and were kept.")
    if drift is not None and drift.largest >= 0.25:
        found.append("The training data differ much from the champion's: see Drift.")
    return found


def _badge(attention: list[str], remarks: list[str]) -> str:
    """The word at the head of the page, which fits what is listed below it."""
    if attention:
        return "look at this"
    return f"no warnings, {counted(len(remarks), 'remarks')}" if remarks else "no warnings"


def _split_text(settings: PrepareSettings) -> str:
    """How the rows were split, in a sentence."""
    if settings.split_by == "file":
        files = ", ".join(settings.test_values)
        return f"{files} {'is' if len(settings.test_values) == 1 else 'are'} the test set."
    if settings.split_by == "group":
        return f"All rows with the same {settings.split_column} are in the same split."
    if settings.split_by == "column":
        return f"The column {settings.split_column} says which split a row is in."
    if settings.stratify:
        return "Each label has the same share in every split."
    return "A hash of its text decides which split a row is in: it stays there when the data grows."


def _shares(counts: Mapping[str, Sequence[int]]) -> dict[str, list[float]]:
    """The share of each label in each split, as a part of the largest share of all."""
    shares = {name: [value / max(sum(values), 1) for value in values] for name, values in counts.items()}
    largest = max((share for values in shares.values() for share in values), default=0) or 1
    return {name: [share / largest for share in values] for name, values in shares.items()}


def _lengths_chart(words: Mapping[str, np.ndarray], limit: int) -> Markup:
    """How many texts of each split are longer than so many words."""
    import numpy as np

    figure, axes = new_figure(5, 2.6)
    longest = max((int(values.max()) for values in words.values() if len(values)), default=1)
    edges = np.unique(np.round(np.geomspace(1, max(longest, limit, 2) + 1, 60)).astype(int))
    for name, values in words.items():
        if len(values):
            longer = 100 - 100 * np.searchsorted(np.sort(values), edges, side="right") / len(values)
            axes.plot(edges, longer, color=COLOURS[name], label=name, linewidth=1.6)
    axes.set_xscale("log")
    ticks = [tick for tick in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000) if tick <= edges[-1]]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("words")
    axes.set_ylabel("% of texts that are longer")
    axes.axvspan(limit, edges[-1], color=GREY, alpha=0.25, linewidth=0)
    line_at(axes, limit, "cut beyond here")
    axes.legend(fontsize=8, loc="lower left")
    return svg(figure, "Lengths of the texts in words, and from where on the model cuts them")
