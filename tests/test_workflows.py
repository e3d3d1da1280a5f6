"""The workflows of GitHub call what is there, with the least rights. `make lint` checks them by their schema."""

import re
import subprocess
import tomllib

import pytest
import yaml

from tests.conftest import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# More than to read the repository, by workflow and job.
RIGHTS = {
    ("docs", "publish"): {"pages", "id-token"},
    ("release", "images"): {"id-token", "attestations"},
    ("release", "package"): {"id-token"},
    ("release", "page"): {"contents", "id-token", "attestations"},
}


def jobs():
    for path in FILES:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield path.stem, name, job


def runs():
    """Each command of each job, once with each value of its matrix."""
    for _, _, job in jobs():
        for step in job["steps"]:
            if command := step.get("run"):
                matrix = job.get("strategy", {}).get("matrix", {})
                key = re.search(r"\$\{\{ matrix\.(\w+) }}", command)
                yield from [command.replace(key[0], value) for value in matrix[key[1]]] if key else [command]


def test_an_action_is_named_by_a_commit_and_keeps_no_token():
    for path in FILES:
        for uses, comment in re.findall(r"uses: (\S+)(.*)", path.read_text()):
            if uses != "pypa/gh-action-pypi-publish@release/v1":  # what its maintainers ask for
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", uses), uses
                assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), uses
    checkouts = [
        step for _, _, job in jobs() for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")
    ]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_rights_are_the_least():
    for path in FILES:
        assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    given = {
        (workflow, name): {right for right, level in job.get("permissions", {}).items() if level == "write"}
        for workflow, name, job in jobs()
    }
    assert {key: rights for key, rights in given.items() if rights} == RIGHTS
    assert all(job["timeout-minutes"] for _, _, job in jobs())


@pytest.mark.parametrize("command", sorted(set(runs())))
def test_a_command_is_one_that_is_here(command):
    assert "${{" not in command, "what others can write must come by the environment"
    if command.startswith("make "):
        variables = {"GITHUB_REF_NAME": "v0.1.0", "IMAGES": "my-registry/my-team", "PATH": "/usr/bin:/bin"}
        shown = subprocess.run(
            ["bash", "-c", f"{command} --dry-run"], cwd=ROOT, env=variables, capture_output=True, text=True
        )
        assert shown.returncode == 0, shown.stderr
        for script in re.findall(r"scripts/\w+\.(?:py|sh)", shown.stdout):
            assert (ROOT / script).is_file(), script
    else:
        assert command.startswith("gh release create ")


def test_the_matrix_has_the_pythons_that_the_package_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [one.rsplit(" ", 1)[1] for one in project["classifiers"] if ":: Python :: 3." in one]
    tests = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"]
    assert tests["all"]["strategy"]["matrix"]["python"] == named
    assert tests["without-tensorflow"]["strategy"]["matrix"]["python"] == [named[0], named[-1]]
