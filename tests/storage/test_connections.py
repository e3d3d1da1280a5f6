"""Connections as they are outside: certificates that are checked, proxies, credentials that are sent or not."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import google.auth.credentials
import pytest

from kfp_bert_components.errors import UserError
from kfp_bert_components.storage import Access, close_clients, open_store
from tests.support.gcs_server import GcsServer
from tests.support.stores import gcs

__all__ = ["gcs"]


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    """A storage at https://localhost with a private certificate, which REQUESTS_CA_BUNDLE makes trusted."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with GcsServer(context) as server:
        server.put("bucket", "x", b"hello over TLS")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server
        close_clients()


def fetched(path: Path, access: Access | None = None) -> bytes:
    open_store("gs://bucket", access).download("x", path)
    return path.read_bytes()


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_authority_of_the_environment_is_trusted(
    secure: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.setenv(variable, str(tmp_path / "ca.pem"))
    assert fetched(tmp_path / "out") == b"hello over TLS"


def test_an_unknown_authority_is_refused(secure: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store("gs://bucket", Access(patience=1))
    entry = store.stat("x")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(UserError, match="gs://bucket/x can't be fetched: .*Check the network"):
        store.download_entry(entry, tmp_path / "out")
    assert secure.downloads() == []


def test_listing_and_bytes_go_through_the_proxy_to_the_same_host_and_port(
    secure: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        assert fetched(tmp_path / "out") == b"hello over TLS"
        close_clients()  # its tunnel too, before the proxy goes
    port = secure.url.rpartition(":")[2]
    assert proxy.asked == [f"CONNECT localhost:{port}"] * 2  # the client library, and obstore


def test_no_proxy_is_heeded(secure: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "localhost")
        assert fetched(tmp_path / "out") == b"hello over TLS"
    assert proxy.asked == []


@pytest.fixture
def signed_in(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """An account that is signed in on this machine; gives the list of those who asked for it.

    The storage is no emulator for the client library, which sends no credentials to one, whatever it is told.
    """

    class Credentials(google.auth.credentials.Credentials):
        def refresh(self, request: object) -> None:
            self.token = "secret"

    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", gcs.url)
    asked: list[object] = []

    def default(*arguments: object, **settings: object) -> tuple[Credentials, str]:
        asked.append(arguments)
        return Credentials(), "project"

    monkeypatch.setattr(google.auth, "default", default)
    return asked


def test_anonymous_access_looks_for_no_credentials_and_sends_none(
    gcs: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signed_in: list[object]
) -> None:
    (tmp_path / "key.json").write_text("no key at all: whoever reads it fails")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "secret")
    gcs.put("bucket", "x", b"public")
    assert fetched(tmp_path / "out", Access(anonymous=True)) == b"public"
    assert len(gcs.headers) == 2  # one for the entry, one for the bytes
    assert not [headers for headers in gcs.headers if "authorization" in headers]
    assert signed_in == []


def test_the_account_that_is_signed_in_is_used_for_listing_and_bytes(
    gcs: GcsServer, tmp_path: Path, signed_in: list[object]
) -> None:
    gcs.put("bucket", "x", b"private")
    assert fetched(tmp_path / "out") == b"private"
    assert [headers.get("authorization") for headers in gcs.headers] == ["Bearer secret"] * 2


class Proxy:
    """An HTTP proxy that tunnels to ports of this machine, and keeps what it was asked for."""

    def __enter__(self) -> Proxy:
        self.asked: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(accepted,), daemon=True).start()

    def _tunnel(self, near: socket.socket) -> None:
        line = near.recv(65536).split(b"\r\n")[0].decode()
        self.asked.append(line.rpartition(" ")[0])
        wanted = re.fullmatch(r"CONNECT localhost:(\d+)", self.asked[-1])
        with near:
            if not wanted:
                return
            with socket.create_connection(("127.0.0.1", int(wanted[1]))) as far:
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(far, near), daemon=True)
                back.start()
                _pump(near, far)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
