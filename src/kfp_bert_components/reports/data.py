"""The page that says what was read, dropped and split."""

from __future__ import annotations

from typing import Any

from kfp_bert_components.reports import render


def data_report(**context: Any) -> str:
    """The report of prepare_text_data as an HTML page."""
    return render("data.html", **context)
