"""Settings that are checked by their types, with errors in one plain sentence."""

from collections.abc import Mapping
from dataclasses import field
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar, dataclass_transform

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from kfp_bert_components.errors import UserError

Settings = TypeVar("Settings")
_CONFIG = ConfigDict(allow_inf_nan=False, extra="forbid")


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
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
            raise UserError(f"The further settings name {name!r}, which is no parameter of this step; {hint}")
    return {**known, **further}


def sentence(error: ValidationError) -> str:
    """The first of pydantic's errors, as "epochs is -1, but it should be greater than or equal to 0."."""
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{name} is not known: leave it out."
    return f"{name} is {first['input']!r}, but it {first['msg'].removeprefix('Input ')}."
