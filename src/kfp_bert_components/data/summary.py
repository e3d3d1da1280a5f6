"""What came of preparing the data: the counts, and all that the report shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kfp_bert_components.data.assign import SPLITS
from kfp_bert_components.data.findings import Sieve
from kfp_bert_components.data.leaks import Leak
from kfp_bert_components.data.profile import Drift
from kfp_bert_components.data.settings import PrepareSettings
from kfp_bert_components.data.texts import read_texts
from kfp_bert_components.tables.chunks import FileFacts, shorten

# Leaked rows of each kind that the report shows.
SHOWN_LEAKS = 100


@dataclass(frozen=True)
class Prepared:
    """What came of it.

    Attributes:
        rows: Rows in each split, by its name.
        read: Rows that were read, blank lines not counted.
        blank: Blank lines.
        dropped: Rows taken out, by the check that did it.
        labels: The classes, in the order of the model's outputs.
        fingerprints: Of each split.
    """

    rows: dict[str, int]
    read: int
    blank: int
    dropped: dict[str, int]
    labels: list[str]
    fingerprints: dict[str, str]


@dataclass(frozen=True)
class LeakShown:
    """Leaks of one kind between two splits, for the report: the count, and (file, row, text, twin's) of some."""

    kind: str
    loser: str
    keeper: str
    count: int
    examples: list[tuple[str, int, str, str, int, str]]


def write_report(
    path: Path,
    prepared: Prepared,
    state: Sieve,
    split: np.ndarray,
    facts: list[FileFacts],
    leaks: list[Leak],
    drift: Drift | None,
    settings: PrepareSettings,
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        prepared: The counts.
        state: The rows and findings.
        split: The split of each row.
        facts: The files.
        leaks: Rows that two splits shared.
        drift: The comparison with the champion's data, if it was asked for.
        settings: What was asked for.
    """
    from kfp_bert_components.reports.data import data_report

    counts, words = {}, {}
    for number, name in enumerate(SPLITS):
        mask = state.inside & (split == number)
        counts[name] = np.bincount(state.code[mask], minlength=len(state.names)).tolist()
        words[name] = state.rows.words[mask]
    page = data_report(
        prepared=prepared,
        findings=list(state.findings.values()),
        files=facts,
        labels=state.names,
        counts=counts,
        words=words,
        leaks=_shown(state, leaks),
        drift=drift,
        settings=settings,
    )
    path.write_text(page, encoding="utf-8")


def _shown(state: Sieve, leaks: list[Leak]) -> list[LeakShown]:
    rows = state.rows
    parts = [np.concatenate([leak.rows[:SHOWN_LEAKS], leak.twins[:SHOWN_LEAKS]]) for leak in leaks]
    texts = read_texts(rows.texts, np.unique(np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64)))

    def one(number: int) -> tuple[str, int, str]:
        return state.facts[rows.file[number]].name, int(rows.row[number]), shorten(texts[number], 140)

    return [
        LeakShown(
            leak.kind,
            SPLITS[leak.loser],
            SPLITS[leak.keeper],
            len(leak.rows),
            [
                (*one(int(a)), *one(int(b)))
                for a, b in zip(leak.rows[:SHOWN_LEAKS], leak.twins[:SHOWN_LEAKS], strict=True)
            ],
        )
        for leak in leaks
    ]
