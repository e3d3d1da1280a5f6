"""A store that is long in answering is named while it is waited for, and not one that answers at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfp_bert_components.storage import Access, Store, open_store
from tests.support.gcs_server import GcsServer
from tests.support.stores import cloud, gcs, s3

__all__ = ["cloud", "gcs", "s3"]
PATIENT = Access(patience=20)


@pytest.fixture
def store(cloud: GcsServer) -> Store:
    cloud.put("bucket", "x", b"1")
    return open_store(f"{cloud.root}", PATIENT)


@pytest.mark.parametrize("call", ["read", "list", "write", "create", "delete", "download"])
def test_a_call_that_is_tried_again_says_so(
    cloud: GcsServer,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    call: str,
) -> None:
    entry = store.stat("x")
    calls = {
        "read": lambda: store.read("x"),
        "list": lambda: store.list(),
        "write": lambda: store.write("y", b"2"),
        "create": lambda: store.write("y", b"2", if_generation=0),
        "delete": lambda: store.delete("x"),
        "download": lambda: store.download_all([(entry, tmp_path / "x")], tmp_path),
    }
    store.write("honest", b"", if_generation=0)  # an S3 store is tried before the first write with a condition
    calls["list"]()
    assert "Still waiting" not in capsys.readouterr().err
    for module in ("_http", "_transfer"):
        monkeypatch.setattr(f"kfp_bert_components.storage.{module}.LONG", 0.05)
    method = {"delete": "DELETE", "write": "", "create": ""}.get(call, "GET")
    cloud.faults.add("reset", method=method, times=3)
    calls[call]()
    said = [line for line in capsys.readouterr().err.splitlines() if "Still waiting" in line]
    assert said
    assert all(line.startswith(f"Still waiting for an answer about {cloud.scheme}://bucket") for line in said)
