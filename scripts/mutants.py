"""Mutation testing: change the code in small ways, and see whether the tests of its folder notice.

python scripts/mutants.py                               five folders, 300 mutants each: about an hour on two cores
python scripts/mutants.py gate --count 20 --seed 7      a small sample of one folder

mutmut makes the mutants and runs for each the tests that reach it. A mutant survives if they all pass, or if there
are none. Code that runs while a module is imported is out of its reach: its mutants seem to survive. The last lines are
the surviving mutants as diffs and the score of each folder: the share that was noticed.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "kfp_bert_components"
FOLDERS = ("gate", "registry", "deployment", "evaluation", "data")
COPIED = ("src", "tests", "scripts", "component_specs", "examples", "docs", "pyproject.toml", "README.md", "LICENSE")
MUTMUT = Path(sys.executable).with_name("mutmut")
WITH_TENSORFLOW = ("gate", "evaluation")
QUICK = "not slow and not long and not docker and not peers"
NOTICED = ("killed", "timeout", "segfault")


def settings(folder: str) -> str:
    """What mutmut is told, in the terms of its section in pyproject.toml."""
    # Given as a plugin, TensorFlow is imported once, before the first fork, and not by the tests of each mutant.
    imported = ["-p", "tensorflow"] if folder in WITH_TENSORFLOW else []
    values = {
        "source_paths": ["src"],
        "only_mutate": [f"src/{PACKAGE}/{folder}/*"],
        "also_copy": [name for name in COPIED if name not in ("src", "tests", "pyproject.toml")],
        "pytest_add_cli_args_test_selection": [f"tests/{folder}"],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-m", QUICK, *imported],
        "process_isolation": "forkserver",  # Google's clients and Arrow start threads, which a fork does not copy
        "timeout_multiplier": 3.0,
        "timeout_constant": 5.0,
        "max_stack_depth": -1,
    }
    return "\n[tool.mutmut]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def mutmut(copy: Path, *arguments: str, capture: bool = False) -> str:
    """Run mutmut in a copy of the repository; its output, if that is to be captured, else an error ends all."""
    # Tests start processes of their own, which must import the mutated code too.
    environment = {**os.environ, "PYTHONPATH": f"{copy}/mutants/src:{copy}/mutants"}
    output = subprocess.PIPE if capture else sys.stderr
    done = subprocess.run([MUTMUT, *arguments], cwd=copy, env=environment, text=True, stdout=output, check=not capture)
    return done.stdout or ""


def exit_codes(copy: Path) -> dict[str, int | None]:
    """Every mutant by its name, with the exit code of its tests; None if they were not run."""
    metas = sorted((copy / "mutants").rglob("*.py.meta"))
    return {name: code for meta in metas for name, code in json.loads(meta.read_text())["exit_code_by_key"].items()}


def examine(folder: str, count: int, seed: int, workers: int) -> tuple[Counter[str], list[str]]:
    """How many mutants of a folder came to which end, and the diffs of those that survived."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        copy = Path(scratch)
        for name in COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
        with (copy / "pyproject.toml").open("a") as file:
            file.write(settings(folder))
        # A pattern that fits no mutant: this run makes them all and stops, as it finds none of the tests just copied.
        mutmut(copy, "run", "none", capture=True)
        names = sorted(exit_codes(copy))
        if not names:
            raise SystemExit(
                f"mutmut made no mutants of {folder}: see what `mutmut run` says in a copy of the repository"
            )
        chosen = random.Random(seed).sample(names, min(count, len(names)))
        mutmut(copy, "run", "--max-children", str(workers), *chosen)
        codes = exit_codes(copy)
        ends = {name: status_by_exit_code[codes[name]] for name in sorted(chosen)}
        survivors = [mutmut(copy, "show", name, capture=True) for name, end in ends.items() if end not in NOTICED]
        return Counter(ends.values()), survivors


def main() -> None:
    """Examine the folders that are named, and print what survives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", default=FOLDERS, help=f"of src/{PACKAGE}; default: {' '.join(FOLDERS)}")
    parser.add_argument("--count", type=int, default=300, help="mutants of each folder; default: 300")
    parser.add_argument("--seed", type=int, default=0, help="chooses the mutants; default: 0")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; default: one a core")
    arguments = parser.parse_args()
    scores = []
    for folder in arguments.folders:
        ends, survivors = examine(folder, arguments.count, arguments.seed, arguments.workers)
        print(*survivors, sep="\n")
        tried, noticed = ends.total(), sum(ends[end] for end in NOTICED)
        parts = ", ".join(f"{count} {end}" for end, count in ends.most_common())
        scores.append(f"{folder}: {noticed} of {tried} mutants noticed ({noticed / tried:.0%}): {parts}")
        print(scores[-1], flush=True)
    print("", *scores, sep="\n")


if __name__ == "__main__":
    main()
