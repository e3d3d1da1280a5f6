"""Records on disk: JSON objects that carry the number of their format.

Writing is always the newest format. Reading knows every format that was ever released: a record type lists one reader
for each, and an old reader stays for good.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from kfp_bert_components.errors import DamagedError, UserError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Record = TypeVar("Record")
# Halves of surrogate pairs: what Python makes of bytes that are not UTF-8, in a reason, a user's name or a path.
_HALVES = re.compile("[\ud800-\udfff]")


def dump_record(fields: Mapping[str, Any], format_number: int = 1) -> str:
    """The JSON text of a record, ending with a newline. What is no valid Unicode becomes an escape, as in `plain`.

    Args:
        fields: Plain values; NaN and infinity are refused with a ValueError.
        format_number: The newest format of this kind of record.
    """
    record = {"format": format_number, **fields}
    return _valid(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def load_record(
    data: str | bytes, place: str, readers: Mapping[int, Callable[[dict[str, Any]], Record]], remedy: str
) -> Record:
    """Read a record of any known format.

    Args:
        data: What the file holds.
        place: The file's path or address, for errors.
        readers: For each format number the function that makes the result of the fields (`format` is not among them).
        remedy: What to do about a damaged record, as the end of a sentence: "run prepare_text_data again".

    Raises:
        DamagedError: It is no JSON object, or lacks a field.
        UserError: It is of a format that this version does not know.
    """
    try:
        found = json.loads(_valid(json.dumps(json.loads(data), ensure_ascii=False)))
        number = found.pop("format", None)
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise DamagedError(f"{place} is damaged: it is no JSON object; {remedy}.") from None
    if isinstance(number, bool) or not isinstance(number, int) or number not in readers:
        known = " and ".join(str(one) for one in sorted(readers))
        newer = isinstance(number, int) and number > max(readers)
        advice = "update kfp-bert-components" if newer else remedy
        error = UserError if newer else DamagedError
        raise error(f"{place} has format {number!r}, and this version reads {known}: {advice}.")
    try:
        return readers[number](found)
    except KeyError as error:
        raise DamagedError(f"{place} is damaged: lacks {', '.join(map(repr, error.args))}; {remedy}.") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise DamagedError(f"{place} is damaged: its fields are not as expected ({error}); {remedy}.") from error


def _valid(text: str) -> str:
    """JSON whose texts are valid Unicode: records of older versions have others too."""
    return _HALVES.sub(lambda half: f"\\\\u{ord(half[0]):x}", text)


def require(found: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise a KeyError with the names of all fields that a record lacks."""
    if lacking := [name for name in names if name not in found]:
        raise KeyError(*lacking)


def build(kind: type[Record], found: Mapping[str, Any]) -> Record:
    """A dataclass of the fields of a record.

    Raises:
        KeyError: Fields without a default are lacking; its arguments are their names.
        TypeError: There are fields that the dataclass does not have.
        ValueError: A value is not of its field's type.
    """
    must = [one for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]  # type: ignore[arg-type]
    require(found, [one.name for one in must])
    hints = get_type_hints(kind)
    check_types(found, {name: hints[name] for name in found.keys() & hints.keys()})
    return kind(**found)


def check_types(found: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Raise a ValueError that names the first value of a record that is not of its kind.

    Args:
        found: The fields of the record, or of a part of it.
        kinds: Types by name; a field that is not there is passed over.
    """
    from pydantic import ValidationError

    for name in sorted(found.keys() & kinds.keys()):
        try:
            _adapter(kinds[name]).validate_json(json.dumps(found[name], allow_nan=False), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if first["type"] == "missing":
                *place, lacking = first["loc"]
                raise ValueError(f"{' '.join(map(str, (name, *place)))} lacks {lacking!r}") from None
            wanted = first["msg"].removeprefix("Input ")
            raise ValueError(f"{name} is {json.dumps(found[name])[:60]}, but it {wanted}") from None


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
