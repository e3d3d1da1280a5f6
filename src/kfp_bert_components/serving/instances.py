"""Reads and checks the body of a predict request."""

import json
from dataclasses import dataclass
from typing import Any

from kfp_bert_components.errors import UserError


@dataclass(frozen=True)
class Limits:
    """How large one request may be.

    Attributes:
        instances: Most instances in one request.
        characters: Most characters in one text.
        body_bytes: Most bytes in the body of a request.
    """

    instances: int = 1024
    characters: int = 100_000
    body_bytes: int = 16 * 1024 * 1024


def parse(body: bytes, inputs: tuple[str, ...], limits: Limits) -> list[dict[str, str]]:
    """Read the body of a request.

    Args:
        body: JSON such as {"instances": ["text", {"text": "text"}]}.
        inputs: Names of the texts in an instance.
        limits: How large the request may be; `body_bytes` is not looked at here.

    Returns:
        The instances, each a dict with one text for every name in `inputs`.

    Raises:
        UserError: The body is no JSON object with a list `instances` of strings or objects within the limits.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError(f"The body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise UserError('The body must be an object like {"instances": ["text"]}.')
    unknown = sorted(set(request) - {"instances", "signature_name", "parameters"})
    if unknown:
        raise UserError(f'The body has an unknown field {unknown[0]!r}: it takes "instances".')
    if request.get("signature_name", "serving_default") != "serving_default":
        raise UserError('The only signature is "serving_default": leave "signature_name" out.')
    if "instances" not in request:
        raise UserError('The body has no "instances": send {"instances": ["text", ...]}.')
    instances = request["instances"]
    if not isinstance(instances, list) or not instances:
        raise UserError('"instances" must be a list with at least one text.')
    if len(instances) > limits.instances:
        raise UserError(f'"instances" has {len(instances)} entries: send at most {limits.instances}.')
    return [_instance(index, item, inputs, limits) for index, item in enumerate(instances)]


def _instance(index: int, item: Any, inputs: tuple[str, ...], limits: Limits) -> dict[str, str]:
    if isinstance(item, str) and inputs == ("text",):
        item = {"text": item}
    if not isinstance(item, dict):
        wanted = ", ".join(f'"{name}": "..."' for name in inputs)
        plain = "a string or " if inputs == ("text",) else ""
        raise UserError(f"instances[{index}] must be {plain}an object {{{wanted}}}.")
    if set(item) != set(inputs):
        raise UserError(f"instances[{index}] must have exactly the fields {', '.join(inputs)}.")
    for name in inputs:
        text = item[name]
        if not isinstance(text, str):
            raise UserError(f"instances[{index}].{name} must be a string.")
        if len(text) > limits.characters:
            raise UserError(f"instances[{index}].{name} has {len(text)} characters: send at most {limits.characters}.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"instances[{index}].{name} holds half of a surrogate pair: send whole characters."
            ) from None
    return item
