"""A step that ends with an error of this package is explained by its sentence."""

from __future__ import annotations

import re
from pathlib import Path

import kfp_bert_components
from kfp_bert_components.local.failure import explain

PACKAGE = Path(kfp_bert_components.__file__).parent
CLASS = re.compile(r"^class (\w+)\((\w+)\):", re.MULTILINE)


def user_errors() -> dict[str, str]:
    """The full name of every class of the package that is a UserError, by its name."""
    bases, homes = {}, {}
    for path in PACKAGE.rglob("*.py"):
        module = ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts))
        for name, base in CLASS.findall(path.read_text(encoding="utf-8")):
            bases[name], homes[name] = base, f"{module}.{name}"
    found = {"UserError"}
    while more := {name for name, base in bases.items() if base in found} - found:
        found |= more
    return {name: homes[name] for name in found}


def test_every_error_for_the_user_is_explained_by_its_sentence():
    errors = user_errors()
    assert {"UserError", "DamagedError", "GoneError", "RolloutError", "LeaseLostError"} <= errors.keys()
    for name in errors.values():
        printed = ["loading", "Traceback (most recent call last):", '  File "x.py", line 1, in f', "    f()"]
        assert explain([*printed, f"{name}: The folder is another registry's.", "Ask its owner."]) == (
            "The folder is another registry's.\nAsk its owner."
        ), name
