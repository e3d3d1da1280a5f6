"""Fetches killed at random moments, each second one by SIGTERM as on Kubeflow: nothing half-written is seen, and
nothing whole is fetched twice.

The whole count: KFP_BERT_KILLS=100 python -m pytest tests/fetch/test_kill.py -s
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from urllib.parse import unquote

import pytest

from kfp_bert_components.fetch import fetch
from tests.support.files import files_of
from tests.support.gcs_server import GcsServer
from tests.support.processes import end, start
from tests.support.stores import cloud, gcs, s3

__all__ = ["cloud", "gcs", "s3"]

KILLS = int(os.environ.get("KFP_BERT_KILLS", "2"))


def fetch_once(source: str, target: Path) -> None:
    fetch([source], target)


@pytest.mark.long
def test_killed_at_any_moment_it_resumes_to_the_same_bytes(cloud: GcsServer, tmp_path: Path) -> None:
    source = random.Random(1)
    wanted = {f"{number:02}": source.randbytes(source.choice([500, 20_000, 9_000_000])) for number in range(40)}
    for name, data in wanted.items():
        cloud.put("bucket", f"in/{name}", data)
    cloud.latency = 0.02
    fingerprint = fetch([f"{cloud.root}/in/"], tmp_path / "undisturbed").fingerprint
    kept_counts, killed, turn = [], 0, 0
    while killed < KILLS:
        turn += 1
        target = tmp_path / f"killed-{turn}"
        cloud.requests.clear()
        process = start(fetch_once, f"{cloud.root}/in/", target)
        while not cloud.requests and process.is_alive():
            time.sleep(0.001)
        time.sleep(source.uniform(0.0, 1.0))
        killed += end(process, "killed" if turn % 2 else "SIGTERM")
        finished = files_of(target)
        assert all(wanted[name] == data for name, data in finished.items())  # whole, each of them
        assert finished == wanted or not (target / "manifest.json").exists()
        kept_counts.append(len(finished))
        cloud.requests.clear()
        again = fetch([f"{cloud.root}/in/"], target)
        assert files_of(target) == wanted and again.fingerprint == fingerprint
        fetched_again = {unquote(path).split("/bucket/in/")[1].split("?")[0] for path in cloud.downloads()}
        assert not fetched_again & set(finished)
        assert sorted(path.name for path in target.iterdir()) == ["files", "manifest.json"]
    print(f"{killed} killed, with {min(kept_counts)} to {max(kept_counts)} of {len(wanted)} files done")
