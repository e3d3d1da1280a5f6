"""Connections as they are outside: TLS with a certificate that is checked, and a proxy that tunnels."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kfp_bert_components.storage import _http

_BODY = b"hello over TLS"
_LARGE = random.Random(0).randbytes(1_000_000)


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of an HTTPS server for "localhost" whose certificate the environment trusts."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    _http._trust.cache_clear()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_answer, args=(listening, context), daemon=True).start()
        yield listening.getsockname()[1]
    _http._trust.cache_clear()


def _answer(listening: socket.socket, context: ssl.SSLContext) -> None:
    try:
        accepted, _ = listening.accept()
        with accepted, context.wrap_socket(accepted, server_side=True) as opened:
            while request := opened.recv(65536):
                if request.startswith(b"GET /large "):
                    opened.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(_LARGE), _LARGE))
                    continue
                opened.sendall(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n9\r\n over TLS\r\n0\r\n\r\n"
                )
    except OSError:
        return


def test_tls_is_spoken_and_chunks_are_read_twice_on_one_connection(secure: int) -> None:
    connection = _http.Connection(f"https://localhost:{secure}")
    for _ in range(2):
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        assert b"".join(connection.body(connection.head())) == _BODY
    connection.close()


def test_a_large_body_comes_in_large_blocks_and_the_next_reply_after_it(secure: int) -> None:
    connection = _http.Connection(f"https://localhost:{secure}")
    connection.send(b"GET /large HTTP/1.1\r\n\r\n")
    blocks = list(connection.body(connection.head()))
    assert b"".join(blocks) == _LARGE
    assert len(blocks) == 4  # TLS hands out 16 KiB at a time
    connection.send(b"GET / HTTP/1.1\r\n\r\n")
    assert b"".join(connection.body(connection.head())) == _BODY
    connection.close()


def test_a_certificate_of_another_name_is_refused(secure: int) -> None:
    with pytest.raises(_http.TransientError, match="certificate"):
        _http.Connection(f"https://127.0.0.1:{secure}")


def test_a_proxy_is_asked_for_a_tunnel(secure: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def proxy(listening: socket.socket) -> None:
        accepted, _ = listening.accept()
        asked.append(accepted.recv(65536).split(b"\r\n")[0])
        accepted.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", secure)) as far, accepted:
            threading.Thread(target=_pump, args=(far, accepted), daemon=True).start()
            _pump(accepted, far)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=proxy, args=(listening,), daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        connection = _http.Connection(f"https://localhost:{secure}")
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        assert b"".join(connection.body(connection.head())) == _BODY
        connection.close()
    assert asked == [f"CONNECT localhost:{secure} HTTP/1.1".encode()] or asked[0].startswith(b"CONNECT localhost:")


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        return
