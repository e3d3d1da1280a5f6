"""Kills and faults on each kind of store, side by side: runs the tests of them and prints a table in Markdown.

    python scripts/store_table.py [FILE ...]

A row is a test and a case of it, a column a kind of store. Where a test kills after each call in turn, the cell says
how often. SeaweedFS is there after `make peers`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

STORES = ("local", "gs", "s3", "seaweedfs")
FILES = (
    "tests/registry/test_faults.py",
    "tests/fetch/test_faults.py",
    "tests/fetch/test_kill.py",
    "tests/training/test_checkpoint_kills.py",
)


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "peers or not peers", f"--junit-xml={report}"]
        done = subprocess.run(
            [*command, *(sys.argv[1:] or FILES)], env={**os.environ, "KFP_BERT_STORES": "all"}, stdout=sys.stderr
        )
        cases = ElementTree.parse(report).iter("testcase")
        print(table(cases))
    return done.returncode


def table(cases: Iterable[ElementTree.Element]) -> str:
    """The cases of a report of pytest's as a table; tests that are for no kind of store are left out."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for one in cases:
        test, _, parameters = one.get("name").rstrip("]").partition("[")
        if found := re.search(rf"(?:^|-)({'|'.join(STORES)})(?=-|$)", parameters):
            case = (parameters[: found.start()] + parameters[found.end() :]).strip("-")
            rows.setdefault((test, case), {})[found[1]] = outcome(one)
    lines = ["| test | case | " + " | ".join(STORES) + " |", "|---" * (2 + len(STORES)) + "|"]
    for (test, case), cells in rows.items():
        words = test.removeprefix("test_").replace("_", " ")
        lines.append(f"| {words} | {case} | " + " | ".join(cells.get(store, "-") for store in STORES) + " |")
    return "\n".join(lines)


def outcome(case: ElementTree.Element) -> str:
    """How a test ended, with what it noted."""
    for kind, word in (("failure", "FAILED"), ("error", "FAILED"), ("skipped", "skipped")):
        if case.find(kind) is not None:
            return word
    notes = [f"{one.get('name')} {one.get('value')}" for one in case.iter("property")]
    return "; ".join(["right", *notes])


if __name__ == "__main__":
    sys.exit(main())
