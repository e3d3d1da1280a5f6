"""Fails where an interface changed so that pipelines break, and the version or the changelog does not say so.

    python scripts/check_interfaces.py [--released FILE] [--now FILE] [--changelog FILE]

Compares component_specs/interfaces.json with the one of the last release: that of the newest tag v1.2.3, and as long as
there is none, scripts/interfaces-0.1.0.json. A component, input or output that is gone or renamed, another type, and an
input that is now required need a new major version, and a line for each in its section of CHANGELOG.md.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOW = "component_specs/interfaces.json"
UNRELEASED = "scripts/interfaces-0.1.0.json"


def main() -> int:
    """Print what is missing; 1 where something is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--released", type=Path, help="the interfaces of the last release")
    parser.add_argument("--now", type=Path, default=ROOT / NOW, help="the interfaces to check")
    parser.add_argument("--changelog", type=Path, default=ROOT / "CHANGELOG.md")
    options = parser.parse_args()
    tag = "" if options.released else _last_tag()
    text = _git("show", f"{tag}:{NOW}") if tag else (options.released or ROOT / UNRELEASED).read_text()
    missing = list(problems(json.loads(text), json.loads(options.now.read_text()), options.changelog.read_text()))
    for one in missing:
        print(one)
    if missing and not tag and not options.released:
        print(f"As long as nothing is released, this is allowed too: cp {NOW} {UNRELEASED}")
    return int(bool(missing))


def problems(released: dict[str, Any], now: dict[str, Any], changelog: str) -> Iterator[str]:
    """What the version and the changelog don't say of the changes that break pipelines, a sentence each."""
    old, new = released["version"], now["version"]
    section = _section(changelog, new)
    for component, name, what in breaks(released["components"], now["components"]):
        if _major(new) <= _major(old):
            yield (
                f"{what} That breaks pipelines written for {old}: take it back, keep the old name or type beside the "
                f"new one, or make the next version {_major(old) + 1}.0.0 (__version__), and run `make generate`."
            )
        elif not any(f"`{component}`" in line and f"`{name or component}`" in line for line in section):
            both = f"`{component}` and `{name}`" if name else f"`{component}`"
            yield f"{what} Say so in a line of CHANGELOG.md under {new}, with {both} in it."


def breaks(released: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The changes that break a pipeline: component, input or output ("": all of it), and a sentence."""
    for component, old in released.items():
        if component not in now:
            yield component, "", f"{component} is gone."
            continue
        for kind, word in (("inputs", "input"), ("outputs", "output")):
            there = now[component][kind]
            for name, was in old[kind].items():
                if name not in there:
                    yield component, name, f"{component} has no {word} {name} any more (removed or renamed)."
                elif there[name]["type"] != was["type"]:
                    change = f"was {was['type']} and is {there[name]['type']}"
                    yield component, name, f"The {word} {name} of {component} {change}."
        for name, one in now[component]["inputs"].items():
            if one["required"] and not old["inputs"].get(name, {}).get("required"):
                yield component, name, f"The input {name} of {component} is required, and was not: give it a default."


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _section(changelog: str, version: str) -> list[str]:
    """The entries of a version, each on one line."""
    found = re.search(rf"^## {re.escape(version)}\b.*?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return [" ".join(one.split()) for one in re.split(r"^- ", found[1], flags=re.MULTILINE)] if found else []


def _last_tag() -> str:
    """The newest tag of a release that this commit has among its ancestors; "" where there is none."""
    tags = _git("tag", "--list", "v[0-9]*", "--sort=-version:refname", "--merged", "HEAD").split()
    return next((tag for tag in tags if re.fullmatch(r"v\d+\.\d+\.\d+", tag)), "")


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    sys.exit(main())
