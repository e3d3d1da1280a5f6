"""Fetch the sources, and say how much came."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kfp_bert_components.fetch.fetching import Fetched, fetch


def fetch_gcs_data(sources: Sequence[str], data: Path, **options: Any) -> Fetched:
    """Copy the sources into the folder `data`; see `fetch.fetch` for the options and errors."""
    fetched = fetch(sources, data, **options)
    files = f"{fetched.files:,} file{'s' * (fetched.files != 1)}"
    print(f"Fetched {files}, {fetched.bytes / 1e6:,.1f} MB, fingerprint {fetched.fingerprint[:16]}.")
    return fetched
