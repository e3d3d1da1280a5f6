"""Reads JSON bodies, and checks the texts in them."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from kfp_bert_components.errors import UserError
from kfp_bert_components.serving.engines import Instance
from kfp_bert_components.serving.limits import Limits

SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Asked:
    """What a predict request asks for.

    Attributes:
        instances: Each has one text for every input of the model.
        columns: Whether they came as columns, so that the answer has to be one of columns.
    """

    instances: list[Instance]
    columns: bool


def parse(body: bytes, inputs: Sequence[str], limits: Limits) -> Asked:
    """Read the body of a predict request of TensorFlow Serving or AI Platform.

    Args:
        body: JSON such as {"instances": ["text", {"text": "text"}]} or {"inputs": {"text": ["text", "text"]}}.
        inputs: Names of the texts in an instance.
        limits: How large the request may be; `body_bytes` is not looked at here.

    Raises:
        UserError: It is something else, or beyond the limits; the message names the field.
    """
    fields = ("instances", "inputs", "signature_name", "parameters")
    request = read_object(body, '{"instances": ["text"]}', fields, limits)
    check_signature(request)
    if ("instances" in request) == ("inputs" in request):
        raise UserError('The body must have either "instances" or "inputs": send {"instances": ["text", ...]}.')
    if "inputs" in request:
        return Asked(_from_columns(request["inputs"], inputs, limits), columns=True)
    return Asked(_from_rows(request["instances"], "instances", inputs, limits), columns=False)


def parse_examples(body: bytes, inputs: Sequence[str], limits: Limits) -> list[Instance]:
    """Read the body of a classify request of TensorFlow Serving, such as {"examples": [{"text": "text"}]}.

    Raises:
        UserError: As `parse`.
    """
    request = read_object(body, '{"examples": [{"text": "..."}]}', ("examples", "context", "signature_name"), limits)
    check_signature(request)
    if "examples" not in request:
        raise UserError('The body has no "examples": send {"examples": [{"text": "..."}, ...]}.')
    context = request.get("context", {})
    if not isinstance(context, dict):
        raise UserError('"context" must be an object: what all examples have in common.')
    if unknown := sorted(set(context) - set(inputs)):
        raise UserError(f'"context" has an unknown field {unknown[0][:100]!r}: it takes {", ".join(inputs)}.')
    examples = request["examples"]
    if context and isinstance(examples, list):
        examples = [context | example if isinstance(example, dict) else example for example in examples]
    return _from_rows(examples, "examples", inputs, limits)


def read_object(body: bytes, form: str, known: Sequence[str], limits: Limits) -> dict[str, Any]:
    """Read a JSON object with no other fields than the known ones.

    Raises:
        UserError: It is something else; the message shows the `form` that is expected. Or it has more values than any
            request within the limits.
    """
    _check_values(body, limits)
    try:
        request = orjson.loads(body)
    except ValueError as error:
        raise UserError(f"The body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise UserError(f"The body must be an object like {form}.")
    if unknown := sorted(set(request) - set(known)):
        takes = ", ".join(f'"{name}"' for name in known)
        raise UserError(f"The body has an unknown field {unknown[0][:100]!r}: it takes {takes}.")
    return request


def _check_values(body: bytes, limits: Limits) -> None:
    """Count the values before they are read, as millions of empty lists take seconds and hundreds of MB; UserError."""
    if _marks(body) <= limits.values:
        return
    pieces = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"', 4 * limits.values)
    if len(pieces) > 4 * limits.values or sum(_marks(outside) for outside in pieces[::2]) > limits.values:
        raise UserError(f"The body has more than {limits.values} values: send at most {limits.instances} texts.")


def _marks(text: bytes) -> int:
    """How often a value may begin in JSON: there are no more values than this and one."""
    return len(text) - len(text.translate(None, b",:[{"))


def check_signature(request: Mapping[str, Any]) -> None:
    """Refuse any other signature than the one that the model has; UserError."""
    if request.get("signature_name", SIGNATURE) not in (SIGNATURE, ""):
        raise UserError(f'The only signature is "{SIGNATURE}": leave "signature_name" out.')


def check_count(count: int, field: str, limits: Limits) -> None:
    """Refuse none and too many instances; UserError."""
    if not count:
        raise UserError(f'"{field}" must be a list with at least one text.')
    if count > limits.instances:
        raise UserError(f'"{field}" has {count} entries: send at most {limits.instances}.')


def check_text(value: Any, field: str, limits: Limits) -> str:
    """A text of a request: a string, or an object {"b64": "..."} with the base64 of its UTF-8.

    Raises:
        UserError: It is something else, or too long.
    """
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            value = base64.b64decode(value["b64"], validate=True).decode()
        except (binascii.Error, ValueError):
            raise UserError(f"{field}.b64 must be the base64 of a text in UTF-8.") from None
    if not isinstance(value, str):
        raise UserError(f"{field} must be a string.")
    if len(value) > limits.characters:
        raise UserError(f"{field} has {len(value)} characters: send at most {limits.characters}.")
    return value


def _from_rows(rows: Any, field: str, inputs: Sequence[str], limits: Limits) -> list[Instance]:
    if not isinstance(rows, list):
        raise UserError(f'"{field}" must be a list with at least one text.')
    check_count(len(rows), field, limits)
    return [_instance(row, f"{field}[{index}]", inputs, limits) for index, row in enumerate(rows)]


def _instance(row: Any, field: str, inputs: Sequence[str], limits: Limits) -> Instance:
    if len(inputs) == 1 and (isinstance(row, str) or (isinstance(row, dict) and set(row) == {"b64"})):
        return {inputs[0]: check_text(row, field, limits)}
    if not isinstance(row, dict):
        wanted = ", ".join(f'"{name}": "..."' for name in inputs)
        plain = "a string or " if len(inputs) == 1 else ""
        raise UserError(f"{field} must be {plain}an object {{{wanted}}}.")
    if set(row) != set(inputs):
        raise UserError(f"{field} must have exactly the fields {', '.join(inputs)}.")
    return {name: check_text(row[name], f"{field}.{name}", limits) for name in inputs}


def _from_columns(columns: Any, inputs: Sequence[str], limits: Limits) -> list[Instance]:
    if isinstance(columns, list) and len(inputs) == 1:
        columns = {inputs[0]: columns}
    if not isinstance(columns, dict) or set(columns) != set(inputs):
        wanted = ", ".join(f'"{name}": ["...", ...]' for name in inputs)
        raise UserError(f'"inputs" must be an object {{{wanted}}}.')
    for name in inputs:
        if not isinstance(columns[name], list):
            raise UserError(f"inputs.{name} must be a list of strings.")
        check_count(len(columns[name]), f"inputs.{name}", limits)
    return join_columns(
        {
            name: [check_text(value, f"inputs.{name}[{row}]", limits) for row, value in enumerate(columns[name])]
            for name in inputs
        }
    )


def join_columns(columns: Mapping[str, Sequence[str]]) -> list[Instance]:
    """Instances from their texts by input; UserError where two inputs have different numbers of texts."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        said = " and ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UserError(f"All inputs must have the same number of texts: {said}.")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
