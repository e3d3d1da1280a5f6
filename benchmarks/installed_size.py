"""The size of requirements and of all that they need, as they are installed: run with the environment's Python.

Arguments: requirements, such as "kfp-bert-components[serve]", and folders that count as well. Prints bytes.
"""

import sys
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

from packaging.requirements import Requirement


def installed(requirements: list[str]) -> dict[str, Distribution]:
    """The distributions that the requirements lead to, by name."""
    found: dict[str, Distribution] = {}
    seen, waiting = set(), [Requirement(one) for one in requirements]
    while waiting:
        one = waiting.pop()
        for extra in ("", *one.extras):
            if (one.name, extra) in seen:
                continue
            seen.add((one.name, extra))
            try:
                distribution = Distribution.from_name(one.name)
            except PackageNotFoundError:
                sys.exit(f"{one.name} is not installed")
            found[distribution.name] = distribution
            needed = map(Requirement, distribution.requires or [])
            waiting += [other for other in needed if not other.marker or other.marker.evaluate({"extra": extra})]
    return found


def main() -> None:
    folders = [Path(one) for one in sys.argv[1:] if Path(one).is_dir()]
    distributions = installed([one for one in sys.argv[1:] if not Path(one).is_dir()])
    files = {Path(file.locate()).resolve() for one in distributions.values() for file in one.files or []}
    files |= {path.resolve() for folder in folders for path in folder.rglob("*")}
    print(sum(path.stat().st_size for path in files if path.is_file()))


if __name__ == "__main__":
    main()
