"""Fetching: the right files, checked, under the right names, with a manifest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kfp_bert_components.errors import NotFoundError, UserError
from kfp_bert_components.fetch import fetch
from kfp_bert_components.storage import Access, mounts
from tests.support.files import files_of
from tests.support.gcs_server import GcsServer
from tests.support.stores import cloud, gcs, s3

__all__ = ["cloud", "gcs", "s3"]

ROBOT = Access(impersonate="robot@project.iam.gserviceaccount.com")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/films/a.csv", {"a.csv"}),
        ("/films", {"a.csv", "old/b.csv", "old/c.txt"}),
        ("/films/", {"a.csv", "old/b.csv", "old/c.txt"}),
        ("/films/*.csv", {"a.csv"}),
        ("/films/**.csv", {"a.csv", "old/b.csv"}),
        ("/films/o?d/{b,c}.*", {"old/b.csv", "old/c.txt"}),
        ("/**/b.csv", {"films/old/b.csv"}),
        ("", {"films/a.csv", "films/old/b.csv", "films/old/c.txt", "filmstrip.csv"}),
    ],
)
def test_a_source_brings_what_it_names(cloud: GcsServer, tmp_path: Path, source: str, expected: set[str]) -> None:
    for name in ("films/a.csv", "films/old/b.csv", "films/old/c.txt", "filmstrip.csv"):
        cloud.put("bucket", name, name.encode())
    cloud.put("bucket", "films/", b"")
    fetched = fetch([f"{cloud.root}{source}"], tmp_path / "data")
    assert set(files_of(tmp_path / "data")) == expected
    assert fetched.files == len(expected)


def test_the_same_bytes_give_the_same_fingerprint_wherever_they_lie(cloud: GcsServer, tmp_path: Path) -> None:
    cloud.put("bucket", "a/x.csv", b"text,label\n")
    first = fetch([f"{cloud.root}/a"], tmp_path / "1")
    cloud.put("bucket", "a/x.csv", b"text,label\n")
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "x.csv").write_bytes(b"text,label\n")
    assert fetch([f"{cloud.root}/a"], tmp_path / "2").fingerprint == first.fingerprint
    assert fetch([str(tmp_path / "local")], tmp_path / "3").fingerprint == first.fingerprint
    cloud.put("bucket", "a/x.csv", b"text,label\r")
    assert fetch([f"{cloud.root}/a"], tmp_path / "4").fingerprint != first.fingerprint


def test_the_manifest_says_what_was_fetched(cloud: GcsServer, tmp_path: Path) -> None:
    generation = cloud.put("bucket", "a/x.csv", b"abc")
    fetch([f"{cloud.root}/a/x.csv"], tmp_path / "data")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["objects"] == [
        {
            "source": f"{cloud.root}/a/x.csv",
            "path": "x.csv",
            "generation": generation,
            "size": 3,
            "crc32c": "Nks/tw==",
        }
    ]


def test_local_files_and_folders_are_sources_too(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.csv").write_text("a")
    (tmp_path / "in" / "b.csv").write_text("b")
    fetch([str(tmp_path / "in")], tmp_path / "1")
    assert set(files_of(tmp_path / "1")) == {"deep/a.csv", "b.csv"}
    fetch([str(tmp_path / "in" / "*.csv")], tmp_path / "2")
    assert set(files_of(tmp_path / "2")) == {"b.csv"}
    fetch([str(tmp_path / "in" / "b.csv"), str(tmp_path / "in" / "deep" / "a.csv")], tmp_path / "3")
    assert set(files_of(tmp_path / "3")) == {"a.csv", "b.csv"}


@pytest.mark.parametrize("source", ["{root}/none.csv", "{scheme}://nobucket/a.csv", "{root}/*.none", "/no/such/file"])
def test_a_missing_source_is_named(cloud: GcsServer, tmp_path: Path, source: str) -> None:
    source = source.format(root=cloud.root, scheme=cloud.scheme)
    with pytest.raises(NotFoundError, match=r"does not exist|matches no object") as caught:
        fetch([source], tmp_path / "data")
    assert source.split("*")[0] in str(caught.value)


@pytest.mark.parametrize("between", [",", ", ", " "])
def test_two_names_in_one_text_are_told_how_a_list_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("a")
    (tmp_path / "b.csv").write_text("b")
    with pytest.raises(NotFoundError, match=r"""JSON list: -p sources='\["a.csv", "b.csv"\]'"""):
        fetch([between.join(["a.csv", "b.csv"])], tmp_path / "data")
    with pytest.raises(NotFoundError, match="check its spelling"):
        fetch([between.join(["a.csv", "c.csv"])], tmp_path / "data")


@pytest.mark.parametrize("name", ["mine.txt", "files/mine.txt"])
def test_a_target_with_foreign_files_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("a")
    mine = tmp_path / "data" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    with pytest.raises(UserError, match="which no fetch wrote"):
        fetch([str(tmp_path / "a.csv")], tmp_path / "data")
    assert mine.exists()


def test_a_folder_is_not_fetched_into_itself(tmp_path: Path) -> None:
    (tmp_path / "in" / "data").mkdir(parents=True)
    (tmp_path / "in" / "a.csv").write_text("a")
    fetch([str(tmp_path / "in")], tmp_path / "in" / "data")
    with pytest.raises(UserError, match="lies in the folder to fetch into"):
        fetch([str(tmp_path / "in")], tmp_path / "in" / "data")


def test_fetched_again_it_holds_what_the_sources_hold_now(cloud: GcsServer, tmp_path: Path) -> None:
    for name in ("a", "b", "deep/c"):
        cloud.put("bucket", f"in/{name}", name.encode())
    fetch([f"{cloud.root}/in"], tmp_path / "data")
    cloud.put("bucket", "in/a", b"new")
    cloud.remove("bucket", "in/deep/c")
    cloud.requests.clear()
    fetch([f"{cloud.root}/in"], tmp_path / "data")
    assert files_of(tmp_path / "data") == {"a": b"new", "b": b"b"}
    assert len(cloud.downloads()) == 1


def test_a_mounted_bucket_gets_each_file_once_and_whole(
    cloud: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.put("bucket", "in/a/x", b"x")
    cloud.put("bucket", "in/y", b"y" * 100)
    renamed = []
    (tmp_path / "mounts").write_text(f"bucket {tmp_path / 'mount'} fuse.gcsfuse rw 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(os, "replace", lambda old, new, replace=os.replace: (renamed.append(new), replace(old, new)))
    fetch([f"{cloud.root}/in"], tmp_path / "mount")
    assert files_of(tmp_path / "mount") == {"a/x": b"x", "y": b"y" * 100}
    assert (tmp_path / "mount" / "manifest.json").exists()
    assert renamed and not [path for path in renamed if str(path).startswith(str(tmp_path))]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Every request for a token: whose, and for what. The tokens are numbered."""
    import google.auth.credentials
    from google.auth import impersonated_credentials

    class Source(google.auth.credentials.Credentials):
        token = "source"

        def refresh(self, request: object) -> None:
            self.token = "source"

    asked: list[tuple] = []

    def token(self: impersonated_credentials.Credentials, request: object) -> None:
        asked.append((self._target_principal, self._target_scopes))
        self.token, self.expiry = f"impersonated {len(asked)}", None

    monkeypatch.setattr(google.auth, "default", lambda scopes=None: (Source(), None))
    monkeypatch.setattr(impersonated_credentials.Credentials, "refresh", token)
    return asked


