"""The REST API of TensorFlow Serving, and the container contract of AI Platform, whose requests have the same form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.routing import Route

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.instances import SIGNATURE, parse, parse_examples
from kfp_bert_components.serving.service import JsonResponse, Service

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from kfp_bert_components.serving.engines import Engine

LABEL = "stable"  # the one version label: of the version that is served


def tensorflow_routes(service: Service) -> list[Route]:
    """The routes of TensorFlow Serving: https://www.tensorflow.org/tfx/serving/api_rest."""
    handlers = _Handlers(service)
    model = "/v1/models/{name:model}"
    routes = [Route("/v1/models", handlers.models, methods=["GET"])]  # KServe's: TensorFlow Serving has no list
    for path in (model, f"{model}/versions/{{version:model}}", f"{model}/labels/{{label:model}}"):
        routes += [
            Route(f"{path}:predict", handlers.predict, methods=["POST"]),
            Route(f"{path}:classify", handlers.classify, methods=["POST"]),
            Route(f"{path}/metadata", handlers.metadata, methods=["GET"]),
            Route(path, handlers.status, methods=["GET"]),
        ]
    return routes


def ai_platform_routes(service: Service, environment: Mapping[str, str]) -> list[Route]:
    """The routes that AI Platform asks for by environment variables.

    Args:
        service: The model.
        environment: AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE are its.

    Raises:
        UserError: A route is no path.
    """
    handlers = _Handlers(service)
    names = ("AIP_PREDICT_ROUTE", "AIP_HEALTH_ROUTE")
    for name in names:
        if not (route := environment.get(name) or "/").startswith("/"):
            raise UserError(f"{name} is {route!r}: it must begin with a slash, such as '/{route}'.")
    predict, health = map(environment.get, names)
    routes = [Route(predict, handlers.predict, methods=["POST"])] if predict else []
    return [*routes, Route(health, handlers.status, methods=["GET"])] if health else routes


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def models(self, request: Request) -> Response:
        return JsonResponse({"models": [self._service.name]})

    async def status(self, request: Request) -> Response:
        self._check_label(request)
        models = self._service.models
        if models.model is None and request.path_params.get("name", self._service.name) == self._service.name:
            failed = bool(models.refused) and models.looked  # as TensorFlow Serving says of one that it gave up
            entry: dict[str, Any] = {"version": request.path_params.get("version", "0")}
            entry["state"] = "END" if failed else "LOADING"
            entry["status"] = {"error_code": "UNKNOWN" if failed else "OK", "error_message": models.problem}
            return self._status(entry, 200 if "name" in request.path_params else 503)
        version = self._service.engine(request).version
        status = {"error_code": "OK", "error_message": models.problem}
        entry = {"version": str(version.number), "state": "AVAILABLE", "status": status}
        # Beyond TensorFlow Serving: what is behind the number.
        entry |= {"registry_version": version.registry_version, "fingerprint": version.fingerprint}
        return self._status(entry, 200)

    def _status(self, entry: dict[str, Any], status: int) -> Response:
        # `name` and `ready` are what the first version of KServe's protocol has here.
        known = {"name": self._service.name, "ready": entry["state"] == "AVAILABLE"}
        return JsonResponse({"model_version_status": [entry], **known}, status)

    async def metadata(self, request: Request) -> Response:
        engine = self._engine(request)
        inputs = {name: _tensor(name, "DT_STRING", [-1]) for name in engine.inputs}
        outputs = {
            "label": _tensor("label", "DT_STRING", [-1]),
            "score": _tensor("score", "DT_FLOAT", [-1]),
            "probabilities": _tensor("probabilities", "DT_FLOAT", [-1, len(engine.labels) or -1]),
        }
        signature = {"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict", "defaults": {}}
        spec = {"name": self._service.name, "signature_name": "", "version": str(engine.version.number)}
        signatures = {"signature_def": {SIGNATURE: signature}}
        return JsonResponse({"model_spec": spec, "metadata": {"signature_def": signatures}})

    async def predict(self, request: Request) -> Response:
        engine = self._engine(request)
        asked = parse(await self._service.read(request), engine.inputs, self._service.limits)
        answers = await self._service.answer(request, engine, asked.instances)
        content: dict[str, Any]
        if asked.columns:
            columns = {"label": answers.labels, "probabilities": answers.probabilities, "score": answers.scores}
            content = {"outputs": columns}
        else:
            content = {"predictions": answers.predictions()}
        # Beyond TensorFlow Serving: the names of the classes, in the order of the probabilities.
        return JsonResponse(content | {"labels": engine.labels} if engine.labels else content)

    async def classify(self, request: Request) -> Response:
        engine = self._engine(request)
        instances = parse_examples(await self._service.read(request), engine.inputs, self._service.limits)
        answers = await self._service.answer(request, engine, instances)
        # TensorFlow Serving, too, leaves the names empty that a model does not tell.
        labels = engine.labels or [""] * answers.probabilities.shape[1]
        return JsonResponse({"result": [list(zip(labels, row, strict=True)) for row in answers.probabilities]})

    def _engine(self, request: Request) -> Engine:
        self._check_label(request)
        return self._service.engine(request)

    def _check_label(self, request: Request) -> None:
        label = request.path_params.get("label", LABEL)
        if label != LABEL:
            raise HTTPException(404, f"There is no version label {label[:100]!r}: the only one is {LABEL!r}.")


def _tensor(name: str, dtype: str, sizes: list[int]) -> dict[str, Any]:
    dim = [{"size": str(size), "name": ""} for size in sizes]
    return {"dtype": dtype, "tensor_shape": {"dim": dim, "unknown_rank": False}, "name": f"{name}:0"}
