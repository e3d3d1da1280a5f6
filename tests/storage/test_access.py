"""As whom Cloud Storage is reached, and who pays: given once for all, and said in a sentence where it does not work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from kfp_bert_components.cli import group
from kfp_bert_components.deployment import open_versioned_folder
from kfp_bert_components.errors import UserError
from kfp_bert_components.fetch import fetch
from kfp_bert_components.records import dump_record
from kfp_bert_components.registry import Registry
from kfp_bert_components.serving.sources import open_source
from kfp_bert_components.steps.reference import read_reference
from kfp_bert_components.storage import Access, Entry, close_clients, open_store
from tests.support.gcs_server import GcsServer
from tests.support.stores import gcs

__all__ = ["gcs"]

# What is in the file that GOOGLE_APPLICATION_CREDENTIALS names; None: there is no such file.
DAMAGED = [
    None,
    b"",
    b"[]",
    b"5",
    b"{}",
    b"\xff\xfe",
    b'{"type": 5}',
    b'{"type": "authorized_user"}',
    b'{"type": "service_account"}',
]
CALLS: dict[str, Callable[[Path], object]] = {
    "read": lambda folder: open_store("gs://bucket").read("x"),
    "stat": lambda folder: open_store("gs://bucket").stat("x"),
    "exists": lambda folder: open_store("gs://bucket").exists("x"),
    "write": lambda folder: open_store("gs://bucket").write("x", b""),
    "upload": lambda folder: open_store("gs://bucket").upload(folder / "file", "x"),
    "list": lambda folder: open_store("gs://bucket").list("x"),
    "folders": lambda folder: open_store("gs://bucket").folders("x"),
    "delete": lambda folder: open_store("gs://bucket").delete("x"),
    "download": lambda folder: open_store("gs://bucket").download_entry(Entry("x", 1, "", 1), folder / "new"),
}
PLACES: dict[str, Callable[[Path], object]] = {
    "fetch": lambda folder: fetch(["gs://bucket/in/"], folder / "data"),
    "manifest": lambda folder: fetch([], folder / "data", manifest="gs://bucket/pins"),
    "registry": lambda folder: Registry("gs://bucket/registry").champion(),
    "command": lambda folder: _command("registry", "list", "gs://bucket/registry"),
    "verify": lambda folder: _command("registry", "verify", "gs://bucket/registry"),
    "serve": lambda folder: open_source("gs://bucket/model")(),
    "serving_directory": lambda folder: open_versioned_folder("gs://bucket/serving").numbers(),
    "reference": lambda folder: read_reference("gs://bucket/registry"),
    "base_model": lambda folder: _checkpoint("gs://bucket/model", folder),
}


def _command(*arguments: str) -> None:
    result = CliRunner().invoke(group, list(arguments))
    if result.exception:
        raise result.exception


def _checkpoint(uri: str, folder: Path) -> None:
    from kfp_bert_components.bert.source import checkpoint_folder

    checkpoint_folder(uri, folder)


@pytest.fixture
def outside(gcs: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a file, on a machine whose storage wants credentials: no emulator, whose client sends none."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", gcs.url)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    (tmp_path / "file").write_text("x")
    close_clients()
    yield tmp_path
    close_clients()


@pytest.mark.parametrize("call", [*CALLS, *PLACES])
def test_no_credentials_are_one_sentence_that_says_what_to_do(outside: Path, call: str) -> None:
    with pytest.raises(UserError, match=r"^gs://bucket\S* needs credentials and there are none here: run `gcloud"):
        (CALLS | PLACES)[call](outside)


def test_the_made_up_bucket_of_the_examples_is_said_to_be_one(outside: Path) -> None:
    with pytest.raises(UserError, match=r"^gs://my-bucket/\S* is an address of the examples"):
        open_store("gs://my-bucket/bert").list()


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_credentials_are_one_sentence_that_names_their_file(
    outside: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    key = outside / "key.json"
    if content is not None:
        key.write_bytes(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    for call in CALLS.values():
        with pytest.raises(UserError, match=rf"^gs://bucket\S* needs credentials and those in {key} can't be used \("):
            call(outside)


def write_key(path: Path, token_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a service account's key, good in itself, the one that is signed in with."""
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    fields = {"type": "service_account", "client_email": "a@b", "token_uri": token_uri, "private_key": key.decode()}
    path.write_text(json.dumps(fields))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