def test_impersonation_asks_for_the_accounts_token_and_sends_it(
    gcs: GcsServer, tmp_path: Path, asked: list[tuple]
) -> None:
    gcs.put("bucket", "in/x", b"x")
    fetch(["gs://bucket/in/"], tmp_path / "data", access=ROBOT)
    assert asked == [
        ("robot@project.iam.gserviceaccount.com", ["https://www.googleapis.com/auth/devstorage.read_write"])
    ]
    assert gcs.authorizations == {"Bearer impersonated 1"}


def test_a_token_that_has_run_out_is_renewed_and_one_that_is_refused_is_said(
    gcs: GcsServer, tmp_path: Path, asked: list[tuple]
) -> None:
    gcs.put("bucket", "in/x", b"x")
    gcs.faults.add("401", match="^/bucket/")
    fetch(["gs://bucket/in/"], tmp_path / "data", access=ROBOT)
    assert files_of(tmp_path / "data") == {"x": b"x"}
    assert gcs.authorizations == {"Bearer impersonated 1", "Bearer impersonated 2"}
    gcs.faults.add("401", match="^/bucket/", times=None)
    with pytest.raises(UserError, match=r"gs://bucket/in/x is forbidden"):
        fetch(["gs://bucket/in/"], tmp_path / "other", access=ROBOT)
