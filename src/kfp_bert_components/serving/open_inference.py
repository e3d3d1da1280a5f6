"""KServe's Open Inference Protocol, version 2, over REST, with the binary tensors that Triton's client sends."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from kfp_bert_components import __version__
from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.instances import check_count, check_text, join_columns, read_object
from kfp_bert_components.serving.service import JsonResponse, Service

if TYPE_CHECKING:
    from starlette.requests import Request

    from kfp_bert_components.serving.engines import Answers, Engine, Instance
    from kfp_bert_components.serving.limits import Limits

SERVER = "kfp-bert"
BINARY_HEADER = "inference-header-content-length"
OUTPUTS = ("label", "score", "probabilities", "labels")
FORM = '{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["..."]}]}'


def open_inference_routes(service: Service) -> list[Route]:
    """The routes of the protocol: https://github.com/kserve/open-inference-protocol."""
    handlers = _Handlers(service)
    routes = [
        Route("/v2", handlers.server, methods=["GET"]),
        Route("/v2/health/live", handlers.live, methods=["GET"]),
        Route("/v2/health/ready", handlers.ready, methods=["GET"]),
    ]
    for path in ("/v2/models/{name:model}", "/v2/models/{name:model}/versions/{version:model}"):
        routes += [
            Route(path, handlers.model, methods=["GET"]),
            Route(f"{path}/ready", handlers.model_ready, methods=["GET"]),
            Route(f"{path}/infer", handlers.infer, methods=["POST"]),
        ]
    return routes


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def server(self, request: Request) -> Response:
        return JsonResponse({"name": SERVER, "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, request: Request) -> Response:
        return JsonResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        ready = self._service.models.model is not None
        return JsonResponse({"ready": ready}, 200 if ready else 503)

    async def model_ready(self, request: Request) -> Response:
        self._service.engine(request)
        return JsonResponse({"name": self._service.name, "ready": True})

    async def model(self, request: Request) -> Response:
        engine = self._service.engine(request)
        classes = len(engine.labels) or -1
        outputs = [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
        ]
        if engine.labels:
            outputs.append({"name": "labels", "datatype": "BYTES", "shape": [classes]})
        inputs = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in engine.inputs]
        number = str(engine.version.number)
        content = {"name": self._service.name, "versions": [number], "platform": engine.name}
        return JsonResponse(content | {"inputs": inputs, "outputs": outputs})

    async def infer(self, request: Request) -> Response:
        engine = self._service.engine(request)
        body = await self._service.read(request)
        model = {"model_name": self._service.name, "model_version": str(engine.version.number)}
        asked = parse(body, request.headers.get(BINARY_HEADER), engine.inputs, self._service.limits, model)
        answers = await self._service.answer(request, engine, asked.instances)
        content = dict(model)
        if asked.id:
            content["id"] = asked.id
        return _reply(content, asked, _tensors(engine, answers, asked))


@dataclass(frozen=True)
class InferRequest:
    """What an infer request asks for.

    Attributes:
        instances: Each has one text for every input of the model.
        id: The client's name for the request; "" without one.
        outputs: Names of the tensors to give, each with whether as binary data; empty for all of them.
        binary: Whether tensors are given as binary data that `outputs` does not name.
    """

    instances: list[Instance]
    id: str
    outputs: dict[str, bool]
    binary: bool


def parse(
    body: bytes, header: str | None, inputs: Sequence[str], limits: Limits, model: Mapping[str, str]
) -> InferRequest:
    """Read the body of an infer request.

    Args:
        body: JSON, and the binary data of tensors after it.
        header: How many bytes of the body are JSON, as the header of the request says; None: all.
        inputs: Names of the model's inputs.
        limits: How large the request may be.
        model: `model_name` and `model_version` of the model that answers, which the body may repeat.

    Raises:
        UserError: It is something else, or beyond the limits; the message names the field.
    """
    length = len(body)
    if header is not None:
        if not (header.isascii() and header.isdigit() and len(header) < 19 and int(header) <= len(body)):
            raise UserError(f"The header Inference-Header-Content-Length must be at most {len(body)}, the body's size.")
        length = int(header)
    request = read_object(body[:length], FORM, ("inputs", "outputs", "parameters", "id", *model), limits)
    for field, value in model.items():  # KServe's client repeats those of the address
        if request.get(field) not in (None, "", value):
            raise UserError(f'"{field}" must be {value!r}, as the model has it that answers here; or leave it out.')
    name = request.get("id", "")
    if not isinstance(name, str):
        raise UserError('"id" must be a string.')
    binary = _parameters(request, "parameters").get("binary_data_output", False) is True
    columns = _read_tensors(request.get("inputs"), memoryview(body)[length:], inputs, limits)
    return InferRequest(join_columns(columns), name, _read_outputs(request.get("outputs", []), binary), binary)


def _read_tensors(tensors: Any, data: memoryview, inputs: Sequence[str], limits: Limits) -> dict[str, list[str]]:
    if not isinstance(tensors, list):
        raise UserError(f'"inputs" must be a list of tensors: {FORM}.')
    columns: dict[str, list[str]] = {}
    for index, tensor in enumerate(tensors):
        field = f"inputs[{index}]"
        if not isinstance(tensor, dict):
            raise UserError(f"{field} must be an object.")
        name = tensor.get("name")
        if not isinstance(name, str) or name not in inputs or name in columns:
            raise UserError(f"{field}.name must be one of {', '.join(inputs)}, each once.")
        if tensor.get("datatype") != "BYTES":
            raise UserError(f'{field}.datatype must be "BYTES".')
        size = _parameters(tensor, f"{field}.parameters").get("binary_data_size")
        if size is None:
            values = _flat(tensor.get("data"), field)
        elif isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= len(data):
            values, data = _split(data[:size], field, limits), data[size:]
        else:
            raise UserError(f"{field}.parameters.binary_data_size must be the number of bytes after the JSON.")
        check_count(len(values), f"{field}.data", limits)
        _check_shape(tensor.get("shape"), len(values), field)
        columns[name] = [check_text(value, f"{field}.data[{row}]", limits) for row, value in enumerate(values)]
    if missing := [name for name in inputs if name not in columns]:
        raise UserError(f'"inputs" has no tensor {missing[0]!r}: the model takes {", ".join(inputs)}.')
    if len(data):
        raise UserError(f"The body has {len(data)} bytes that belong to no tensor.")
    return {name: columns[name] for name in inputs}


def _flat(data: Any, field: str) -> list[Any]:
    """The elements of a tensor in row-major order; a tensor of strings may be given as a list of lists, too."""
    if not isinstance(data, list):
        raise UserError(f"{field}.data must be a list of strings.")
    if data and all(isinstance(row, list) for row in data):  # of the shape [texts, 1]
        data = [value for row in data for value in row]
    return data


def _split(data: memoryview, field: str, limits: Limits) -> list[str]:
    """Binary strings: each has 4 bytes in front, its length, the lowest byte first."""
    texts: list[str] = []
    while len(data):
        if len(texts) == limits.instances:
            raise UserError(f'"{field}.data" has more entries than {limits.instances}: send at most so many.')
        end = 4 + struct.unpack_from("<I", data)[0] if len(data) >= 4 else 4
        if end > len(data):
            raise UserError(f"{field}: the binary data ends within a string.")
        try:
            texts.append(str(data[4:end], "utf-8"))
        except UnicodeDecodeError:
            raise UserError(f"{field}.data[{len(texts)}] is not UTF-8.") from None
        data = data[end:]
    return texts


def _check_shape(shape: Any, values: int, field: str) -> None:
    sizes = shape if isinstance(shape, list) else []
    if not sizes or not all(isinstance(size, int) and not isinstance(size, bool) for size in sizes):
        raise UserError(f"{field}.shape must be a list of whole numbers.")
    if sizes not in ([values], [values, 1]):
        raise UserError(f"{field}.shape must be [{values}] or [{values}, 1], as there are {values} texts.")


def _read_outputs(outputs: Any, binary: bool) -> dict[str, bool]:
    if not isinstance(outputs, list):
        raise UserError('"outputs" must be a list of objects like {"name": "label"}.')
    names: dict[str, bool] = {}
    for index, output in enumerate(outputs):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in OUTPUTS:
            raise UserError(f"outputs[{index}].name must be one of {', '.join(OUTPUTS)}.")
        names[name] = _parameters(output, f"outputs[{index}].parameters").get("binary_data", binary) is True
    return names


def _parameters(holder: dict[str, Any], field: str) -> dict[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise UserError(f"{field} must be an object.")
    return parameters


def _tensors(engine: Engine, answers: Answers, asked: InferRequest) -> dict[str, tuple[str, Any]]:
    """Datatype and values of the tensors to give."""
    tensors = {
        "label": ("BYTES", answers.labels),
        "score": ("FP32", answers.scores),
        "probabilities": ("FP32", answers.probabilities),
    }
    if engine.labels:
        tensors["labels"] = ("BYTES", list(engine.labels))
    return {name: tensors[name] for name in asked.outputs or tensors if name in tensors}


def _reply(content: dict[str, Any], asked: InferRequest, tensors: dict[str, tuple[str, Any]]) -> Response:
    outputs, parts = [], []
    for name, (datatype, values) in tensors.items():
        shape = [len(values)] if isinstance(values, list) else list(values.shape)
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if asked.outputs.get(name, asked.binary):
            parts.append(_joined(values) if isinstance(values, list) else values.astype("<f4").tobytes())
            output["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            output["data"] = values if isinstance(values, list) else values.reshape(-1)
        outputs.append(output)
    reply = JsonResponse(content | {"outputs": outputs})
    if not parts:
        return reply
    length = {"Inference-Header-Content-Length": str(len(reply.body))}
    return Response(bytes(reply.body) + b"".join(parts), headers=length, media_type="application/octet-stream")


def _joined(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(data)) + data for data in (text.encode() for text in texts))