@pytest.mark.parametrize("call", CALLS)
def test_credentials_that_are_refused_are_one_sentence(
    gcs: GcsServer, outside: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write_key(outside / "key.json", f"{gcs.url}/token", monkeypatch)
    with pytest.raises(UserError, match=r"^gs://bucket\S* can't be reached: signing in failed: "):
        CALLS[call](outside)


@pytest.fixture
def paid(gcs: GcsServer) -> GcsServer:
    """A bucket whose readers pay, with what each of the places reads."""
    gcs.put("bucket", "in/a.csv", b"a")
    for name in ("config.json", "saved_model.pb"):
        gcs.put("bucket", f"model/{name}", b"{}")
    gcs.put("bucket", "serving/1/saved_model.pb", b"x")
    gcs.put("bucket", "registry/registry.json", dump_record({"id": "0" * 12}).encode())
    gcs.create_bucket("bucket", requester_pays=True)
    return gcs


@pytest.mark.parametrize("place", [place for place in PLACES if place != "manifest"])
def test_the_project_that_pays_is_given_once_for_all(
    paid: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    with pytest.raises(UserError, match="give user_project, or set KFP_BERT_USER_PROJECT"):
        PLACES[place](tmp_path)
    paid.requests.clear()
    paid.headers.clear()
    monkeypatch.setenv("KFP_BERT_USER_PROJECT", "mine")
    PLACES[place](tmp_path)
    assert paid.requests
    for (_, path), headers in zip(paid.requests, paid.headers, strict=True):
        assert "userProject=mine" in path or headers.get("x-goog-user-project") == "mine"


@pytest.mark.parametrize("place", [place for place in PLACES if place != "manifest"])
def test_anonymous_access_is_asked_for_once_for_all(
    paid: GcsServer, outside: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    paid.create_bucket("bucket", requester_pays=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/key.json")
    monkeypatch.setenv("KFP_BERT_ANONYMOUS", "true")
    PLACES[place](outside)
    assert paid.authorizations == set()


def test_the_account_to_act_as_is_given_once_for_all(
    gcs: GcsServer, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key(outside / "key.json", f"{gcs.url}/token", monkeypatch)
    monkeypatch.setenv("KFP_BERT_IMPERSONATE", "robot@project.iam.gserviceaccount.com")
    for call in CALLS.values():
        with pytest.raises(UserError, match="signing in as robot@project.iam.gserviceaccount.com failed: "):
            call(outside)


def test_what_a_caller_gives_wins_over_the_environment(
    paid: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_BERT_USER_PROJECT", "mine")
    monkeypatch.setenv("KFP_BERT_IMPERSONATE", "robot@project.iam.gserviceaccount.com")
    paid.headers.clear()
    fetch(["gs://bucket/in/"], tmp_path / "data", access=Access(user_project="other", anonymous=True))
    assert paid.headers[-1]["x-goog-user-project"] == "other"
    assert paid.authorizations == set()


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"KFP_BERT_ANONYMOUS": "maybe"}, "KFP_BERT_ANONYMOUS is 'maybe': give true or false"),
        ({"KFP_BERT_USER_PROJECT": "p\nq"}, r"user_project \(KFP_BERT_USER_PROJECT\) is 'p\\nq': give the id"),
        ({"KFP_BERT_IMPERSONATE": "a@b\n"}, r"impersonate \(KFP_BERT_IMPERSONATE\) is 'a@b\\n': give the e-mail"),
        ({"KFP_BERT_IMPERSONATE": "robot"}, r"impersonate \(KFP_BERT_IMPERSONATE\) is 'robot': give the e-mail"),
        ({"KFP_BERT_ANONYMOUS": "1", "KFP_BERT_IMPERSONATE": "a@b"}, "anonymously and as a@b at once: give one"),
    ],
)
def test_settings_that_contradict_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=sentence):
        open_store("gs://bucket")
