"""The arguments of a compiled pipeline, read from texts of the form name=value."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from shlex import quote
from typing import Any

from kfp_bert_components.errors import UserError

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


_KINDS: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (float, int),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


def parse_arguments(
    spec: dict[str, Any], texts: Iterable[str], values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The arguments of a pipeline, converted to the types of its parameters.

    Args:
        spec: A compiled pipeline, as read from its YAML.
        texts: One `name=value` for each argument. Lists and dictionaries are JSON; for a list of one text, the text
            itself is enough if it does not begin with "[".
        values: Further arguments by name, in the types of their parameters, as read from YAML; `texts` win.

    Returns:
        Values by parameter name. A parameter that was not given is absent, and has its default.

    Raises:
        UserError: A parameter is unknown, given twice, or required and missing, or a value is not of the parameter's
            type; a JSON object has a key twice, at any depth; or the pipeline needs an artifact.
    """
    inputs = spec.get("root", {}).get("inputDefinitions", {})
    _refuse_artifacts(inputs.get("artifacts", {}))
    parameters = inputs.get("parameters", {})
    arguments = {name: _checked(name, _kind(name, parameters, value), value) for name, value in (values or {}).items()}
    seen = set[str]()
    for given in texts:
        name, equals, text = given.partition("=")
        if not equals:
            raise UserError(f"--param {given!r} is not of the form name=value.")
        if name in seen:
            raise UserError(f"--param {name} is given twice: leave one out{_as_list(name, parameters)}.")
        seen.add(name)
        arguments[name] = _value(name, _kind(name, parameters, text), text)
    for name, value in arguments.items():
        _check_text(name, parameters[name]["parameterType"], value)
    missing = [name for name, p in parameters.items() if not p.get("isOptional") and name not in arguments]
    if missing:
        raise UserError(f"The pipeline needs --param for {', '.join(missing)}.")
    return arguments


def _refuse_artifacts(artifacts: dict[str, Any]) -> None:
    needed = [name for name, artifact in artifacts.items() if not artifact.get("isOptional")]
    if needed:
        raise UserError(
            f"A run cannot be given the artifact {', '.join(needed)}: write a pipeline in which a step or dsl.importer "
            "makes it, and run that."
        )


def _kind(name: str, parameters: Mapping[str, Any], value: Any) -> str:
    if name not in parameters:
        raise UserError(f"The pipeline has no parameter {name!r}; {_instead(name, parameters, value)}")
    return parameters[name]["parameterType"]


def _as_list(name: str, parameters: Mapping[str, Any]) -> str:
    """How several values are given to a parameter that is a list."""
    if parameters.get(name, {}).get("parameterType") != "LIST":
        return ""
    return f""", or give all values as one JSON list: -p {name}='["first", "second"]'"""


def _instead(name: str, parameters: Mapping[str, Any], value: Any) -> str:
    """The end of a sentence about a parameter that the pipeline does not have: where the value belongs."""
    further = _further(parameters)
    near = name if name in further else next(iter(get_close_matches(name, [*parameters, *further], 1)), "")
    if near not in further:
        known = ", ".join(sorted(parameters)) or "none"
        return f"did you mean {near!r}?" if near else f"it has {known}."
    with suppress(ValueError, TypeError):
        value = json.loads(value)
    given = f"{near}: {value}" if further[near] == "policy" else json.dumps({near: value}, ensure_ascii=False)
    return f"give {near} in {further[near]}: {further[near]}={quote(given)}"


def _further(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The settings that a ready pipeline takes in a parameter that holds several, with the name of that parameter."""
    from kfp_bert_components.gate import Policy
    from kfp_bert_components.steps.check_settings import settings_of_preparing, settings_of_training

    if not {"prepare", "training"} <= parameters.keys():
        return {}
    known = {"policy": Policy().as_dict(), "training": settings_of_training(), "prepare": settings_of_preparing()}
    homes = {home: names for home, names in known.items() if home in parameters}
    return {name: home for home, names in homes.items() for name in names if name not in parameters}


def _checked(name: str, kind: str, value: Any) -> Any:
    """A value that was read from YAML, if it is of the parameter's type."""
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise _wrong(name, kind, str(value))
    return float(value) if isinstance(value, int) and kind == "NUMBER_DOUBLE" else value


def _value(name: str, kind: str, text: str) -> Any:
    if kind == "STRING":
        return text
    try:
        if kind == "NUMBER_INTEGER":
            return int(text)
        if kind == "NUMBER_DOUBLE":
            return float(text)
        if kind == "BOOLEAN":
            return _BOOLEANS[text.lower()]
        return _json(name, kind, text)
    except (ValueError, KeyError):
        raise _wrong(name, kind, text) from None


def _check_text(name: str, kind: str, value: Any) -> None:
    """Refuse a value that JSON can't hold, such as NaN or a date of YAML, and one that would not arrive as it is."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        raise _wrong(name, kind, str(value)) from None
    if "{{$" in text:
        raise UserError(f"Parameter {name!r} holds '{{{{$': Kubeflow Pipelines would put something else in its place.")


def _wrong(name: str, kind: str, text: str) -> UserError:
    expected = {
        "STRING": "a text (put it in quotes)",
        "NUMBER_INTEGER": "an integer",
        "NUMBER_DOUBLE": "a finite number",
        "BOOLEAN": "true or false",
        "LIST": f"a JSON list, such as {json.dumps([text], ensure_ascii=False)}",
        "STRUCT": "a JSON object of texts, finite numbers, true, false, null, lists and objects",
    }.get(kind, kind)
    return UserError(f"Parameter {name!r} must be {expected}, not {text!r}.")


def _json(name: str, kind: str, text: str) -> Any:
    if kind == "LIST" and not text.lstrip().startswith("["):
        return [text]
    value = json.loads(text, object_pairs_hook=lambda pairs: _object(name, pairs))
    if not isinstance(value, list if kind == "LIST" else dict):
        raise ValueError(text)
    return value


def _object(name: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"Parameter {name!r} has the key {twice!r} twice in one object: leave one out.")
    return found
