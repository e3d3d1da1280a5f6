"""The predictors of the fake cluster: small servers on loopback that answer as our own server does, or wrongly."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.support.bodies import whole_body
from tests.support.predictors import LABELS, predict

LOADING = "The model is still loading: try again in a few seconds."
Reply = tuple[int, dict[str, Any]]


@dataclass
class Model:
    """What lies at an address of a model.

    Attributes:
        fingerprint: Which version it is, as our server says it.
        version: The number of its folder.
        registry_version: Its number in the registry; None: it comes from none.
        predict: Gives the probabilities of texts, a row each; the default is right.
        labels: The names of the classes.
        seconds: How long an answer takes, on the wall.
        status: HTTP status of its answers.
        load_seconds: How long it takes to load, in cluster time.
        problem: Why it cannot be loaded; "" if it can.
    """

    fingerprint: str = "f1"
    version: int = 1
    registry_version: int | None = None
    predict: Callable[[Sequence[str]], Any] = predict
    labels: Sequence[str] = tuple(LABELS)
    seconds: float = 0.0
    status: int = 200
    load_seconds: float = 5.0
    problem: str = ""


def wrong(texts: Sequence[str]) -> Any:
    """A model that takes calm for shouting."""
    return predict(texts)[:, ::-1]


class Predictor:
    """The server in a container. It has its port from the start, and listens once the container runs.

    Args:
        names: The names of its model.
        plain: Whether it is TensorFlow Serving, which knows no fingerprints.

    Attributes:
        model: What it has loaded; None while it loads.
        problem: Why it cannot be loaded.
        asked: How many predictions it was asked for.
    """

    def __init__(self, names: Sequence[str], plain: bool = False) -> None:
        self.names, self.plain = tuple(names), plain
        self.model: Model | None = None
        self.problem = ""
        self.asked = 0
        self._front = Front(lambda host: self)
        self.port = self._front.port

    def start(self) -> None:
        """Listen."""
        self._front.start()

    def stop(self) -> None:
        """Listen no longer."""
        self._front.stop()

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """Status and JSON of an answer."""
        model = self.model
        if path == "/healthz":
            return self._health(model)
        if path in ("/v2/health/live", "/v2/health/ready"):
            what, fine = path.rpartition("/")[2], model is not None or path.endswith("live")
            return (200 if fine else 503), {what: fine}
        if path in ("/v1/models", "/v2"):
            return 200, {"models": list(self.names)} if path == "/v1/models" else {"name": "kfp-bert"}
        part, _, action = path.removeprefix("/v1/models/").removeprefix("/v2/models/").partition(":")
        name, _, rest = re.sub("/versions/[0-9]+", "", part).partition("/")
        if name not in self.names:
            return 404, {"error": f"There is no model {name!r}: the only one is {self.names[0]!r}."}
        if path.startswith("/v1/") and method == "GET" and not action and not rest:
            return self._status(model)
        if model is None:
            return 503, {"error": self.problem or LOADING}
        if method == "GET":
            return 200, self._metadata(model, path, rest)
        return self._predict(model, action == "predict", json.loads(body))

    def _health(self, model: Model | None) -> Reply:
        if model is None:
            return 503, {"error": self.problem or LOADING, "refused": []}
        known = {"version": model.version, "registry_version": model.registry_version, "fingerprint": model.fingerprint}
        return 200, {"status": "ok", **known, "engine": "fake", "problem": "", "refused": []}

    def _status(self, model: Model | None) -> Reply:
        if model is None:
            entry: dict[str, Any] = {"version": "0", "state": "LOADING"}
            entry["status"] = {"error_code": "OK", "error_message": self.problem}
        else:
            entry = {"version": str(model.version), "state": "AVAILABLE"}
            entry["status"] = {"error_code": "OK", "error_message": ""}
            if not self.plain:
                entry |= {"registry_version": model.registry_version, "fingerprint": model.fingerprint}
        known = {} if self.plain else {"name": self.names[0], "ready": model is not None}
        return 200, {"model_version_status": [entry], **known}

    def _metadata(self, model: Model, path: str, rest: str) -> dict[str, Any]:
        if rest == "ready":
            return {"name": self.names[0], "ready": True}
        if path.startswith("/v2/"):
            return {"name": self.names[0], "versions": [str(model.version)], "platform": "fake"}
        spec = {"name": self.names[0], "signature_name": "", "version": str(model.version)}
        return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": {"serving_default": {}}}}}

    def _predict(self, model: Model, first_version: bool, asked: dict[str, Any]) -> Reply:
        self.asked += 1
        time.sleep(model.seconds)
        if model.status != 200:
            return model.status, {"error": "The model failed on this request: see the log of the server."}
        if first_version:
            texts = [one["text"] if isinstance(one, dict) else one for one in asked["instances"]]
        else:
            texts = asked["inputs"][0]["data"]
        rows = [[float(value) for value in row] for row in model.predict(texts)]
        best = [max(range(len(row)), key=row.__getitem__) for row in rows]
        found, scores = [model.labels[index] for index in best], [max(row) for row in rows]
        if first_version:
            listed = zip(found, rows, scores, strict=True)
            answers = [{"label": label, "probabilities": row, "score": score} for label, row, score in listed]
            return 200, {"predictions": answers, "labels": list(model.labels)}
        classes, flat = len(model.labels), [value for row in rows for value in row]
        outputs = [
            {"name": "label", "datatype": "BYTES", "shape": [len(texts)], "data": found},
            {"name": "score", "datatype": "FP32", "shape": [len(texts)], "data": scores},
            {"name": "probabilities", "datatype": "FP32", "shape": [len(texts), classes], "data": flat},
            {"name": "labels", "datatype": "BYTES", "shape": [classes], "data": list(model.labels)},
        ]
        return 200, {"model_name": self.names[0], "model_version": str(model.version), "outputs": outputs}


class Front:
    """An address on loopback behind which one of several predictors answers, as behind a Service.

    Args:
        choose: Gives the predictor for the next request to a host; None where there is none: the connection breaks.
    """

    def __init__(self, choose: Callable[[str], Predictor | None]) -> None:
        handler = type("Handler", (_Handler,), {"choose": staticmethod(choose)})
        self._server = _Server(("127.0.0.1", 0), handler, bind_and_activate=False)
        self._server.server_bind()
        self._running = False
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; twice is as good as once."""
        if not self._running:
            self._running = True
            self._server.server_activate()
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Listen no longer."""
        if self._running:
            self._running = False
            self._server.shutdown()
        self._server.server_close()


def weighted(choices: Sequence[tuple[Any, int]]) -> Any:
    """One of several, by weight; None where no weight is above 0."""
    there = [(one, weight) for one, weight in choices if weight > 0]
    return random.choices([one for one, _ in there], [weight for _, weight in there])[0] if there else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *arguments: object) -> None:
        """A client that was killed leaves a broken connection, which is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    choose: Callable[[str], Predictor | None]
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def _serve(self) -> None:
        body = whole_body(self)
        if body is None:
            return
        predictor = self.choose((self.headers.get("Host") or "").partition(":")[0])
        if predictor is None:
            self.close_connection = True
            return
        status, content = predictor.answer(self.command, unquote(self.path.partition("?")[0]), body)
        data = json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # the client was killed
            self.close_connection = True

    do_GET = do_POST = _serve  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass
