"""A server on loopback that speaks Kubeflow Pipelines' API v2beta1 to kfp's own client.

Bodies are held to the models of kfp_server_api: an unknown field, or a value of another type, is refused. So is a
specification that KFP's protobuf does not know, and a parameter that the pipeline does not have.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.support.pipeline_bodies import check_run

ROOT = "/apis/v2beta1/"
PAGE = 2
INT64 = ("max_concurrency", "interval_second")  # texts in the models, and protobuf's JSON takes numbers too


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class KfpServer:
    """Use it as a context manager; `url` is the host for the client.

    Attributes:
        experiments, runs, schedules: What was made, by id, as sent.
        run_states: The states that a run is seen in, one a look; it stays in the last.
        statuses: HTTP statuses of the next answers to a look at a run.
        lost: Whether the answer to a new run is lost.
        token: The token that each call must have; "" for none.
    """

    def __init__(self) -> None:
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.run_states = ["PENDING", "RUNNING", "SUCCEEDED"]
        self.statuses: list[int] = []
        self.token = ""
        self.lost = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> KfpServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, verb: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        """The answer to one call; RefusedError for another status than 200."""
        what, _, rest = path.removeprefix(ROOT).partition("/")
        name, _, action = rest.partition(":")
        if not path.startswith(ROOT):
            raise RefusedError(404, f"there is no {path}")
        if what == "healthz":
            return {"multi_user": False}
        if what == "experiments":
            return self._experiments(verb, query, body)
        if what == "runs":
            return self._runs(verb, name, body)
        if what == "recurringruns":
            return self._schedules(verb, name, action, query, body)
        raise RefusedError(404, f"there is no {path}")

    def _experiments(self, verb: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        if verb == "POST":
            conforms(body, "V2beta1Experiment")
            return _kept(self.experiments, body, "experiment_id")
        (predicate,) = json.loads(query["filter"])["predicates"]
        assert (predicate["operation"], predicate["key"]) == (1, "display_name")
        found = [one for one in self.experiments.values() if one["display_name"] == predicate["stringValue"]]
        return {"experiments": found}

    def _runs(self, verb: str, name: str, body: Any) -> dict[str, Any]:
        if verb == "POST":
            self._check(body, "V2beta1Run")
            kept = _kept(self.runs, body, "run_id")
            if self.lost:
                raise RefusedError(504, "the gateway did not wait")
            return kept
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            raise RefusedError(status, "not now")
        state = self.run_states.pop(0) if len(self.run_states) > 1 else self.run_states[0]
        tasks = [
            {"display_name": "finetune-bert", "state": "FAILED"},
            {"display_name": "pin-data", "state": "SUCCEEDED"},
        ]
        failed = {"error": {"message": "the pod died"}, "run_details": {"task_details": tasks}}
        return _found(self.runs, name) | {"state": state} | (failed if state == "FAILED" else {})

    def _schedules(self, verb: str, name: str, action: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        if verb == "POST" and not action:
            self._check(body, "V2beta1RecurringRun")
            if not re.fullmatch(r"\S+( \S+){5}", body["trigger"]["cron_schedule"]["cron"]):
                raise RefusedError(400, "expected six fields")
            body["status"] = "ENABLED" if body["mode"] == "ENABLE" else "DISABLED"
            return _kept(self.schedules, body, "recurring_run_id")
        if verb == "POST":
            _found(self.schedules, name)["status"] = {"enable": "ENABLED", "disable": "DISABLED"}[action]
            return {}
        if verb == "DELETE":
            _found(self.schedules, name)
            del self.schedules[name]
            return {}
        start = int(query.get("page_token") or 0)
        found = list(self.schedules.values())
        more = {"next_page_token": str(start + PAGE)} if start + PAGE < len(found) else {}
        return {"recurringRuns": found[start : start + PAGE], "total_size": len(found)} | more

    def _check(self, body: Any, model: str) -> None:
        conforms(body, model)
        _found(self.experiments, body["experiment_id"])
        spec = body["pipeline_spec"]
        try:
            if "platform_spec" in spec:
                json_format.ParseDict(spec["platform_spec"], pipeline_spec_pb2.PlatformSpec())
                spec = spec["pipeline_spec"]
            check_run(spec, body["runtime_config"].get("parameters", {}))
        except (json_format.ParseError, ValueError) as error:
            raise RefusedError(400, str(error)) from None


def conforms(body: Any, kind: str) -> None:
    """RefusedError where a value is not what a model of kfp_server_api says."""
    if found := re.fullmatch(r"list\[(.+)\]", kind):
        for one in body:
            conforms(one, found[1])
    elif hasattr(kfp_server_api, kind) and hasattr(getattr(kfp_server_api, kind), "openapi_types"):
        model = getattr(kfp_server_api, kind)
        if not isinstance(body, dict):
            if body not in getattr(model, "allowable_values", ()):
                raise RefusedError(400, f"{body!r} is no {kind}")
            return
        fields = {model.attribute_map[name]: of for name, of in model.openapi_types.items()}
        if unknown := body.keys() - fields.keys():
            raise RefusedError(400, f"{kind} has no {sorted(unknown)}")
        for name, value in body.items():
            if name not in INT64 or not isinstance(value, int):
                conforms(value, fields[name])
    elif kind in ("str", "int", "bool") and type(body).__name__ != kind:
        raise RefusedError(400, f"{body!r} is no {kind}")


def _kept(place: dict[str, Any], body: dict[str, Any], key: str) -> dict[str, Any]:
    body[key] = f"{key[:3]}-{len(place) + 1}"
    place[body[key]] = body
    return body


def _found(place: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in place:
        raise RefusedError(404, f"there is no {name}")
    return place[name]


class _Handler(BaseHTTPRequestHandler):
    owner: KfpServer
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        try:
            if self.owner.token and self.headers.get("authorization") != f"Bearer {self.owner.token}":
                raise RefusedError(401, "sign in")
            status, said = 200, self.owner.answer(self.command, address.path, query, json.loads(body or "null"))
        except RefusedError as error:
            status, said = error.status, {"error": str(error), "code": error.status}
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass
