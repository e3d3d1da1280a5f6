"""Slow, silent and many clients: each has its limits, and none is in the way of others."""

import contextlib
import json
import shutil
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from kfp_bert_components.serving.server import listen
from tests.support.tiny_server import tiny_server

PREDICT = "/v1/models/bert:predict"
BODY = b'{"instances": ["HELLO"]}'
HEAD = b"POST /v1/models/bert:predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def connected(port, timeout=10):
    with socket.create_connection(("127.0.0.1", port), timeout) as client:
        yield client


def request(body=BODY, length=None):
    return HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def read_answer(client):
    data = b""
    while b"\r\n\r\n" not in data:
        data += (chunk := client.recv(65536))
        if not chunk:
            return data.decode(), None
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65536)
    return head.decode(), json.loads(body)


def read_answers(client, count):
    """Those to requests that were sent one after the other."""
    with client.makefile("rb") as stream:
        answers = []
        for _ in range(count):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += (line := stream.readline())
                assert line, "the connection ended before an answer"
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            answers.append((head.decode(), json.loads(stream.read(length))))
    return answers


def predict(running, texts=("HELLO",)):
    body = json.dumps({"instances": list(texts)}).encode()
    with urllib.request.urlopen(running.url + PREDICT, body, timeout=20) as reply:
        return json.load(reply)["predictions"]


def test_small_answers_are_sent_at_once():
    with listen("127.0.0.1", 0) as listener:
        # asyncio sets TCP_NODELAY on accepted sockets of this protocol only.
        assert listener.proto == socket.IPPROTO_TCP
    with listen("::1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_an_accepted_socket_has_no_delay(tmp_path):
    import asyncio

    async def accepted_option():
        seen = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                accepted = transport.get_extra_info("socket")
                seen.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        with listen("127.0.0.1", 0) as listener:
            server = await asyncio.get_running_loop().create_server(Protocol, sock=listener)
            async with server:
                _, writer = await asyncio.open_connection(*listener.getsockname())
                option = await seen
                writer.close()
        return option

    assert asyncio.run(accepted_option()) != 0


def test_a_thousand_silent_connections_block_nobody_and_fill_no_log(tmp_path):
    with tiny_server(tmp_path, files=1000, limits={"header_seconds": 100}) as running, contextlib.ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", running.port), 10)))
        started = time.monotonic()
        for _ in range(20):
            assert predict(running)[0]["label"] == "shout"
        assert time.monotonic() - started < 5
        with urllib.request.urlopen(running.url + "/metrics") as reply:
            text = reply.read().decode()
        held = next(line for line in text.splitlines() if line.startswith("kfp_bert_connections "))
        assert 200 < float(held.split()[1]) <= 261
    assert running.errors == ""
    assert len("".join(running.lines)) < 1000


def test_connections_with_half_a_request_block_nobody(tmp_path):
    with tiny_server(tmp_path, limits={"connections": 20}) as running, contextlib.ExitStack() as stack:
        for sent in (HEAD, request(length=100)) * 20:
            stack.enter_context(connected(running.port)).sendall(sent)
        assert predict(running)[0]["label"] == "shout"


def test_requests_that_are_answered_are_not_closed_for_new_connections(tmp_path):
    with tiny_server(tmp_path, seconds=0.05, limits={"connections": 5}) as running, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(running.port)) for _ in range(4)]
        for client in clients:
            client.sendall(request())
        time.sleep(0.1)
        for _ in range(20):
            stack.enter_context(connected(running.port))
        assert all(read_answer(client)[0].startswith("HTTP/1.1 200") for client in clients)


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"", None),
        (HEAD, "The head of the request took more than 0.5 s."),
        (request(BODY, length=100), "The body of the request took more than 1.5 s."),
        (request() + HEAD, "The head of the request took more than 0.5 s."),
    ],
    ids=["nothing", "half a head", "half a body", "half a second request"],
)
def test_a_slow_client_is_sent_away(tmp_path, sent, says):
    limits = {"header_seconds": 0.5, "body_seconds": 1.5, "idle_seconds": 20}
    with tiny_server(tmp_path, limits=limits) as running, connected(running.port) as client:
        client.sendall(sent)
        started = time.monotonic()
        if sent.startswith(request()):
            assert read_answer(client)[0].startswith("HTTP/1.1 200")
        head, body = read_answer(client)
        assert client.recv(10) == b""
        assert (1.4 if "body" in (says or "") else 0.4) < time.monotonic() - started < 5
    assert (head.startswith("HTTP/1.1 408"), body) == ((True, {"error": says}) if says else (False, None))
    assert running.errors == ""


