"""The client of a model server with TensorFlow Serving's REST API."""

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kfp_bert_components.deployment import (
    RolloutError,
    SmokeSettings,
    deploy_to_serving_directory,
    open_versioned_folder,
)
from kfp_bert_components.deployment.model_server import ModelServer
from kfp_bert_components.errors import TransientError, UserError
from kfp_bert_components.registry import Registry
from tests.support.examined import write_examined


@contextlib.contextmanager
def answering(replies):
    """A server that gives these replies (code and JSON or text), the last again and again; its URL, and what it got."""
    got, left = [], list(replies)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            got.append((self.command, self.path, json.loads(body) if body else None))
            code, reply = left.pop(0) if len(left) > 1 else left[0]
            data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self):
            self.do_GET()

        def log_message(self, format, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:  # otherwise the thread would go on, on a closed socket, and keep the process from ending
            server.shutdown()
            thread.join()


def status(number, state, **more):
    other = {"version": "1", "state": "AVAILABLE"}
    return 200, {"model_version_status": [other, {"version": number, "state": state, **more}]}


def test_a_version_is_asked_by_its_number_in_the_model_that_the_url_names():
    answer = {"label": "calm", "probabilities": [1.0]}
    for path, model in (("", "bert"), ("/", "bert"), ("/v1/models/films", "films"), ("/v1/models/films/", "films")):
        with answering([(200, {"predictions": [answer]})]) as (url, got):
            found = ModelServer(url + path).ask(7, {"text": "hello"})
        assert (found.who, found.prediction) == ("7", answer) and 0 < found.seconds < 10
        assert got == [("POST", f"/v1/models/{model}/versions/7:predict", {"instances": [{"text": "hello"}]})]


def test_an_answer_that_is_an_error_or_none_names_the_address():
    with answering([(500, "out of memory" + "y" * 300)]) as (url, _):
        with pytest.raises(
            TransientError, match=r"/v1/models/bert/versions/7:predict answered 500: out of memoryy+$"
        ) as raised:
            ModelServer(url).ask(7, {"text": "hello"})
        assert len(str(raised.value)) < 400
    with (
        answering([(200, "no JSON")]) as (url, _),
        pytest.raises(TransientError, match=r"7:predict does not answer \(Exp"),
    ):
        ModelServer(url).ask(7, {"text": "hello"})
    with pytest.raises(TransientError, match="does not answer"):
        ModelServer(url).ask(7, {"text": "hello"})


def test_it_waits_until_the_version_is_available():
    checks = []
    replies = [
        (503, "starting"),
        (200, {}),
        status("7", "LOADING"),
        status("70", "AVAILABLE"),
        status("7", "AVAILABLE"),
    ]
    with answering(replies) as (url, got):
        ModelServer(url).wait_for(7, "abc", 30, lambda: checks.append(1))
    assert [path for _, path, _ in got] == ["/v1/models/bert/versions/7"] * 5 and len(checks) == 5


def test_a_server_that_tells_the_fingerprint_must_tell_the_one_of_the_version():
    replies = [status("7", "AVAILABLE", fingerprint="old"), status("7", "AVAILABLE", fingerprint="abc")]
    with answering(replies) as (url, got):
        ModelServer(url).wait_for(7, "abc", 30, lambda: None)
    assert len(got) == 2
    other = r"does not serve version 7 after 0\.3 s: .*'fingerprint': 'old'"
    with answering(replies[:1]) as (url, _), pytest.raises(RolloutError, match=other):
        ModelServer(url).wait_for(7, "abc", 0.3, lambda: None)


def test_a_version_that_is_not_available_in_time_fails_with_what_the_server_said_last():
    loading = r"bert does not serve version 7 after 0\.3 s: .*'LOADING'"
    with answering([status("7", "LOADING")]) as (url, _), pytest.raises(RolloutError, match=loading):
        ModelServer(url).wait_for(7, "abc", 0.3, lambda: None)
    with pytest.raises(RolloutError, match=r"does not serve version 7 after 0\.3 s: http.*does not answer"):
        ModelServer(url).wait_for(7, "abc", 0.3, lambda: None)


def test_waiting_ends_with_what_the_check_raises():
    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        ModelServer("http://127.0.0.1:9").wait_for(7, "abc", 30, stop)


@pytest.mark.parametrize(
    ("reply", "serves"),
    [
        (status("2", "AVAILABLE"), True),
        (status("2", "AVAILABLE", fingerprint="f"), True),
        (status("2", "AVAILABLE", fingerprint="another"), False),
        (status("2", "LOADING"), False),
        (status("3", "AVAILABLE"), False),
    ],
)
def test_what_serves_is_the_newest_version_that_is_loaded(reply, serves):
    with answering([reply]) as (url, got):
        assert ModelServer(url).serves(2, "f") is serves
    assert got == [("GET", "/v1/models/bert", None)]


@pytest.mark.parametrize("reply", [(200, {"model_version_status": []}), (200, []), (404, {}), (200, "no JSON")])
def test_a_server_that_does_not_say_what_it_serves_may_say_it_later(reply):
    with answering([reply]) as (url, _), pytest.raises(TransientError):
        ModelServer(url).serves(2, "f")


def test_a_champion_in_the_folder_that_the_server_does_not_serve_is_not_live(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), str(tmp_path / "serving")
    promote_examined(registry, tmp_path, "first")
    promote_examined(registry, tmp_path, "second")
    deploy_to_serving_directory(registry.uri, folder)
    first = (200, {"model_version_status": [{"version": "0", "state": "AVAILABLE"}]})
    with answering([first]) as (url, got), pytest.raises(RolloutError, match="does not serve version 2 after"):
        deploy_to_serving_directory(registry.uri, folder, server_url=url, smoke=SmokeSettings(timeout_seconds=1))
    assert got[0] == ("GET", "/v1/models/bert", None)
    assert open_versioned_folder(folder).complete() == [1]
    record = registry.deployment("production")
    assert record.state == "failed" and "does not serve version 2" in record.reason


def test_a_champion_that_the_server_serves_is_live_after_one_question(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), str(tmp_path / "serving")
    promote_examined(registry, tmp_path, "first")
    deployed = deploy_to_serving_directory(registry.uri, folder)
    record = registry.deployment("production")
    with answering([status("1", "AVAILABLE")]) as (url, got):
        assert deploy_to_serving_directory(registry.uri, folder, server_url=url) == deployed
    assert got == [("GET", "/v1/models/bert", None)]
    assert registry.deployment("production") == record


def test_a_server_that_does_not_answer_leaves_the_record_as_it_is(tmp_path):
    registry, folder = Registry(str(tmp_path / "registry")), str(tmp_path / "serving")
    promote_examined(registry, tmp_path, "first")
    deploy_to_serving_directory(registry.uri, folder)
    record = registry.deployment("production")
    with answering([(503, {})]) as (url, _), pytest.raises(UserError, match=r"503.*Nothing was changed"):
        deploy_to_serving_directory(registry.uri, folder, server_url=url)
    assert registry.deployment("production") == record


def promote_examined(registry, folder, name):
    now = registry.champion()
    champion = (now.version, now.generation) if now else None
    paths = write_examined(folder / name, name, champion=champion, saved_model=False)
    (paths[0] / "saved_model" / "saved_model.pb").write_text(f"graph of {name}")
    registry.promote(*paths)


def test_a_server_that_accepts_a_call_and_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections wait in its queue
        server, ended = ModelServer(f"http://127.0.0.1:{silent.getsockname()[1]}", call_seconds=0.2), threading.Event()

        def call():
            with pytest.raises(TransientError, match="does not answer"):
                server.ask(1, {"text": "HI"})
            ended.set()

        threading.Thread(target=call, daemon=True).start()
        assert ended.wait(20)


def test_of_a_long_error_page_the_start_is_shown():
    with answering([(500, "x" * 5000)]) as (url, _), pytest.raises(TransientError) as error:
        ModelServer(url).ask(1, {"text": "HI"})
    assert len(str(error.value)) < 500


def test_why_a_model_cannot_be_loaded_is_asked():
    ended = status("7", "END", status={"error_code": "UNKNOWN", "error_message": "no graph"})
    with answering([ended]) as (url, _):
        assert ModelServer(url).problem() == "no graph"
    with answering([(200, {"what": "?"})]) as (url, _), pytest.raises(TransientError, match="answered"):
        ModelServer(url).problem()


def test_without_a_number_the_server_chooses_the_version():
    with answering([(200, {"predictions": [{"label": "a"}]})]) as (url, got):
        assert ModelServer(url).ask(0, {"text": "x"}).prediction == {"label": "a"}
    assert got[0][1] == "/v1/models/bert:predict"
