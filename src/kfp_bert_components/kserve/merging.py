"""What others changed in an object during a rollout: found, and kept on the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kfp_bert_components.kserve.objects import has
from kfp_bert_components.kubernetes_api import is_same_quantity

_GONE: Any = object()  # in place of the value of a field that is not there


def touched(before: Any, now: Any, ours: Sequence[Any], path: str = "") -> list[str]:
    """The fields that others changed, of those that are to be written; a list is one field.

    Args:
        before: A value as it was.
        now: As it is.
        ours: As it is to be, and as an earlier call wrote it: these values are no change by others.
        path: Of the field.
    """
    if now is before or now == before:
        return []
    if all(isinstance(one, dict) for one in ours) and isinstance(now, dict):
        known = before if isinstance(before, dict) else {}
        return [
            field
            for key in ours[0]
            for field in touched(
                known.get(key, _GONE),
                now.get(key, _GONE),
                [one.get(key, _GONE) for one in ours],
                f"{path}.{key}" if path else key,
            )
        ]
    return [] if any(_is_still(now, one) for one in ours) else [path]


def put_back(before: Any, wrote: Any, now: Any) -> Any:
    """A value with what we wrote taken back, and what others changed since as it is.

    Args:
        before: As it was before we wrote.
        wrote: What we wrote of it.
        now: As it is. What is gone comes back only where we wrote it.
    """
    if now is _GONE:
        return _GONE if wrote is _GONE else before
    if isinstance(now, dict):
        return _put_back_fields(before, wrote, now)
    if all(_is_named(one) for one in (before, wrote, now)):
        was, ours, there = (_by_name(one) for one in (before, wrote, now))
        # A list is written whole, so what is gone of one that we wrote may have gone with that.
        fields = _put_back_fields(was, ours if wrote is _GONE else over(was, ours), there)
        return [{"name": name, **entry} for name, entry in fields.items()] if fields or before is not _GONE else _GONE
    if wrote is _GONE:
        return now
    return before if _is_still(now, wrote) else now


def over(old: Any, new: Any) -> Any:
    """A value with another one over it, field by field."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: over(old.get(key), value) for key, value in new.items()}}


def owned(value: Any, fields: dict[str, Any]) -> Any:
    """What of a value a manager has set, by the `fieldsV1` of its entry in `metadata.managedFields`."""
    if not isinstance(value, dict) or not any(name.startswith("f:") for name in fields):
        return value
    return {key: owned(one, fields[f"f:{key}"]) for key, one in value.items() if f"f:{key}" in fields}


def _put_back_fields(before: Any, wrote: Any, now: dict[str, Any]) -> Any:
    was, ours = (one if isinstance(one, dict) else {} for one in (before, wrote))
    result = {}
    for key in dict.fromkeys([*was, *now]):
        value = put_back(was.get(key, _GONE), ours.get(key, _GONE), now.get(key, _GONE))
        if value is not _GONE:
            result[key] = value
    # An object that came with us goes with us.
    return result if result or before is not _GONE or wrote is _GONE else _GONE


def _is_still(now: Any, wrote: Any) -> bool:
    return has(now, wrote) or is_same_quantity(now, wrote)


def _is_named(one: Any) -> bool:
    """Whether a value is a list, such as of containers, whose entries have names of their own."""
    if one is _GONE:
        return True
    if not isinstance(one, list):
        return False
    names = [each.get("name") if isinstance(each, dict) else None for each in one]
    return None not in names and len(set(names)) == len(names)


def _by_name(entries: Any) -> dict[str, Any]:
    return {} if entries is _GONE else {one["name"]: one for one in entries}
