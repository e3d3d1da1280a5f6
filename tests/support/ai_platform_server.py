"""A server on loopback that speaks AI Platform's API to the real client, with faults on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from google.cloud import aiplatform_v1 as v1
from google.protobuf import empty_pb2, json_format

from tests.support.ai_platform_cloud import Cloud, RefusalError
from tests.support.ai_platform_routes import READ_ONLY, routes
from tests.support.bodies import whole_body

ROUTES = routes()
LOG_PAGE = 2


@dataclass
class Fault:
    """One fault of the API.

    Attributes:
        method: The method that it strikes; "" for any.
        effect: "before": nothing happens; "after": it happens, but the caller does not hear of it; "drop": it
            happens, and the connection breaks; "cut": it breaks within the answer; "half": half of the answer comes as
            if it were all.
        times: How often; -1 for ever.
        position: Strikes only from this call on, counted over all methods from 1.
        status: HTTP status of the answer.
        sticky: With a position and no method: strikes the method that is called there, and that one only.
    """

    method: str = ""
    effect: str = "before"
    times: int = 1
    position: int = 0
    status: int = 503
    sticky: bool = True


class AiPlatformServer:
    """Use it as a context manager; `url` is the `api_endpoint` for the client.

    Attributes:
        cloud: The state behind it.
        faults: Faults to come.
        calls: The methods that were called, in order.
        ports: The clients' ports that the calls came from, which tell connections apart.
        on_call: Called after the effect of each call and before its answer, with its number and method.
        latency: Seconds added to predictions, by deployed model.
        broken: Deployed models that answer predictions with 500.
        logs: Lines of Cloud Logging, by job id.
        log_status: HTTP status of its answers.
        project_numbers: Numbers of projects, by their ids. The API takes both, and answers with the number.
    """

    def __init__(self, cloud: Cloud | None = None) -> None:
        self.cloud = cloud or Cloud()
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self.ports: list[int] = []
        self.on_call: Callable[[int, str], None] = lambda number, method: None
        self.latency: dict[str, float] = {}
        self.broken: set[str] = set()
        self.logs: dict[str, list[str]] = {}
        self.log_status = 200
        self.project_numbers: dict[str, str] = {}
        self._lock = threading.Lock()
        self._servers = [
            _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self, "dedicated": dedicated}))
            for dedicated in (False, True)
        ]
        self.url, dedicated_url = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        self.cloud.dedicated_dns = dedicated_url.removeprefix("http://")

    def __enter__(self) -> AiPlatformServer:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def changing_calls(self) -> list[str]:
        """The calls that were no reads."""
        return [one for one in self.calls if not one.startswith((*READ_ONLY, "Predict"))]

    def answer(
        self, verb: str, path: str, query: str, body: bytes, dedicated: bool, port: int = 0
    ) -> tuple[int, str] | tuple[int, str, int] | None:
        """Status and body of the answer, and its length where that is to be another; None to break the connection."""
        if path == "/v2/entries:list":
            return self.log_status, self._entries(json_format.json.loads(body))
        for project, number in self.project_numbers.items():
            id_part, number_part = f"projects/{project}/", f"projects/{number}/"
            path, body = path.replace(id_part, number_part), body.replace(id_part.encode(), number_part.encode())
        for route in ROUTES:
            match = route.pattern.fullmatch(path)
            if match and route.verb == verb:
                break
        else:
            return 404, _error(404, "NOT_FOUND", f"the API has no {verb} {path}")
        if dedicated and route.method != "Predict":
            return 404, _error(404, "NOT_FOUND", "a dedicated endpoint answers predictions only")
        with self._lock:
            self.calls.append(route.method)
            self.ports.append(port)
            position = len(self.calls)
            fault = self._strike(position, route.method)
        if fault and fault.effect == "before":
            return fault.status, _error(fault.status, "UNAVAILABLE", "a fault before it happened")
        try:
            request = route.parse(match, query, body)
            predict = partial(self._predict, dedicated)
            call = predict if route.method == "Predict" else partial(self.cloud.call, route.method)
            status, text = 200, _json(call(request))
        except RefusalError as error:
            status, text = error.status, _error(error.status, error.code, str(error))
        except ValueError as error:
            status, text = 400, _error(400, "INVALID_ARGUMENT", str(error))
        self.on_call(position, route.method)
        if fault and fault.effect == "drop":
            return None
        if fault and fault.effect in ("cut", "half"):
            half = text[: len(text) // 2]
            return status, half, len(text if fault.effect == "cut" else half)
        if fault:
            return fault.status, _error(fault.status, "UNAVAILABLE", "a fault after it happened")
        return status, text

    def _entries(self, request: Any) -> str:
        """Cloud Logging's answer, whose form is JSON: the package needs no client library for it."""
        job_id = request["filter"].split('job_id="')[1].split('"')[0]
        entries = [
            {"insertId": str(number), "timestamp": f"2026-01-01T00:00:{number:02}Z", "textPayload": text}
            for number, text in enumerate(self.logs.get(job_id, []))
        ]
        start = int(request.get("pageToken") or 0)
        page = {"entries": entries[start : start + LOG_PAGE]}
        if start + LOG_PAGE < len(entries):
            page["nextPageToken"] = str(start + LOG_PAGE)
        return json_format.json.dumps(page)

    def _strike(self, number: int, method: str) -> Fault | None:
        for fault in self.faults:
            if not fault.times or number < fault.position or (fault.method and fault.method != method):
                continue
            if fault.sticky:
                fault.method = method
            fault.times -= 1
            return fault
        return None

    def _predict(self, dedicated: bool, request: Any) -> Any:
        deployed, model = self.cloud.choose(request.endpoint, dedicated)
        time.sleep(self.latency.get(deployed.id, 0.0))
        if deployed.id in self.broken:
            raise RefusalError(500, "INTERNAL", f"deployed model {deployed.id} is broken")
        instances = [json_format.MessageToDict(one) for one in request.instances]
        response = {
            "predictions": self.cloud.predictor(model.artifact_uri, instances),
            "deployedModelId": deployed.id,
            "model": model.name,
            "modelVersionId": model.version_id,
            "modelDisplayName": model.display_name,
        }
        return json_format.ParseDict(response, v1.PredictResponse.pb()())


def _json(result: Any) -> str:
    message = empty_pb2.Empty() if result is None else result
    message = type(message).pb(message) if hasattr(type(message), "pb") else message
    return json_format.MessageToJson(message, use_integers_for_enums=True)


def _error(status: int, code: str, message: str) -> str:
    return json_format.json.dumps({"error": {"code": status, "status": code, "message": message}})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """A client that was killed leaves a broken connection, which is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    owner: AiPlatformServer
    dedicated: bool
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and body in one packet: else each answer waits 40 ms for an acknowledgement

    def _serve(self) -> None:
        body = whole_body(self)
        if body is None:
            return
        path, _, query = self.path.partition("?")
        port = self.client_address[1]
        answer = self.owner.answer(self.command, unquote(path), query, body, self.dedicated, port)
        if answer is None:
            self.close_connection = True
            return
        status, text, *length = answer
        data = text.encode()
        self.close_connection = bool(length)
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(length[0] if length else len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # the client was killed
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass
