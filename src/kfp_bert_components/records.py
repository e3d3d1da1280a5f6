"""Records on disk: JSON objects that carry the number of their format.

Writing is always the newest format. Reading knows every format that was ever released: a record type lists one reader
for each, and an old reader stays for good.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kfp_bert_components.errors import UserError

Record = TypeVar("Record")


def dump_record(fields: Mapping[str, Any], format_number: int = 1) -> str:
    """The JSON text of a record, ending with a newline.

    Args:
        fields: Plain values; NaN and infinity are refused with a ValueError.
        format_number: The newest format of this kind of record.
    """
    record = {"format": format_number, **fields}
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


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
        UserError: It is no JSON object, lacks a field, or is of a format that this version does not know.
    """
    try:
        fields = json.loads(data)
        number = fields.pop("format", None)
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise UserError(f"{place} is damaged: it is no JSON object; {remedy}.") from None
    if isinstance(number, bool) or not isinstance(number, int) or number not in readers:
        known = " and ".join(str(one) for one in sorted(readers))
        newer = isinstance(number, int) and number > max(readers)
        advice = "update kfp-bert-components" if newer else remedy
        raise UserError(f"{place} has format {number!r}, and this version reads {known}: {advice}.")
    try:
        return readers[number](fields)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{place} is damaged: its fields are not as expected ({error}); {remedy}.") from error
