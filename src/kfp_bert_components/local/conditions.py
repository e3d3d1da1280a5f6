"""The conditions of a compiled pipeline: read and decided."""

import operator
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kfp_bert_components.errors import UserError

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CAST: dict[str, Callable[[Any], Any]] = {"int": int, "double": float}
_CONSTANTS = {"true": True, "false": False}

_INPUT = r"inputs\.parameter_values\['[^']+'\]"
_VALUE = rf"(?:{_INPUT}|'[^'\\\n]*'|true|false|-?\d[\d.e+-]*)"
_OPERAND = rf"(?:{_VALUE}|(?:int|double)\({_VALUE}\)|double\(int\({_VALUE}\)\))"
# KFP's compiler writes comparisons, those of earlier branches negated, joined by &&.
_COMPARISON = re.compile(rf"(!\()?({_OPERAND}) (==|!=|<=|>=|<|>) ({_OPERAND})(?(1)\))(?: && |$)")


@dataclass(frozen=True)
class _Comparison:
    left: str
    operator: str
    right: str
    negated: bool

    def holds(self, inputs: dict[str, Any]) -> bool:
        return _COMPARE[self.operator](_value(self.left, inputs), _value(self.right, inputs)) != self.negated


@dataclass(frozen=True)
class Condition:
    """The condition of an If, Elif or Else, as KFP's compiler writes it."""

    text: str
    comparisons: tuple[_Comparison, ...]

    @property
    def inputs(self) -> set[str]:
        """Names of the inputs that it compares."""
        return {_name(found) for found in re.findall(_INPUT, self.text)}

    def holds(self, inputs: dict[str, Any]) -> bool:
        """Whether it is true with these inputs.

        Raises:
            UserError: The values cannot be compared.
        """
        try:
            return all(comparison.holds(inputs) for comparison in self.comparisons)
        except (TypeError, ValueError) as error:
            raise UserError(f"The condition {self} cannot be decided: {self.describe(inputs)}; {error}.") from None

    def describe(self, inputs: dict[str, Any]) -> str:
        """The values that it compares, such as "split-ok is False"; long texts are shortened."""
        return ", ".join(f"{_readable(name)} is {reprlib.repr(inputs[name])}" for name in sorted(self.inputs))

    def __str__(self) -> str:
        return re.sub(_INPUT, lambda found: _readable(_name(found[0])), self.text)


def read_condition(text: str) -> Condition:
    """Read the text of a condition.

    Raises:
        UserError: KFP's compiler has not written it in a way that can be read, on a cluster neither: it does not escape
            a quote, and puts quotes around an input that is compared with a text.
    """
    comparisons, start = [], 0
    while start < len(text):
        match = _COMPARISON.match(text, start)
        if not match:
            raise UserError(
                f"The condition {text!r} cannot be decided. A condition may compare values of one type: parameters, "
                "numbers, True, False, and texts without a quote, backslash or line break. Compare others in a step "
                "that returns a bool, and use that in dsl.If."
            )
        comparisons.append(_Comparison(match[2], match[3], match[4], negated=bool(match[1])))
        start = match.end()
    return Condition(text, tuple(comparisons))


def _value(operand: str, inputs: dict[str, Any]) -> Any:
    cast, bracket, rest = operand.partition("(")
    if bracket and cast in _CAST:
        return _CAST[cast](_value(rest.removesuffix(")"), inputs))
    if re.fullmatch(_INPUT, operand):
        return inputs[_name(operand)]
    if operand.startswith("'"):
        return operand.strip("'")
    return _CONSTANTS[operand] if operand in _CONSTANTS else float(operand)


def _name(reference: str) -> str:
    return reference.split("'")[1]


def _readable(name: str) -> str:
    return name.removeprefix("pipelinechannel--")
