"""Settings that are checked by their types, with errors in one plain sentence."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from difflib import get_close_matches
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from kfp_bert_components.errors import UserError

Settings = TypeVar("Settings")
_CONFIG = ConfigDict(allow_inf_nan=False, extra="forbid")
_MOST = 2**31 - 1  # the APIs take no larger number: they would say so after the work had begun
# A number of machines or the like.
Count = Annotated[int, Field(ge=0, le=_MOST)]
CountFrom1 = Annotated[int, Field(ge=1, le=_MOST)]
# The longest time that a job may run: an API takes 10,000 years at most.
JobHours = Annotated[float, Field(gt=0, le=87_660_000)]


@dataclass_transform(frozen_default=True, field_specifiers=(field, Field))
def checked_dataclass(kind: type[Settings]) -> type[Settings]:
    """Make a class a frozen dataclass whose values pydantic checks when an object is made.

    Limits are part of the types: `Annotated[int, Field(ge=1, le=100)]`, `Annotated[str, one_of("head", "tail")]`. NaN,
    infinity and unknown names are refused. Rules between several values belong in `__post_init__`, which runs
    afterwards. `dataclasses.replace` and `dataclasses.asdict` work as with any dataclass.

    Raises:
        UserError: When an object is made of a value that is not allowed: names it and says what is.
    """
    checked: Any = dataclass(kind, frozen=True, config=_CONFIG)
    plain_init = checked.__init__

    @wraps(plain_init)
    def init(self: Any, *args: Any, **values: Any) -> None:
        try:
            plain_init(self, *args, **values)
        except ValidationError as error:
            raise UserError(sentence(error)) from None

    checked.__init__ = init
    return checked


def one_of(*allowed: str) -> AfterValidator:
    """The rule that a text is one of these, for `Annotated[str, ...]`."""

    def check(value: str) -> str:
        if value not in allowed:
            raise PydanticCustomError("one_of", f"must be one of {', '.join(map(repr, allowed))}")
        return value

    return AfterValidator(check)


def with_further(further: Mapping[str, Any], /, **known: Any) -> dict[str, Any]:
    """The parameters of a step by name, with the values of its dictionary of further ones: what that names wins.

    Args:
        further: The dictionary.
        **known: Every parameter that it can name, with the value that the step was given.

    Raises:
        UserError: It names something else.
    """
    for name in further:
        if name not in known:
            raise UserError(
                f"The further settings name {name!r}, which is no parameter of this step; {did_you_mean(name, known)}"
            )
    return {**known, **further}


def types_of(kind: type) -> dict[str, Any]:
    """The types of a checked dataclass's attributes by name, with their limits."""
    known = kind.__pydantic_fields__  # type: ignore[attr-defined]
    return {
        name: Annotated[one.annotation, *one.metadata] if one.metadata else one.annotation
        for name, one in known.items()
    }


def check_values(types: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Check values by their types, each for itself: rules between several values are not known here.

    Args:
        types: The types by name, as `types_of` gives them.
        values: Values of some of these names.

    Raises:
        UserError: A value is not allowed.
    """
    fields: dict[str, Any] = {name: (types[name], ...) for name in values}
    try:
        create_model("Values", __config__=_CONFIG, **fields).model_validate(dict(values))
    except ValidationError as error:
        raise UserError(sentence(error)) from None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known: the nearest of those that are, or all of them."""
    names = list(known)
    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}."


def _integer(value: Any) -> Any:
    if isinstance(value, bool | float):  # true and 1.0 are equal to 1
        raise PydanticCustomError("format", "should be 1")
    return value


# The format number of a settings file.
Format1 = Annotated[Literal[1], BeforeValidator(_integer)]


class SettingsMap(BaseModel):
    """A mapping in a settings file, as a model of pydantic. A key without a value counts as absent.

    `sentence` tells of an unknown key, wherever it stands, with the nearest one that is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if isinstance(values, cls):
            return values
        if not isinstance(values, dict):
            raise PydanticCustomError("mapping", "must be a mapping of names to values")
        for key in values:
            if key not in cls.model_fields:
                hint = did_you_mean(str(key), cls.model_fields)
                raise PydanticCustomError("unknown_key", "{key} is not known; {hint}", {"key": key, "hint": hint})
        return {key: value for key, value in values.items() if value is not None}


def sentence(error: ValidationError) -> str:
    """The first of pydantic's errors, as "epochs is -1, but it should be greater than or equal to 0."."""
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "unknown_key":
        return f"{name}.{first['msg']}".lstrip(".")
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{name} is not known: leave it out."
    if first["type"] == "missing":
        return f"{name} is missing: give it."
    return f"{name} is {first['input']!r}, but it {first['msg'].removeprefix('Input ')}."


def load_yaml(text: str) -> Any:
    """The values of a YAML document; {} for an empty one.

    Numbers mean what they look like: 1e-3 is one, and 1:30 and 010 are refused, as is a key that is there twice.

    Raises:
        UserError: It is no YAML. The message is the rest of a sentence that begins with the name of the file.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if str(key.value) in seen:
                    raise UserError(
                        f" has {key.value!r} twice, in line {key.start_mark.line + 1} again: leave one out."
                    )
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

        def construct_scalar(self, node: yaml.ScalarNode) -> Any:
            if ":" in node.value and node.tag.endswith((":int", ":float")):  # YAML 1.1 counts 1:30 as 90
                place = f"line {node.start_mark.line + 1}"
                raise UserError(f" has {node.value!r} in {place}, which is no plain number: write one such as 0.05.")
            if node.tag.endswith(":int") and re.match(r"[-+]?0[\d_]", node.value):  # YAML 1.1 counts 010 as 8
                place = f"line {node.start_mark.line + 1}"
                raise UserError(f" has {node.value!r} in {place}: write the number without a 0 at its start.")
            if node.tag.endswith(":int") and len(node.value) > 100:  # Python would not even write it in an error
                place = f"line {node.start_mark.line + 1}"
                raise UserError(f" has a number of {len(node.value):,} digits in {place}: give a shorter one.")
            return super().construct_scalar(node)

    # YAML 1.1, which PyYAML reads, takes 1e-3 for a text.
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )

    try:
        values = yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        tab = "; indent with spaces, not with tabs" if "\t" in text else ""
        raise UserError(f" is no YAML: {line}{error.problem}{tab}.") from None
    except yaml.YAMLError as error:
        raise UserError(f" is no YAML: {str(error).splitlines()[0]}.") from None
    except RecursionError:
        raise UserError(" has too many brackets or levels inside one another to be read.") from None
    except ValueError as error:  # PyYAML leaves it as it is, as that of the date 2024-13-01
        raise UserError(f" has a value that cannot be read: {error}.") from None
    except (AttributeError, LookupError):  # and these, as those of !!bool maybe
        raise UserError(" has a value that is not what its tag says, such as !!bool: leave the tag out.") from None
    return {} if values is None else values
