"""The facts of a rollout, as its record has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp_bert_components.errors import DamagedError


class Facts(dict[str, Any]):
    """Plain values by name. To ask for one that is not there is to find that somebody damaged the record.

    Args:
        target: Name of the record.
        facts: The values.
    """

    def __init__(self, target: str, facts: Mapping[str, Any]) -> None:
        super().__init__(facts)
        self._target = target

    def __missing__(self, name: str) -> Any:
        raise DamagedError(
            f"The deployment record of {self._target} is damaged: its facts lack {name!r}; restore it from a backup."
        )