def test_a_client_that_sends_a_byte_at_a_time_is_sent_away(tmp_path):
    with tiny_server(tmp_path, limits={"header_seconds": 0.5}) as running, connected(running.port) as client:
        with pytest.raises(OSError):
            for byte in HEAD * 20:
                client.sendall(bytes([byte]))
                time.sleep(0.02)
        assert predict(running)


def test_an_endless_head_is_refused(tmp_path):
    with tiny_server(tmp_path, limits={"header_bytes": 2000}) as running, connected(running.port) as client:
        client.sendall(HEAD + b"A: " + b"a" * 3000)
        head, body = read_answer(client)
        assert head.startswith("HTTP/1.1 431")
        assert "at most 2000 bytes" in body["error"]
        with connected(running.port) as other:
            other.sendall(request(b'{"instances": ["' + b"A" * 3000 + b'"]}'))
            assert read_answer(other)[0].startswith("HTTP/1.1 200")


@pytest.mark.parametrize("head", [HEAD + b"A: " + b"a" * 3000, b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: a"])
def test_a_head_that_is_too_large_is_refused_also_when_it_comes_whole(tmp_path, head):
    with tiny_server(tmp_path, limits={"header_bytes": 2000}) as running, connected(running.port) as client:
        client.sendall(head + b"\r\n\r\n" + request())
        head, body = read_answer(client)
        assert head.startswith("HTTP/1.1 431")
        assert "at most 2000 bytes" in body["error"]
        assert client.recv(10) == b""
    assert running.errors == ""


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_another_protocol_is_not_taken_up_and_the_body_is_read(tmp_path, pieces):
    plain, asking = request(), HEAD + UPGRADE + request()[len(HEAD) :]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:5], BODY[5:], b""))
    chunked = HEAD + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    page = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    sent = asking + plain + chunked + page + asking * 3
    with tiny_server(tmp_path) as running, connected(running.port) as client:
        size = -(-len(sent) // pieces)
        for start in range(0, len(sent), size):
            client.sendall(sent[start : start + size])
            time.sleep(0.3 if pieces == 7 else 0)
        answers = read_answers(client, 7)
    assert [head.split("\r\n")[0] for head, _ in answers] == ["HTTP/1.1 200 OK"] * 7
    labels = [body.get("predictions", [{}])[0].get("label") for _, body in answers]
    assert labels == [*["shout"] * 3, None, *["shout"] * 3]
    assert running.errors == ""


def test_curl_and_others_may_ask_for_http_2(tmp_path):
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    with tiny_server(tmp_path) as running:
        words = ["curl", "-sS", "--http2", running.url + PREDICT, "-d", BODY.decode()]
        made = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert json.loads(made.stdout)["predictions"][0]["label"] == "shout", made.stderr


def test_what_is_no_http_is_refused_as_json(tmp_path):
    with tiny_server(tmp_path) as running, connected(running.port) as client:
        client.sendall(b"\x16\x03\x01 this is TLS, or so\r\n\r\n")
        head, body = read_answer(client)
    assert head.startswith("HTTP/1.1 400")
    assert body == {"error": "This is no valid HTTP request."}
    assert running.errors == ""


@pytest.mark.parametrize("before", [1, 3])
@pytest.mark.parametrize(
    ("after", "status"),
    [(b"\x16\x03\x01 no HTTP\r\n\r\n", 400), (b"GET / HTTP/1.1\r\na: " + b"a" * 200_000, 431), (b"GET / HT", 408)],
)
def test_requests_before_the_one_that_is_refused_are_answered_first(tmp_path, before, after, status):
    with (
        tiny_server(tmp_path, seconds=0.1, limits={"header_seconds": 0.3}) as running,
        connected(running.port) as client,
    ):
        client.sendall(request() * before + after)
        answers = read_answers(client, before + 1)
        assert client.recv(1) == b""
    assert [head.split()[1] for head, _ in answers] == ["200"] * before + [str(status)]
    assert "Traceback" not in running.errors


@pytest.mark.parametrize("where", ["in the body", "before the answer"])
def test_a_client_that_hangs_up_leaves_no_traceback(tmp_path, where):
    with tiny_server(tmp_path, seconds=0.1, access_log=True) as running:
        for _ in range(5):
            with connected(running.port) as client:
                client.sendall(request(length=1000) if where == "in the body" else request())
                time.sleep(0.005)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset
        assert predict(running)
    assert running.errors == ""
    assert [json.loads(line)["status"] for line in running.lines].count(499) == 5


def test_a_client_that_never_reads_its_answer_is_sent_away(tmp_path):
    texts = ["A"] * 1000
    body = json.dumps({"instances": texts}).encode()
    with tiny_server(tmp_path, limits={"unread_seconds": 0.5}) as running, connected(running.port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(ConnectionError):
            for _ in range(20_000):
                client.sendall(request(body))
        assert len(predict(running, texts)) == 1000


@pytest.mark.parametrize(
    "stuck", [HEAD, request(BODY, length=100), request(), b""], ids=["head", "body", "read", "idle"]
)
def test_the_server_ends_in_time_whatever_a_client_does(tmp_path, stuck):
    limits = {"drain_seconds": 1, "header_seconds": 100, "body_seconds": 100}
    with contextlib.ExitStack() as stack:
        with tiny_server(tmp_path, seconds=0.01, limits=limits) as running:
            client = stack.enter_context(connected(running.port))
            client.sendall(stuck)
            time.sleep(0.2)
            started = time.monotonic()
        assert time.monotonic() - started < 4
    assert "Traceback" not in running.errors


def test_requests_under_way_are_answered_when_the_server_ends(tmp_path):
    with contextlib.ExitStack() as stack:
        with tiny_server(tmp_path, seconds=0.3) as running:
            client = stack.enter_context(connected(running.port))
            client.sendall(request())
            time.sleep(0.3)
        head, body = read_answer(client)
    assert head.startswith("HTTP/1.1 200")
    assert body["predictions"][0]["label"] == "shout"


def test_what_is_not_answered_when_the_time_of_the_end_is_over_is_an_error_in_json(tmp_path):
    texts = json.dumps({"instances": ["HELLO"] * 40}).encode()  # each call of the model takes 3 s
    with contextlib.ExitStack() as stack:
        with tiny_server(tmp_path, seconds=0.025, limits={"drain_seconds": 0.5}) as running:
            clients = [stack.enter_context(connected(running.port, 20)) for _ in range(2)]
            for client in clients:
                client.sendall(request(texts))
            time.sleep(0.3)
        answers = [read_answer(client) for client in clients]
    for head, body in answers:
        assert head.startswith("HTTP/1.1 503") and "retry-after: 1" in head.lower()
        assert body == {"error": "The server ends: send the request again, to another one."}
    assert "Traceback" not in running.errors


def test_no_more_may_wait_than_can_be_answered_when_the_server_ends(tmp_path):
    limits = {"wait_seconds": 30, "drain_seconds": 0.5}
    with tiny_server(tmp_path, seconds=0.05, limits=limits) as running, contextlib.ExitStack() as stack:
        predict(running)
        clients = [stack.enter_context(connected(running.port)) for _ in range(10)]
        for client in clients:
            client.sendall(request())
        assert "503" in {read_answer(client)[0].split()[1] for client in clients}


def test_a_busy_server_says_when_to_come_again(tmp_path):
    with tiny_server(tmp_path, seconds=0.05, limits={"wait_seconds": 0.5}) as running, contextlib.ExitStack() as stack:
        predict(running)
        clients = [stack.enter_context(connected(running.port)) for _ in range(20)]
        for client in clients:
            client.sendall(request())
        answers = [read_answer(client) for client in clients]
    refused = [(head, body) for head, body in answers if not head.startswith("HTTP/1.1 200")]
    assert 0 < len(refused) < 20
    for head, body in refused:
        assert head.startswith("HTTP/1.1 503")
        assert "retry-after: 1" in head.lower()
        assert "busy" in body["error"]


def sent_in_pieces(client, head, body, piece=200_000):
    """What a client reads that first sends all it has, and sees no answer before."""
    client.sendall(head)
    for start in range(0, len(body), piece):
        time.sleep(0.05)  # in which a connection that the server has closed is reset
        client.sendall(body[start : start + piece])
    return read_answer(client)


REFUSED = {
    "too large": (HEAD + b"Content-Length: 2000000\r\n", "413"),
    "compressed": (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2000000\r\n", "415"),
    "another model": (HEAD.replace(b"bert:", b"cat:") + b"Content-Length: 2000000\r\n", "404"),
    "another address": (HEAD.replace(b":predict", b":explain") + b"Content-Length: 2000000\r\n", "404"),
    "another method": (HEAD.replace(b"POST", b"PUT") + b"Content-Length: 2000000\r\n", "405"),
    "a large head": (HEAD + b"X: " + b"a" * 70_000 + b"\r\nContent-Length: 2000000\r\n", "431"),
    "no HTTP": (HEAD + b"Content-Length: 2,000,000\r\n", "400"),
}


@pytest.mark.parametrize("close", [True, False], ids=["closes", "keeps alive"])
@pytest.mark.parametrize("why", REFUSED)
def test_a_client_that_sends_everything_first_reads_why_it_was_refused(tmp_path, why, close):
    head, status = REFUSED[why]
    with tiny_server(tmp_path, limits={"body_bytes": 600_000}) as running, connected(running.port) as client:
        head += b"Connection: close\r\n\r\n" if close else b"\r\n"
        answer, body = sent_in_pieces(client, head, b" " * 2_000_000)
        assert answer.startswith(f"HTTP/1.1 {status}")
        assert body["error"]
        assert predict(running)
        if "connection: close" in answer.lower():
            assert client.recv(1) == b""
        else:  # the connection goes on after what was not read
            assert not close
            client.sendall(request())
            assert read_answer(client)[0].startswith("HTTP/1.1 200")
    assert running.errors == ""


def test_a_body_that_never_ends_is_read_no_longer_than_one_that_is_wanted(tmp_path):
    limits = {"body_bytes": 1000, "body_seconds": 0.5}
    with tiny_server(tmp_path, limits=limits) as running, connected(running.port) as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 20:
                client.sendall(b"400\r\n%s\r\n" % (b"a" * 1024))
                time.sleep(0.01)
        assert 0.4 < time.monotonic() - started < 10
    assert running.errors == ""


def test_bodies_together_have_a_limit(tmp_path):
    limits = {"bodies_bytes": 1_000_000, "body_bytes": 600_000}
    with (
        tiny_server(tmp_path, limits=limits) as running,
        connected(running.port) as one,
        connected(running.port) as two,
    ):
        half = request(b" " * 599_000, length=600_000)
        one.sendall(half)
        time.sleep(0.3)
        two.sendall(half)
        assert read_answer(two)[0].startswith("HTTP/1.1 503")
        with pytest.raises(urllib.error.HTTPError, match="413"):
            urllib.request.urlopen(running.url + PREDICT, b" " * 600_001)
        one.sendall(b" " * 1000)
        assert read_answer(one)[0].startswith("HTTP/1.1 400")
        assert predict(running)
